"""Chat told piece by piece: the same answer as one reply, in the order in which clients expect its parts."""

from collections.abc import Iterator
from itertools import chain, zip_longest

from ai_gateway.providers.custom import chat, text
from ai_gateway.providers.custom.tools import ToolCall
from gateway_contract.openai import models

type Chunk = models.CreateChatCompletionStreamResponse
type ChunkChoice = models.CreateChatCompletionStreamResponseChoice
type Delta = models.ChatCompletionStreamResponseDelta


def chunks(body: models.CreateChatCompletionRequest) -> Iterator[Chunk]:
    """All chunks; with several choices one of each in turn, as models do that write side by side."""
    whole = chat.answer(body)
    with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    for choice in chain.from_iterable(zip_longest(*(_told(choice, body) for choice in whole.choices))):
        if choice is not None:
            chunk = _chunk(whole, [choice])
            if with_usage:
                chunk.usage = None  # said, not left out: clients tell the last chunk by it
            yield chunk
    if with_usage:
        last = _chunk(whole, [])
        last.usage = whole.usage
        yield last


def _chunk(whole: chat.Answer, choices: list[ChunkChoice]) -> Chunk:
    return models.CreateChatCompletionStreamResponse(
        id=whole.id,
        object="chat.completion.chunk",
        created=whole.created,
        model=whole.model,
        choices=choices,
        **whole.envelope,
    )


def _told(choice: chat.Choice, body: models.CreateChatCompletionRequest) -> Iterator[ChunkChoice]:
    """One choice: first its role, then its parts, then why it ends."""
    for at, delta in enumerate(_deltas(choice)):
        part = _part(choice, delta)
        if choice.is_text and at > 0:
            part.logprobs = _logprobs(choice, body, at - 1)
        yield part
    end = _part(choice, models.ChatCompletionStreamResponseDelta())
    end.finish_reason = choice.finish_reason
    yield end


def _part(choice: chat.Choice, delta: Delta) -> ChunkChoice:
    return models.CreateChatCompletionStreamResponseChoice(
        index=choice.index, delta=delta, logprobs=None, finish_reason=None
    )


def _deltas(choice: chat.Choice) -> Iterator[Delta]:
    if choice.calls:
        yield from _tool_call_deltas(choice)
    elif choice.function is not None:
        yield from _function_deltas(choice.function)
    else:
        yield models.ChatCompletionStreamResponseDelta(role="assistant", content="", refusal=None)
        for token in choice.tokens:
            yield models.ChatCompletionStreamResponseDelta(content=token)


def _tool_call_deltas(choice: chat.Choice) -> Iterator[Delta]:
    items = (item for index, call in enumerate(choice.calls) for item in _call_items(index, call))
    yield models.ChatCompletionStreamResponseDelta(
        role="assistant", content=None, refusal=None, tool_calls=[next(items)]
    )
    for item in items:
        yield models.ChatCompletionStreamResponseDelta(tool_calls=[item])


def _call_items(index: int, call: ToolCall) -> Iterator[models.ChatCompletionMessageToolCallChunk]:
    """A call's id and name, then its input bit by bit.

    The contract's chunks know functions only (`type` is "function" or absent), so a custom tool's call leaves `type`
    out and carries its own `custom` object, which an open schema allows and clients of custom tools look for.
    """
    kind, field = ("custom", "input") if call.kind == "custom" else ("function", "arguments")
    start = {"type": "function"} if call.kind == "function" else {}
    yield models.ChatCompletionMessageToolCallChunk.model_validate(
        {"index": index, "id": call.id, **start, kind: {"name": call.name, field: ""}}
    )
    for token in text.tokens(call.input):
        yield models.ChatCompletionMessageToolCallChunk.model_validate({"index": index, kind: {field: token}})


def _function_deltas(call: ToolCall) -> Iterator[Delta]:
    started = models.ChatCompletionStreamResponseDeltaFunctionCall(name=call.name, arguments="")
    yield models.ChatCompletionStreamResponseDelta(role="assistant", content=None, refusal=None, function_call=started)
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
