"""Streams that are relayed: runs of events, and packets that are diverted, against every event read by itself."""

import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, override

import pytest
from hypothesis import given, strategies as st

from ai_gateway.conform.relayed_message import RelayedMessage
from ai_gateway.conform.relayed_reply import Relayed
from ai_gateway.conform.relayed_response import RelayedResponse
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.deltas import Deltas
from ai_gateway.contract.native import CREATE_MESSAGE, CREATE_RESPONSE, NativeOperation
from ai_gateway.contract.stream import Packet, Run, Sink
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.client import UpstreamReply
from ai_gateway.providers.http.provider import HttpProvider
from ai_gateway.providers.http.sse import EventParser
from ai_gateway.providers.http.stream import OpenStream, whole_piece
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.upstream import ProviderRow, Sizes, Timeouts, Upstream
from tests.fuzz.examples import BOUNDED

pytestmark = pytest.mark.slow

UPSTREAM = Upstream("lab", "http://127.0.0.1:1/v1", None, Timeouts(9, 9, 9, 9), ProviderRow("lab", "", "LAB_KEY"))
ERROR = b'{"error":{"message":"It broke.","code":"upstream_stream_truncated"}}'
LAB = Provider("lab", SAME_WIRE)
READERS: dict[str, tuple[NativeOperation, Callable[[Notes, Provider], Relayed]]] = {
    "responses": (CREATE_RESPONSE, RelayedResponse),
    "messages": (CREATE_MESSAGE, RelayedMessage),
}


class Arriving(OpenStream):
    """A stream whose packets are there: each is offered to what takes it, and else read; some are in pieces."""

    def __init__(self, packets: Sequence[bytes | list[bytes]]) -> None:
        headers = {"content-type": "text/event-stream"}
        super().__init__("lab", 200, headers, Endless(), UPSTREAM.timeouts, sizes=Sizes())
        self._packets = iter(packets)
        self._take: Sink | None = None

    @override
    async def read(self) -> bytes:
        return b"".join(map(whole_piece, self._packets))

    @override
    async def next_bytes(self) -> bytes:
        return whole_piece(await self.next_pieces())

    @override
    async def next_pieces(self) -> bytes | list[bytes]:
        take = self._take
        return next((packet for packet in self._packets if take is None or not take(whole_piece(packet))), b"")

    @override
    async def drain(self) -> None:
        assert self._packets is not None

    @override
    def divert(self, take: Sink) -> None:
        self._take = take


class Endless:
    """No deadline at all."""

    when = math.inf

    def now(self) -> float:
        return 0.0

    def at(self, when: float) -> None:
        assert when

    def stop(self) -> None:
        """There is nothing to stop."""


class Calls:
    """Whoever is called answers with these packets."""

    connections = None

    def __init__(self, packets: Sequence[bytes | list[bytes]]) -> None:
        self._packets = packets

    @asynccontextmanager
    async def stream(self, *_: object, **__: object) -> AsyncIterator[OpenStream]:
        yield Arriving(self._packets)

    async def fetch(self, *_: object, **__: object) -> UpstreamReply:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass
class Told:
    """What a client gets, and what is known of its stream then."""

    sent: bytes
    read: str | None
    notes: Notes
    is_over: bool
    failure: object
    end: bytes


def reported(sent: list[bytes], error: Exception | None, notes: Notes, reader: Relayed) -> Told:
    return Told(
        b"".join(sent),
        str(error) if error is not None else None,
        notes,
        reader.is_over,
        reader.failure,
        reader.broken(ERROR),
    )


