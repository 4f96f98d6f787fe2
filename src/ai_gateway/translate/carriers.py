"""Carriers: fields of chat requests beyond OpenAI's contract, from other wires, adapted to the provider.

Translations from other wires set them, under names that some upstreams know: `thinking_blocks` and `reasoning_content`
of an assistant's message, `cache_control` of parts, messages and tools, `is_error` and images in tool messages,
`caller` of calls. `efforts` is not a field but the support of Anthropic's highest efforts. Each provider declares which
carriers it takes (`Provider.carriers`); others are expressed in another way, or dropped and named.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from typing import Final, Literal

from pydantic import BaseModel

from ai_gateway.translate.chat_request import Message
from gateway_contract.openai import models

type Carrier = Literal[
    "reasoning_content", "thinking_blocks", "cache_control", "is_error", "tool_images", "caller", "efforts"
]

EVERY: Final[frozenset[Carrier]] = frozenset(
    {"reasoning_content", "thinking_blocks", "cache_control", "is_error", "tool_images", "caller", "efforts"}
)
ERROR_PREFIX: Final = "Error: "
SEALED: Final = "gateway."
"""The prefix of thinking data sealed by the gateway and not signed by an upstream."""

SEALED_FIELDS: Final = "sealed_fields"
"""The field of an assistant's message with the opened data: `provider`, `message` and `calls` of each."""

KEPT: Final = frozenset({"reasoning_details", "extra_content", "reasoning_items"})
"""Fields of messages and calls that their upstream needs again.

Gemini signs calls in `extra_content` (https://ai.google.dev/gemini-api/docs/thought-signatures), OpenRouter has
`reasoning_details` (https://openrouter.ai/docs/use-cases/reasoning-tokens).
"""

_TEXT = models.ChatCompletionRequestMessageContentPartText
_WITHOUT_CARRIERS = {
    models.ChatCompletionRequestDeveloperMessage,
    models.ChatCompletionRequestSystemMessage,
    models.ChatCompletionRequestUserMessage,
}
_THOUGHTS = "messages.thinking"


def kept(message: Mapping[str, object], calls: Mapping[str, Mapping[str, object]]) -> dict[str, object] | None:
    """These fields of a provider's `message`, and of its `calls` by id; None if there are none."""
    of_calls = {call: fields for call, each in calls.items() if (fields := _kept(each))}
    of_message = _kept(message)
    return {"message": of_message, "calls": of_calls} if of_message or of_calls else None


def _kept(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name in KEPT and value not in (None, "", [], {})}


def fit[Body: models.CreateChatCompletionRequest](
    body: Body, taken: frozenset[Carrier], provider: str = ""
) -> tuple[Body, set[str]]:
    """The request with only the carriers that are `taken`, and the names of the dropped ones.

    Data sealed for the `provider` is opened. The given request is not changed, since other targets may get it as well;
    it is returned itself if nothing has to change.
    """
    dropped: set[str] = set()
    messages: list[Message] = []
    moved: list[BaseModel] = []  # parts of tool messages, added after the last one
    for message in body.messages:
        if not isinstance(message, models.ChatCompletionRequestToolMessage) and moved:
            messages.append(_user(moved))
            moved = []
        fitted = message if _is_bare(message) else _message(_opened(message, provider), taken, moved, dropped)
        messages.append(fitted)
    if moved:
        messages.append(_user(moved))
    changes: dict[str, object] = {}
    if not _are_same(messages, body.messages):
        changes["messages"] = messages
    if body.tools and "cache_control" not in taken:
        tools = [_without(tool, {"cache_control"}, "", dropped) for tool in body.tools]
        if not _are_same(tools, body.tools):
            changes["tools"] = tools
    return body.model_copy(update=changes) if changes else body, dropped


def _is_bare(message: Message) -> bool:
    """Whether it is a plain text, without carriers."""
    return type(message) in _WITHOUT_CARRIERS and type(message.content) is str and not message.__pydantic_extra__


def _are_same(fitted: Sequence[BaseModel], given: Sequence[BaseModel]) -> bool:
    """Whether nothing was removed, added or changed."""
    return len(fitted) == len(given) and all(map(is_, fitted, given))


def _opened(message: Message, provider: str) -> Message:
    """The message without sealed data, but with the opened fields of this provider."""
    if not isinstance(message, models.ChatCompletionRequestAssistantMessage):
        return message
    sealed = (message.model_extra or {}).get(SEALED_FIELDS)
    if not isinstance(sealed, list):
        return message
    opened = _changed(message, {}, {SEALED_FIELDS})
    for each in sealed:
        if each["provider"] == provider:
            calls = [_with(call, each["calls"].get(call.id)) for call in opened.tool_calls or ()]
            opened = _with(opened.model_copy(update={"tool_calls": calls} if calls else {}), each["message"])
    return opened


def _with[Model: BaseModel](model: Model, fields: object) -> Model:
    copy = model.model_copy()
    if isinstance(fields, dict):
        copy.__pydantic_extra__ = {**fields, **(copy.__pydantic_extra__ or {})}
        copy.__pydantic_fields_set__ = copy.model_fields_set | fields.keys()
    return copy


