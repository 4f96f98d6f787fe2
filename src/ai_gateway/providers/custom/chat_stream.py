"""Chat streams: the same answer as without streaming, in chunks in the order that clients expect."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from ai_gateway.providers.custom import chat, text
from ai_gateway.providers.custom.tools import ToolCall
from ai_gateway.providers.custom.usage import interleaved
from gateway_contract.openai import models

type Chunk = models.CreateChatCompletionStreamResponse
type ChunkChoice = models.CreateChatCompletionStreamResponseChoice
type Delta = models.ChatCompletionStreamResponseDelta


def chunks(
    body: models.CreateChatCompletionRequest, report: Callable[[models.CompletionUsage], None] = lambda _: None
) -> Iterator[Chunk]:
    """All chunks; several choices are interleaved. `report` is called with the usage at the end."""
    answer = chat.answer(body)
    choices = [_choice_chunks(choice, body) for choice in answer.choices]
    yield from interleaved(choices, partial(_chunk, answer), answer.usage, body.stream_options, report)


def _chunk(answer: chat.Answer, choices: list[ChunkChoice]) -> Chunk:
    return models.CreateChatCompletionStreamResponse(
        id=answer.id,
        object="chat.completion.chunk",
        created=answer.created,
        model=answer.model,
        choices=choices,
        **answer.envelope,
    )


def _choice_chunks(choice: chat.Choice, body: models.CreateChatCompletionRequest) -> Iterator[ChunkChoice]:
    """One choice: its role, its content, its finish reason."""
    thoughts = [_part(choice, delta) for delta in _thought_deltas(choice)]
    yield from thoughts
    for at, delta in enumerate(_deltas(choice, begun=bool(thoughts))):
        part = _part(choice, delta)
        if choice.is_text and at > 0:
            part.logprobs = _logprobs(choice, body, at - 1)
        yield part
    yield models.CreateChatCompletionStreamResponseChoice(
        index=choice.index,
        delta=models.ChatCompletionStreamResponseDelta(),
        logprobs=None,
        finish_reason=choice.finish_reason,
        **choice.more,
    )


def _part(choice: chat.Choice, delta: Delta) -> ChunkChoice:
    return models.CreateChatCompletionStreamResponseChoice(
        index=choice.index, delta=delta, logprobs=None, finish_reason=None
    )


def _thought_deltas(choice: chat.Choice) -> Iterator[Delta]:
    """The thought token by token, and then the signed thinking block."""
    if choice.thought is None:
        return
    yield models.ChatCompletionStreamResponseDelta(role="assistant", content="", refusal=None)
    for token in choice.thought.tokens:
        yield models.ChatCompletionStreamResponseDelta.model_validate({"reasoning_content": token})
    yield models.ChatCompletionStreamResponseDelta.model_validate(choice.thought.fields)


def _deltas(choice: chat.Choice, *, begun: bool) -> Iterator[Delta]:
    role = {} if begun else {"role": "assistant"}
    if choice.calls:
        yield from _tool_call_deltas(choice, role)
    elif choice.function is not None:
        yield from _function_deltas(choice.function, role)
    else:
        yield models.ChatCompletionStreamResponseDelta.model_validate({**role, "content": "", "refusal": None})
        field = "refusal" if choice.is_refusal else "content"
        for token in choice.tokens:
            yield models.ChatCompletionStreamResponseDelta.model_validate({field: token})


def _tool_call_deltas(choice: chat.Choice, role: Mapping[str, str]) -> Iterator[Delta]:
    items = (item for index, call in enumerate(choice.calls) for item in _call_items(index, call))
    first = models.ChatCompletionStreamResponseDelta.model_validate({**role, "content": None, "refusal": None})
    first.tool_calls = [next(items)]
    yield first
    for item in items:
        yield models.ChatCompletionStreamResponseDelta(tool_calls=[item])


def _call_items(index: int, call: ToolCall) -> Iterator[models.ChatCompletionMessageToolCallChunk]:
    """A call's id and name, then its input in pieces.

    The contract's chunks define functions only (`type` is "function" or absent), so a custom tool's call has no `type`
    and a `custom` object of its own, which the open schema allows and clients of custom tools read.
    """
    kind, field = ("custom", "input") if call.kind == "custom" else ("function", "arguments")
    start = {"type": "function"} if call.kind == "function" else {}
    yield models.ChatCompletionMessageToolCallChunk.model_validate(
        {"index": index, "id": call.id, **start, kind: {"name": call.name, field: ""}}
    )
    for token in text.tokens(call.input):
        yield models.ChatCompletionMessageToolCallChunk.model_validate({"index": index, kind: {field: token}})


def _function_deltas(call: ToolCall, role: Mapping[str, str]) -> Iterator[Delta]:
    started = models.ChatCompletionStreamResponseDeltaFunctionCall(name=call.name, arguments="")
    first = models.ChatCompletionStreamResponseDelta.model_validate({**role, "content": None, "refusal": None})
    first.function_call = started
    yield first
    for token in text.tokens(call.input):
        bit = models.ChatCompletionStreamResponseDeltaFunctionCall(arguments=token)
        yield models.ChatCompletionStreamResponseDelta(function_call=bit)


def _logprobs(
    choice: chat.Choice, body: models.CreateChatCompletionRequest, at: int
) -> models.CreateChatCompletionStreamResponseChoiceLogprobs | None:
    content = chat.token_logprobs(body, choice, range(at, at + 1))
    if content is None:
        return None
    return models.CreateChatCompletionStreamResponseChoiceLogprobs(content=content, refusal=None)
