"""Chunks and choices: queries and changes for the state machine of streams."""

from pydantic import MISSING, BaseModel

from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models

ChatChunk = models.CreateChatCompletionStreamResponse
CompletionChunk = models.CreateCompletionStreamResponse
type AnyChunk = ChatChunk | CompletionChunk
type AnyChoice = models.CreateChatCompletionStreamResponseChoice | models.CreateCompletionStreamResponseChoice


def going_on(choice: AnyChoice) -> AnyChoice:
    """The choice without its finish reason."""
    return choice.model_copy(update={"finish_reason": None})


def choice_of(head: AnyChunk, index: int) -> dict[str, object]:
    """An empty choice."""
    is_chat = isinstance(head, models.CreateChatCompletionStreamResponse)
    content: dict[str, object] = {"delta": {}} if is_chat else {"text": ""}
    return {"index": index, **content, "logprobs": None, "finish_reason": None}


def is_empty(choice: AnyChoice) -> bool:
    """Whether the choice has nothing but a role and a finish reason."""
    beside = any((choice.model_extra or {}).values()) or choice.logprobs is not None
    return not beside and not content_of(choice)


def is_headed_by(chunk: AnyChunk, head: AnyChunk) -> bool:
    """Whether the chunk has the id, model and time of its stream's first one."""
    return chunk.id == head.id and chunk.model == head.model and chunk.created == head.created


def text_size(reply: BaseModel) -> int:
    """The characters of all texts in a chunk or reply: content, reasoning, arguments of tool calls, ids and names."""
    size = 0
    for choice in getattr(reply, "choices", ()):
        fields = choice.__dict__
        part = fields.get("delta") or fields.get("message")
        if part is None:
            size += _text_size(choice) - len(choice.finish_reason or "")
        else:
            size += _text_size(part)
            if type(part.role) is str:
                size -= len(part.role)
    return size


def _text_size(part: BaseModel) -> int:
    size, more = 0, part.__pydantic_extra__
    for value in (*part.__dict__.values(), *more.values()) if more else part.__dict__.values():
        kind = type(value)
        if kind is str:
            size += len(value)
        elif value is None or value is MISSING or kind is int:  # the most frequent kinds, checked without pydantic
            continue
        elif kind is list:
            size += sum(_text_size(each) for each in value if isinstance(each, BaseModel))
        elif isinstance(value, BaseModel):
            size += _text_size(value)
    return size


def says_anything(choice: AnyChoice) -> bool:
    """Whether the choice has anything but a finish reason."""
    opens = isinstance(choice, models.CreateChatCompletionStreamResponseChoice) and choice.delta.role is not MISSING
    return opens or not is_empty(choice)


def content_of(choice: AnyChoice) -> object:
    """The content that a choice adds to the answer; falsy if none."""
    if isinstance(choice, models.CreateCompletionStreamResponseChoice):
        return choice.text
    fields = choice.delta.model_dump(exclude_unset=True, exclude={"role"})
    return [value for value in fields.values() if value]


def check_empty(choice: AnyChoice, problem: str) -> None:
    """Raise UpstreamInvalidResponse if removing the choice would lose content."""
    if content_of(choice):
        raise UpstreamInvalidResponse(f"The provider {problem}.")