async def relayed(wire: str, packets: Sequence[bytes | list[bytes]], *, diverts: bool) -> Told:
    """As the gateway relays it."""
    operation, reading = READERS[wire]
    notes, sent = Notes("lab"), list[bytes]()
    reader = reading(notes, LAB)

    def sink(packet: bytes, _chunk: bytes | None = None, /) -> bool:
        sent.append(packet)
        return True

    attempt = Attempt(Call("createResponse", "req_1"), notes, divert=reader.diverting_to(sink) if diverts else None)
    error: Exception | None = None
    try:
        async for arrived in HttpProvider(UPSTREAM, Calls(packets)).relay_stream(attempt, operation, {}):
            if isinstance(arrived, Packet):
                sent.extend(reader.framed(arrived.events))
    except UpstreamInvalidResponse as raised:
        error = raised
    return reported(sent, error, notes, reader)


def by_itself(wire: str, raw: bytes) -> Told:
    """Each byte is a packet, and each event is parsed."""
    operation, reading = READERS[wire]
    notes, sent = Notes("lab"), list[bytes]()
    reader = reading(notes, LAB)
    error: Exception | None = None
    try:
        for event in one_by_one(raw):
            if event.strip() == b"[DONE]":
                break
            name = reader.feed(event)
            sent.append(reader.repaired or f"event: {name}\ndata: ".encode() + event.replace(b"\n", b" ") + b"\n\n")
            reader.repaired = b""
            if name in operation.last:
                break
    except UpstreamInvalidResponse as raised:
        error = raised
    return reported(sent, error, notes, reader)


def one_by_one(raw: bytes) -> Iterator[bytes]:
    parser = EventParser(2**20)
    for at in range(len(raw)):
        yield from parser.feed(raw[at : at + 1])
    yield from parser.end()


TEXTS = st.text(max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "\n", "é🙂", '","delta":"x"', '"sequence_number":5,', ""]
)
NUMBERS = st.sampled_from([{}, {"sequence_number": 7}, {"sequence_number": 7}, {"sequence_number": 123_456}])
USAGE = st.fixed_dictionaries({"input_tokens": st.integers(0, 9), "output_tokens": st.integers(0, 9)})
RESPONSES = st.one_of(
    st.builds(
        lambda kind, number, text: {"type": f"response.{kind}.delta", **number, "delta": text, "obfuscation": "x"},
        st.sampled_from(["output_text", "reasoning_summary_text", "function_call_arguments"]),
        NUMBERS,
        TEXTS,
    ),
    st.builds(
        lambda kind, number, usage: {
            "type": f"response.{kind}", **number, "response": {"object": "response", "usage": usage}
        },
        st.sampled_from(["created", "completed", "failed", "in_progress", "new.thing"]), NUMBERS, USAGE,
    ),
    st.builds(
        lambda index, number: {
            "type": "response.output_item.done", **number, "output_index": index, "item": {"id": index}
        },
        st.integers(0, 3), NUMBERS,
    ),
    st.sampled_from([{"type": "error", "message": "No."}, {"sequence_number": 3, "type": "ping"}, {"delta": "x"}]),
)  # fmt: skip
MESSAGES = st.one_of(
    st.builds(
        lambda kind, text: {"type": "content_block_delta", "index": 0, "delta": {"type": f"{kind}_delta", kind: text}},
        st.sampled_from(["text", "thinking", "partial_json", "signature", "content", "own"]),
        TEXTS,
    ),
    st.builds(lambda usage: {"type": "message_start", "message": {"usage": usage}}, USAGE),
    st.builds(lambda usage: {"type": "message_delta", "usage": usage}, USAGE),
    st.sampled_from([{"type": "ping"}, {"type": "message_stop"}, {"type": "error", "error": {"message": "No."}}, {}]),
)
COMPACT, SPACED = (",", ":"), (", ", ": ")


@st.composite
def streams(draw: st.DrawFn, wire: str) -> bytes:
    """Events of the wire, most of them as its upstreams frame them."""
    events = draw(st.lists(RESPONSES if wire == "responses" else MESSAGES, max_size=12))
    if wire == "messages" and draw(st.sampled_from([True, True, False])):
        events.insert(0, {"type": "message_start", "message": {"usage": draw(USAGE)}})
    if draw(st.sampled_from([False, False, True])):  # as vLLM sends them
        events = [dict(sorted(event.items(), key=lambda pair: pair[0] == "type")) for event in events]
    separators, is_ascii = draw(st.sampled_from([COMPACT, SPACED])), draw(st.booleans())
    return b"".join(draw(framed(event, separators, is_ascii=is_ascii)) for event in events)


