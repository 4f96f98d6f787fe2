"""A provider's stream held to the contract, event by event: as bytes where it can, through the state machine else."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing

from ai_gateway.conform import rules
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations, hidden_usage
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.stream import DONE, Arrived, Continued, Done, Item, Packet, Received, Verbatim
from ai_gateway.errors import GatewayError, UpstreamInvalidResponse
from gateway_contract.openai import models


async def conform_stream[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    arrived: AsyncGenerator[Arrived[Chunk]],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None = None,
) -> AsyncGenerator[Item[Chunk] | Verbatim | Continued]:
    """The legal stream. Failures of the provider pass through; one that ends too soon is UpstreamStreamTruncated.

    Where the provider is only observed, every chunk is relayed as it came, and what would have been changed is
    reported. With `continuations`, chunks that only continue a text go out as bytes: as they came to a caller of the
    same wire, and as their texts alone to one of another wire.
    """
    async with aclosing(arrived):
        try:
            async for piece in arrived:
                for item in _passed_on(piece, model, state, conformer, continuations):
                    yield item
        except GatewayError:
            for item in _unless_observed(state.unfinished(), conformer):
                yield item
            raise
        for item in _unless_observed(state.end(), conformer):
            yield item


def _passed_on[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    piece: Arrived[Chunk],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None,
) -> Iterable[Item[Chunk] | Verbatim | Continued]:
    """What to send for what has arrived."""
    if piece is DONE:
        state.terminated = True
        return ()
    if conformer.observes:
        return _observed(piece.events if isinstance(piece, Packet) else (piece,), model, state, conformer)
    if isinstance(piece, Packet):
        return _relayed(piece.events, model, state, conformer, continuations)
    return _legal(conformer.event(model, piece), state, conformer, None)


def _unless_observed[Sent](items: Iterator[Sent], conformer: Conformer) -> Iterator[Sent]:
    """What the gateway sends of its own accord, which it does not where it only observes."""
    for item in items:
        if not conformer.observes:
            yield item


def _relayed[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    events: Sequence[bytes],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None,
) -> Iterator[Item[Chunk] | Verbatim | Continued]:
    """What to send for events that arrived together; those that only continue a text are not even parsed."""
    at = 0
    while at < len(events):
        end = continuations.match(events, at) if continuations is not None else at
        if continuations is None or end == at:
            yield from _legal(conformer.event(model, events[at]), state, conformer, continuations)
            at += 1
            continue
        if continuations.only_texts:
            runs = continuations.matched()
            continuations.relayed()
            yield from runs
            at = end
            continue
        continuations.relayed()
        cut, run = continuations.cut, events[at:end]
        yield Verbatim([event.replace(cut, b"", 1) for event in run] if cut else run)
        at = end


def _legal[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    event: Item[Chunk] | Done | None,
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None,
) -> Iterator[Item[Chunk] | Verbatim | Continued]:
    """What to send for an event if it is a chunk, behind what had to wait for it."""
    if not isinstance(event, Item):
        state.terminated |= event is DONE
        return
    chunk, raw = event
    conformer.note_chunk(chunk)
    for choice, call, arguments in continuations.drain() if continuations is not None else ():
        state.relayed(choice, call, arguments)
    sent = state.take(chunk, raw)
    yield from state.early()
    if sent is None:
        return
    cut = hidden_usage(chunk, sent, raw) if continuations is not None and sent is not chunk and raw else b""
    if continuations is not None:
        continuations.update(chunk, chunk if cut else sent, raw, cut)
    if cut and raw is not None:
        raw = raw.replace(cut, b"", 1)
    legal = Item(sent, raw if cut or sent is chunk else None)
    if state.is_last:
        state.hold(legal)
    else:
        yield legal


def _observed[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    received: Sequence[Received[Chunk]], model: type[Chunk], state: StreamState[Chunk], conformer: Conformer
) -> Iterator[Item[Chunk] | Verbatim | Continued]:
    """Every chunk as it came, once it is reported what would be done to it."""
    for each in received:
        item = conformer.event(model, each)
        if not isinstance(item, Item):
            state.terminated |= item is DONE
            continue
        conformer.note_chunk(item.model)
        if "id" not in item.model.model_fields_set:  # it stands for an event that could not be read
            yield item
            continue
        try:
            sent = state.take(item.model)
            state.early()
            if sent is not None and state.is_last:
                state.hold(Item(sent))
        except UpstreamInvalidResponse:
            conformer.report(rules.UNREPAIRABLE)
        yield item


def prompt_count(body: models.CreateCompletionRequest) -> int:
    """How many prompts a request holds: a text or a list of tokens is one."""
    prompt = body.prompt
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