def _user(parts: list[BaseModel]) -> models.ChatCompletionRequestUserMessage:
    return models.ChatCompletionRequestUserMessage.model_validate({"role": "user", "content": [*parts]})


def _message(message: Message, taken: frozenset[Carrier], moved: list[BaseModel], dropped: set[str]) -> Message:
    fitted = message
    if isinstance(message, models.ChatCompletionRequestAssistantMessage):
        fitted = _assistant(message, taken, dropped)
    elif isinstance(message, models.ChatCompletionRequestToolMessage):
        fitted = _result(message, taken, moved, dropped)
    if "cache_control" in taken or isinstance(message, models.ChatCompletionRequestFunctionMessage):
        return fitted
    content = fitted.content
    if isinstance(content, list) and any(part.model_extra for part in content):
        plain = [_without(part, {"cache_control"}, "messages.content.", dropped) for part in content]
        fitted = fitted.model_copy(update={"content": plain})
    return _without(fitted, {"cache_control"}, "messages.content.", dropped)


def _without[Model: BaseModel](model: Model, names: set[str], path: str, dropped: set[str]) -> Model:
    extras = model.model_extra
    gone = names & extras.keys() if extras else set()
    if not gone or not extras:
        return model
    dropped |= {f"{path}{name}" for name in gone if extras[name] is not None}
    return _changed(model, {}, gone)


def _changed[Model: BaseModel](model: Model, changes: dict[str, object], gone: Iterable[str] = ()) -> Model:
    copy = model.model_copy(update=changes)
    if copy.__pydantic_extra__:
        copy.__pydantic_extra__ = {name: each for name, each in copy.__pydantic_extra__.items() if name not in gone}
    copy.__pydantic_fields_set__ = copy.model_fields_set - set(gone)
    return copy


def _assistant(
    message: models.ChatCompletionRequestAssistantMessage, taken: frozenset[Carrier], dropped: set[str]
) -> models.ChatCompletionRequestAssistantMessage:
    extras = message.model_extra or {}
    gone: set[str] = set()
    changes: dict[str, object] = {}
    thoughts = extras.get("thinking_blocks")
    if isinstance(thoughts, list) and "thinking_blocks" in taken:
        gone.add("reasoning_content")
        signed = [block for block in thoughts if is_signed(block)]
        if len(signed) < len(thoughts):
            dropped.add(_THOUGHTS)
            gone |= set() if signed else {"thinking_blocks"}
        if signed:
            changes["thinking_blocks"] = signed
    else:
        gone = _unsigned(extras, taken, dropped)
    calls = message.tool_calls or ()
    if any(call.model_extra for call in calls):
        if "caller" not in taken:
            calls = [_without(call, {"caller"}, "messages.tool_calls.", set()) for call in calls]
        if "cache_control" not in taken:
            calls = [_without(call, {"cache_control"}, "messages.content.", dropped) for call in calls]
        changes["tool_calls"] = calls
    return _changed(message, changes, gone) if gone or changes else message


def _unsigned(extras: dict[str, object], taken: frozenset[Carrier], dropped: set[str]) -> set[str]:
    """Remove thinking for providers that take no signed blocks: all of it, or all but its text."""
    thoughts = extras.get("thinking_blocks")
    gone = {"thinking_blocks"} if isinstance(thoughts, list) else set()
    if "reasoning_content" in extras and "reasoning_content" not in taken:
        gone.add("reasoning_content")
        dropped.add(_THOUGHTS)
    if isinstance(thoughts, list) and (
        "reasoning_content" not in taken or any(block.get("type") != "thinking" for block in thoughts)
    ):
        dropped.add(_THOUGHTS)
    return gone


def is_signed(block: object) -> bool:
    """Whether the block has an upstream's signature."""
    if not isinstance(block, dict):
        return False
    seal = block.get("signature") if block.get("type") == "thinking" else block.get("data")
    return isinstance(seal, str) and seal != "" and not seal.startswith(SEALED)


def _result(
    message: models.ChatCompletionRequestToolMessage,
    taken: frozenset[Carrier],
    moved: list[BaseModel],
    dropped: set[str],
) -> models.ChatCompletionRequestToolMessage:
    changes: dict[str, object] = {}
    gone: set[str] = set()
    content: object = message.content
    if isinstance(content, list) and "tool_images" not in taken:
        texts = [part for part in content if isinstance(part, _TEXT)]
        others: Sequence[BaseModel] = [part for part in content if not isinstance(part, _TEXT)]
        if others:
            label = f"Returned by the tool call {message.tool_call_id}:"
            moved += [_TEXT(type="text", text=label), *others]
            content = texts or f"(See the next message: what the call {message.tool_call_id} returned is no text.)"
            changes["content"] = content
    if (message.model_extra or {}).get("is_error") is not None and "is_error" not in taken:
        gone.add("is_error")
        if message.model_extra and message.model_extra["is_error"]:
            dropped.add("messages.content.is_error")
            changes["content"] = _as_error(content)
    return _changed(message, changes, gone) if gone or changes else message


def _as_error(content: object) -> object:
    if isinstance(content, str):
        return ERROR_PREFIX + content
    parts = list(content) if isinstance(content, list) else []
    return [_TEXT(type="text", text=ERROR_PREFIX.strip()), *parts]
