"""Conforms a provider's stream event by event: relayed as bytes where possible, else through the state machine."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from ai_gateway.conform import rules
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations, null_usage
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.framing import SSE
from ai_gateway.contract.stream import (
    DONE,
    Arrived,
    Conformed,
    Done,
    Item,
    Last,
    LastPacket,
    LastTogether,
    Packet,
    Pieces,
    Received,
    Together,
    Verbatim,
)
from ai_gateway.errors import GatewayError, UpstreamInvalidResponse
from gateway_contract.openai import models


async def conform_stream[  # noqa: C901 - one generator, because each around it would be entered for every packet
    Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)
](
    arrived: AsyncGenerator[Arrived[Chunk]],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None = None,
) -> AsyncGenerator[Conformed[Chunk]]:
    """The legal stream. Failures of the provider pass through; raises UpstreamStreamTruncated for a truncated one.

    In mode `observe`, every chunk is relayed unchanged, and the repairs are only reported. With `continuations`, chunks
    that only continue a text bypass validation: relayed to a caller of the same wire, or as their texts to one of
    another wire. What arrived together is together then.
    """
    is_joined = continuations is not None and not conformer.observes
    has_ended = False
    async with aclosing(arrived):
        try:
            async for piece in arrived:
                made = _items_for(piece, model, state, conformer, continuations)
                if is_joined:
                    items: list[Any] = []
                    try:
                        for item in made:
                            items.append(item)  # noqa: PERF402 - those before one that fails are kept
                        if piece.__class__ is LastPacket:
                            state.terminated = has_ended = True
                            items += state.end(conformer.usage_beside)
                    finally:
                        if items:
                            yield items[0] if len(items) == 1 else _together(items)
                    continue
                for item in made:
                    yield item
                state.terminated |= piece.__class__ is LastPacket
        except GatewayError:
            for item in _unless_observed(state.unfinished(), conformer):
                yield item
            raise
        if not has_ended:
            for item in _unless_observed(state.end(conformer.usage_beside), conformer):
                yield item


def _together(items: list[Any]) -> Together:
    return LastTogether(items) if items[-1].__class__ is Last else Together(items)


def _items_for[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    piece: Arrived[Chunk],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None,
) -> Iterable[Conformed[Chunk]]:
    """The items to send for what has arrived."""
    if piece is DONE:
        state.terminated = True
        return ()
    if conformer.observes:
        return _observed(_data_of(piece) if isinstance(piece, Packet) else (piece,), model, state, conformer)
    if isinstance(piece, Packet):
        return _relayed(piece.events, model, state, conformer, continuations)
    return _legal(conformer.event(model, piece), state, conformer, None)


def _unless_observed[Sent](items: Iterator[Sent], conformer: Conformer) -> Iterator[Sent]:
    """Items that the gateway adds itself, which it does not in mode `observe`."""
    try:
        for item in items:
            if not conformer.observes:
                yield item
    except UpstreamInvalidResponse:
        if not conformer.observes:
            raise
        conformer.report(rules.UNREPAIRABLE)


def _relayed[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    events: Sequence[bytes],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None,
) -> Iterator[Conformed[Chunk]]:
    """The items to send for events that arrived together; continuations are not parsed, nor split into lines."""
    at = 0
    while at < len(events):
        end = continuations.match(events, at) if continuations is not None else at
        if continuations is None or end == at:
            data = events[at]
            if isinstance(events, Pieces) and not (data := _only_data(data)):
                events, at = list(events.parse(b"".join(events[at:]))), 0
                continue
            yield from _legal(conformer.event(model, data), state, conformer, continuations)
            at += 1
            continue
        runs = continuations.matched() if continuations.only_texts else ()
        continuations.relayed()
        if continuations.only_texts:
            yield from runs
        else:
            yield Verbatim(continuations.edited(events[at:end]), are_framed=isinstance(events, Pieces))
        at = end


def _only_data(piece: bytes) -> bytes:
    """The data of a piece that is one event of one line; empty for anything else."""
    lines = piece.splitlines()  # as events are: at CR, LF or both
    if len(lines) != 2 or lines[1] or not lines[0].startswith(SSE.before):
        return b""
    return lines[0][len(SSE.before) :]


def _data_of(packet: Packet) -> Iterable[bytes]:
    """The data of each event of a packet."""
    events = packet.events
    return events.parse(b"".join(events)) if isinstance(events, Pieces) else events


def _legal[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    event: Item[Chunk] | Done | None,
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None,
) -> Iterator[Conformed[Chunk]]:
    """The items to send for an event: those held back until it, and its chunk if it is one."""
    if not isinstance(event, Item):
        state.terminated |= event is DONE
        return
    chunk, raw = event
    conformer.note_chunk(chunk)
    for choice, call, arguments in continuations.drain() if continuations is not None else ():
        state.relayed(choice, call, arguments)
    facts = conformer.facts
    if facts is not None and state.take_known(chunk, facts):
        sent: Chunk | None = chunk
    else:
        sent = state.take(chunk, raw)
        yield from state.early()
    if sent is None:
        return
    edit = None
    if continuations is not None:
        edit = null_usage(chunk, sent, raw, conformer.exact) if raw and sent is not chunk else None
        continuations.update(chunk, chunk if edit else sent, raw, edit)
    if edit is not None and raw is not None:
        legal = Item(sent, edit.all_in(raw))
    else:
        legal = Item(sent, raw if sent is chunk else None)
    if state.is_last:
        state.hold(legal)
    else:
        yield legal


def _observed[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    received: Iterable[Received[Chunk]], model: type[Chunk], state: StreamState[Chunk], conformer: Conformer
) -> Iterator[Conformed[Chunk]]:
    """The chunk unchanged, after its repairs are reported."""
    for each in received:
        item = conformer.event(model, each)
        if not isinstance(item, Item):
            state.terminated |= item is DONE
            continue
        conformer.note_chunk(item.model)
        if "id" not in item.model.model_fields_set:  # a stand-in for an unreadable event
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
    """The number of prompts of a request: a text or a list of tokens is one."""
    prompt = body.prompt
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
