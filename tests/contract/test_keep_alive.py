"""A stream that falls silent in its middle shows that it is alive, in the form of its wire."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from ai_gateway.contract.anthropic_wire import ANTHROPIC
from ai_gateway.contract.call import Call, Notes
from ai_gateway.contract.framing import EVENTS, EVENTS_DONE, NDJSON, SSE, Framing
from ai_gateway.contract.stream import Framed, Stream
from ai_gateway.contract.wire import OLLAMA, OPENAI, RESPONSES, Wire
from ai_gateway.contract.write_stream import LateHeads, send_stream

EVERY_S = 0.02
COMMENT = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
WIRES = [(OPENAI, SSE, COMMENT), (RESPONSES, EVENTS_DONE, COMMENT), (ANTHROPIC, EVENTS, PING), (OLLAMA, NDJSON, b"")]


class Sent:
    """What goes out, of the stream itself and past it; what goes past it sets `heard`."""

    def __init__(self, *, takes: bool = True) -> None:
        self.all: list[bytes] = []
        self.heard = asyncio.Event()
        self._takes = takes

    async def send(self, message: Any) -> None:
        self.all.append(message.get("body", b""))

    def sink(self, data: bytes, _chunk: bytes | None = None, /) -> bool:
        self.heard.set()
        if self._takes:
            self.all.append(data)
        return self._takes


async def run(wire: Wire, framing: Framing, sent: Sent, items: AsyncGenerator[Any]) -> LateHeads:
    call = Call("any", "r", wire=wire, sink=sent.sink, attempts=[Notes("lab")])
    late = LateHeads(30, EVERY_S)
    await send_stream(sent.send, Stream(items), call, framing, lambda _error: b"", late=late)
    return late


@pytest.mark.parametrize(("wire", "framing", "sign"), WIRES, ids=[wire.name for wire, _, _ in WIRES])
async def test_a_silent_stream_is_kept_alive_between_two_events(wire: Wire, framing: Framing, sign: bytes) -> None:
    sent = Sent()

    async def items() -> AsyncGenerator[Framed]:
        yield Framed(b"first")
        if sign:
            async with asyncio.timeout(30):
                await sent.heard.wait()
        else:
            await asyncio.sleep(5 * EVERY_S)
        yield Framed(b"second")

    await run(wire, framing, sent, items())
    between = sent.all[sent.all.index(b"first") + 1 : sent.all.index(b"second")]
    assert set(between) == ({sign} if sign else set())


async def test_a_stream_that_goes_on_needs_no_sign_of_life() -> None:
    sent = Sent()
    notes = Notes("lab")
    call = Call("any", "r", wire=OPENAI, sink=sent.sink, attempts=[notes])

    async def items() -> AsyncGenerator[Framed]:
        loop = asyncio.get_running_loop()
        until = loop.time() + 10 * EVERY_S
        while loop.time() < until:
            notes.chunks += 1  # as every chunk does, however it goes out
            yield Framed(b"more")
            await asyncio.sleep(0)

    await send_stream(sent.send, Stream(items()), call, SSE, lambda _error: b"", late=LateHeads(30, EVERY_S))
    assert not sent.heard.is_set()


async def test_a_reader_that_is_too_slow_is_sent_nothing_more() -> None:
    sent = Sent(takes=False)

    async def items() -> AsyncGenerator[Framed]:
        yield Framed(b"first")
        async with asyncio.timeout(30):
            await sent.heard.wait()

    await run(OPENAI, SSE, sent, items())
    assert COMMENT not in sent.all


async def test_a_stream_that_is_over_is_watched_no_longer() -> None:
    sent = Sent()

    async def items() -> AsyncGenerator[Framed]:
        yield Framed(b"only")

    await run(OPENAI, SSE, sent, items())
    await asyncio.sleep(5 * EVERY_S)
    assert not sent.heard.is_set()