@st.composite
def framed(draw: st.DrawFn, event: dict[str, Any], separators: tuple[str, str], *, is_ascii: bool) -> bytes:
    data = json.dumps(event, separators=separators, ensure_ascii=is_ascii)
    name = event.get("type", "x")
    usual = f"event: {name}\ndata: {data}\n\n"
    return draw(
        st.sampled_from([
            *[usual] * 12,
            usual.replace("\n", "\r\n"), usual.replace("\n", "\r"), f": a comment\n\n{usual}", f"id: 5\n{usual}",
            f"data: {data}\n\n", f"event:{name}\ndata:{data}\n\n", f"event: other\ndata: {data}\n\n",
            f"event: error\ndata: {data}\n\n", f"event: error \ndata: {data}\n\n",
            usual.replace(f"{separators[0]}\"", f"{separators[0]}\ndata: \"", 1),
            "data: [DONE]\n\n", "event: x\ndata: {\n\n", f"event: {name}\ndata: {data} \n\n", "\n\n",
        ])
    ).encode()  # fmt: skip


@pytest.mark.parametrize("wire", READERS)
@BOUNDED
@given(data=st.data())
async def test_any_packets_are_relayed_as_if_each_event_were_read(wire: str, data: st.DataObject) -> None:
    raw = data.draw(streams(wire))
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6))
    edges = sorted({0, len(raw), *cuts})
    packets = [raw[start:end] for start, end in pairwise(edges)]
    expected = by_itself(wire, raw)
    assert await relayed(wire, packets, diverts=True) == expected
    assert await relayed(wire, packets, diverts=False) == expected
    assert await relayed(wire, [packets] if packets else [], diverts=False) == expected  # as pieces of one packet
    pieces = [piece for piece in re.split(rb"(?<=\n\n)", raw) if piece]
    several = data.draw(st.integers(2, 8))
    apart = [pieces[at : at + several] for at in range(0, len(pieces), several)]
    assert await relayed(wire, apart, diverts=True) == expected
    assert await relayed(wire, apart, diverts=False) == expected


@pytest.mark.parametrize("last", [False, True], ids=["type first", "type last"])
@pytest.mark.parametrize("wire", READERS)
def test_events_of_one_kind_are_one_run(wire: str, *, last: bool) -> None:
    operation, _ = READERS[wire]
    kind = operation.deltas.decode().replace("[a-z_.]+", "output_text").replace("\\", "")
    fields = [f'"type":"{kind}"', f'"{operation.texts[0]}":"x"']
    data = ",".join(reversed(fields) if last else fields)
    event = f"event: {kind}\ndata: {{{data}}}\n\n".encode()
    parser = EventParser(2**20, Deltas(operation))
    packet = b"event: x\ndata: {}\n\n" + event * 50 + b"data: [DONE]\n\n"
    assert list(parser.feed(packet)) == [b"{}", Run(event * 50), b"[DONE]"]
    pieces = [b"event: x\ndata: {}\n\n", *[event] * 50, b"data: [DONE]\n\n"]
    assert EventParser(2**20, Deltas(operation)).named(pieces) == [b"{}", Run(event * 50), b"[DONE]"]


def test_an_event_that_ends_with_another_type_ends_a_run() -> None:
    kind = "response.output_text.delta"
    event = f'event: {kind}\ndata: {{"delta":"x","type":"{kind}"}}\n\n'.encode()
    other = event.replace(b'"type":"response.output_text.delta"', b'"type":"response.output_text.done"')
    run = Deltas(CREATE_RESPONSE).run_of([event, event, other, event], 0)
    assert run == event * 2
