"""What a call leaves behind, and how a stream can be read without waking anybody for each packet."""

import asyncio
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context
from typing import Any, override

import pytest
import uvloop

from ai_gateway.errors import UpstreamError, UpstreamInvalidResponse, UpstreamStreamTruncated, UpstreamTimeout
from ai_gateway.providers.http.chunked import size_lines
from ai_gateway.providers.http.client import Transport
from ai_gateway.providers.http.http1 import PIECE
from ai_gateway.providers.http.pool import Origin, Pool
from ai_gateway.providers.http.stream import OpenStream
from ai_gateway.providers.upstream import Timeouts
from tests.support.clock import StoppedClock
from tests.support.gateway import closed_port
from tests.support.raw_server import HOST, Peer, raw_server

PATIENT = Timeouts(connect=10, request=30, stream_idle=30, stream=60)
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-length: 4\r\n\r\ngood"
SSE = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
MANY = 200


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# -- nothing for the collector --


@contextmanager
def server_thread(*reply: bytes) -> Iterator[int]:
    """A server beside the event loop, so that all the garbage in it is the client's; its port.

    One connection at a time, and a new one when the client has ended that.
    """
    listener = socket.create_server((HOST, 0))
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while connection.recv(65536):
                    for packet in reply:
                        connection.sendall(packet)
                        time.sleep(0.003 if len(reply) > 1 else 0)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        with socket.create_connection(listener.getsockname()):
            pass
        thread.join(60)
        listener.close()
        assert not thread.is_alive()


async def fetched(transport: Transport) -> None:
    assert (await transport.fetch("POST", "/", {}, b"{}")).status == 200


async def read_to_its_end(transport: Transport) -> None:
    async with transport.stream("/", {}, b"{}") as stream:
        assert [event async for event in stream.events()] == [b"x", b"[DONE]"]


async def drained(transport: Transport) -> None:
    async with transport.stream("/", {}, b"{}") as stream:
        assert await stream.next_bytes()
        await stream.drain()


async def left_early(transport: Transport) -> None:
    async with transport.stream("/", {}, b"{}") as stream:
        assert await stream.next_bytes()


async def refused(transport: Transport) -> None:
    with pytest.raises(UpstreamError):
        await transport.fetch("POST", "/", {}, b"a" * 1000)


EVENTS = chunk(b"data: x\n\n") + chunk(b"data: [DONE]\n\n")


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
CALLS: dict[str, tuple[bytes, Callable[[Transport], Coroutine[None, None, None]]]] = {
    "whole": (GOOD, fetched),
    "streamed": (SSE + EVENTS + END, read_to_its_end),
    "drained": (SSE + EVENTS + END, drained),
    "left early": (SSE + EVENTS, left_early),
    "garbled": (b"garbage", refused),
    "compressed": (OK + b"content-encoding: gzip\r\n\r\n", refused),
    "unreachable": (b"", refused),
}
# asyncio's own transports refer to themselves: with it only those are looked at who need no new one.
CASES = [("uvloop", name) for name in CALLS] + [("asyncio", name) for name in ("whole", "streamed", "drained")]


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "name"), CASES)
def test_calls_leave_nothing_to_the_collector(loop: str, name: str) -> None:
    reply, call = CALLS[name]

    async def garbage(port: int) -> int:
        transport = Transport("up", f"http://{HOST}:{port}", {}, PATIENT)
        try:
            for _ in range(20):
                await call(transport)
            await asyncio.sleep(0.05)
            gc.collect()
            gc.disable()
            for _ in range(MANY):
                await call(transport)
            await asyncio.sleep(0.05)
            return gc.collect()
        finally:
            gc.enable()
            await transport.aclose()

    with (
        server_thread(reply) as port,
        closed_port() as nobody,
        asyncio.Runner(loop_factory=LOOPS[loop]) as runner,
    ):
        assert runner.run(garbage(port if reply else nobody)) == 0


# -- what a call costs --


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what makes a call expensive."""

    def __init__(self) -> None:
        super().__init__()
        self.futures = 0
        self.timers = 0

    @override
    def create_future(self) -> asyncio.Future[Any]:
        self.futures += 1
        return super().create_future()

    @override
    def call_at[*Ts](
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


@pytest.mark.parametrize(
    "packets",
    [(GOOD,), (GOOD[:20], GOOD[20:-2], GOOD[-2:]), tuple(GOOD[at : at + 1] for at in range(len(GOOD)))],
    ids=["one packet", "three", "one for each byte"],
)
def test_a_whole_reply_costs_one_future_and_no_timer_however_it_comes(packets: tuple[bytes, ...]) -> None:
    async def costs(port: int) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        transport = Transport("up", f"http://{HOST}:{port}", {}, PATIENT)
        await fetched(transport)
        loop.futures = loop.timers = 0
        for _ in range(5):
            await fetched(transport)
        counted = loop.futures, loop.timers
        await transport.aclose()
        return counted

    with server_thread(*packets) as port, asyncio.Runner(loop_factory=CountingLoop) as runner:
        assert runner.run(costs(port)) == (5, 0)


def test_a_stream_sets_no_timer_either() -> None:
    async def costs(port: int) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        transport = Transport("up", f"http://{HOST}:{port}", {}, PATIENT)
        await read_to_its_end(transport)
        loop.timers = 0
        for _ in range(5):
            await read_to_its_end(transport)
        await transport.aclose()
        return loop.timers

    with server_thread(SSE, EVENTS, END) as port, asyncio.Runner(loop_factory=CountingLoop) as runner:
        assert runner.run(costs(port)) == 0


# -- a stream, packet by packet --


class Taker:
    """Takes all that it is offered."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def __call__(self, packet: bytes, _chunk: bytes | None = None, /) -> bool:
        self.taken.append(packet)
        return True


class Stage:
    """A stream whose packets come when the test says so."""

    def __init__(self, timeouts: Timeouts, clock: StoppedClock | None = None) -> None:
        self._packets: asyncio.Queue[bytes] = asyncio.Queue()
        self._timeouts = timeouts
        self._clock = clock

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[OpenStream]:
        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.send(SSE)
                while packet := await self._packets.get():
                    await peer.send(packet)
                    self._packets.task_done()
                self._packets.task_done()

        async with raw_server(script) as server:
            transport = Transport("up", server.url, {}, self._timeouts, self._pool)
            async with transport.stream("/", {}, b"{}") as stream:
                yield stream
            await transport.aclose()

    def _pool(self, origin: Origin) -> Pool:
        return Pool(origin, 10, 10, clock=self._clock)

    async def send(self, *packets: bytes) -> None:
        """Send each, and let the client read it."""
        for packet in packets:
            self._packets.put_nowait(packet)
            await self._packets.join()
            await asyncio.sleep(0.005)


@pytest.mark.anyio
async def test_bytes_that_are_there_are_read_without_a_pause() -> None:
    stage = Stage(PATIENT)
    async with stage.stream() as stream:
        await stage.send(chunk(b"one ") + chunk(b"packet"), chunk(b" and another"), END)
        for expected in (b"one packet and another", b""):
            reading = stream.next_bytes()
            with pytest.raises(StopIteration) as stopped:
                reading.send(None)  # what would wait gives a future here
            assert stopped.value.value == expected


@pytest.mark.anyio
async def test_what_is_diverted_does_not_wake_the_reader() -> None:
    stage = Stage(PATIENT)
    async with stage.stream() as stream:
        taker = Taker()
        stream.divert(taker)
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"a"), chunk(b"b") + chunk(b"c"), chunk(b"d" * PIECE))
        assert taker.taken == [b"a", b"bc", b"d" * PIECE]
        assert not reader.done()
        await stage.send(END)
        assert await asyncio.wait_for(reader, 5) == b""


@pytest.mark.anyio
async def test_what_is_not_taken_goes_to_the_reader_in_its_place() -> None:
    stage = Stage(PATIENT)
    offered: list[bytes] = []

    def take(packet: bytes, _chunk: bytes | None = None, /) -> bool:
        offered.append(packet)
        return packet != b"no"

    async with stage.stream() as stream:
        stream.divert(take)
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"yes"), chunk(b"no"))
        assert await asyncio.wait_for(reader, 5) == b"no"
        await stage.send(chunk(b"nobody waits"), chunk(b" for this"))
        assert offered == [b"yes", b"no"]
        assert await stream.next_bytes() == b"nobody waits for this"
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"yes again"))
        assert offered == [b"yes", b"no", b"yes again"]
        assert not reader.done()
        await stage.send(chunk(b"last") + END)
        assert await asyncio.wait_for(reader, 5) == b"last"
        assert b"last" not in offered


@pytest.mark.anyio
async def test_chunks_that_arrive_together_can_be_had_apart() -> None:
    stage = Stage(PATIENT)
    async with stage.stream() as stream:
        await stage.send(chunk(b"one") + chunk(b"two"))
        assert await stream.next_pieces() == [b"one", b"two"]
        await stage.send(chunk(b"one") + chunk(b"two"))
        assert await stream.next_bytes() == b"onetwo"
        await stage.send(chunk(b"one") + chunk(b"two"), chunk(b"three"), chunk(b"four") + chunk(b"five"))
        assert await stream.next_pieces() == b"onetwothreefourfive"
        await stage.send(chunk(b"a" * 9_000) + chunk(b"b" * 9_000))  # more than is read at once
        pieces = [await stream.next_bytes(), await stream.next_bytes()]
        assert b"".join(pieces) == b"a" * 9_000 + b"b" * 9_000
        before = stream.is_whole
        await stage.send(chunk(b"six") + chunk(b"seven") + END)
        assert (before, stream.is_whole) == (False, True)
        assert await stream.next_pieces() == [b"six", b"seven"]
        assert await stream.next_pieces() == b""


@pytest.mark.anyio
async def test_a_packet_that_is_one_chunk_after_another_is_offered_as_it_came() -> None:
    stage = Stage(PATIENT)
    offered: list[tuple[bytes, bytes | None]] = []
    size_lines.clear()

    def take(packet: bytes, chunk: bytes | None = None, /) -> bool:
        offered.append((packet, chunk))
        return packet != b"no!"

    async with stage.stream() as stream:
        stream.divert(take)
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"one"), chunk(b"two"), chunk(b"three"), chunk(b"seven"), chunk(b"six"))
        assert offered == [
            (b"one", None),
            (b"two", chunk(b"two")),
            (b"three", None),  # the first of its length
            (b"seven", chunk(b"seven")),
            (b"six", chunk(b"six")),
        ]
        await stage.send(chunk(b"no!"))
        assert await asyncio.wait_for(reader, 5) == b"no!"
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"one"), chunk(b"two"))
        assert offered[-2:] == [(b"one", None), (b"two", chunk(b"two"))]
        await stage.send(END)
        assert await asyncio.wait_for(reader, 5) == b""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("packets", "bodies"),
    [
        ([b"3;x=y\r\none\r\n", b"3;x=y\r\ntwo\r\n"], [b"one", b"two"]),
        ([b"03\r\none\r\n", b"03\r\ntwo\r\n"], [b"one", b"two"]),
        ([b"A\r\n0123456789\r\n", b"A\r\n9876543210\r\n"], [b"0123456789", b"9876543210"]),
        ([b"3\r\none", b"\r\n3\r\ntwo", b"\r\n"], [b"one", b"two"]),
        ([b"10\r\n3\r\none\r\n", b"3\r\ntwo\r\n\r\n"], [b"3\r\none\r\n", b"3\r\ntwo\r\n"]),
        ([b"10\r\n3\r\none\r\n", b"8\r\n5\r\n12\r\n\r\n"], [b"3\r\none\r\n", b"8\r\n5\r\n12"]),
        ([b"3\r\none\r\n" * 2, b"3\r\ntwo\r\n" * 2], [b"oneone", b"twotwo"]),
    ],
    ids=["extension", "leading nought", "upper case", "ends apart", "in a chunk", "lengths in a chunk", "two chunks"],
)
async def test_a_packet_that_is_no_chunk_of_our_own_framing_is_read_by_the_parser(
    packets: list[bytes], bodies: list[bytes]
) -> None:
    stage = Stage(PATIENT)
    offered: list[tuple[bytes, bytes | None]] = []

    def take(packet: bytes, chunk: bytes | None = None, /) -> bool:
        offered.append((packet, chunk))
        return True

    async with stage.stream() as stream:
        stream.divert(take)
        reader = asyncio.create_task(stream.next_bytes())
        # After these, lengths are known, and the last one leaves the parser between two chunks.
        await stage.send(*(chunk(b"x" * size) for size in (3, 3, 8, 10, 16)))
        offered.clear()
        await stage.send(*packets)
        assert offered == [(body, None) for body in bodies]
        reader.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("broken", [b"3\r\ntwo\n\n", b"4\r\ntwo\r\n", b"z\r\ntwo\r\n", b"3\n\rtwo\r\n"])
async def test_a_chunk_whose_framing_is_wrong_is_the_parsers(broken: bytes) -> None:
    stage = Stage(PATIENT)
    offered: list[bytes | None] = []

    def take(_packet: bytes, chunk: bytes | None = None, /) -> bool:
        offered.append(chunk)
        return True

    async with stage.stream() as stream:
        stream.divert(take)
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"one"), chunk(b"one"), broken)
        assert chunk(b"one") in offered
        assert broken not in offered
        await stage.send(b"no size\r\n")
        with pytest.raises(UpstreamStreamTruncated):
            await asyncio.wait_for(reader, 5)


@pytest.mark.anyio
async def test_nothing_is_diverted_from_a_reader_who_has_stopped_waiting() -> None:
    stage = Stage(PATIENT)
    taker = Taker()
    async with stage.stream() as stream:
        stream.divert(taker)
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"a"))
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await stage.send(chunk(b"b"))
        assert taker.taken == [b"a"]
        assert await stream.next_bytes() == b"b"


@pytest.mark.anyio
async def test_what_is_larger_than_a_piece_is_the_readers() -> None:
    stage = Stage(PATIENT)
    async with stage.stream() as stream:
        stream.divert(lambda packet, *_: pytest.fail(f"{len(packet)} bytes were offered"))
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"a" * (PIECE + 1)))
        assert await asyncio.wait_for(reader, 5) == b"a" * PIECE
        assert await stream.next_bytes() == b"a"


@pytest.mark.anyio
async def test_what_a_diversion_raises_the_reader_raises() -> None:
    stage = Stage(PATIENT)

    def take(packet: bytes, _chunk: bytes | None = None, /) -> bool:
        raise UpstreamInvalidResponse(f"no {packet!r}")

    async with stage.stream() as stream:
        stream.divert(take)
        reader = asyncio.create_task(stream.next_bytes())
        await stage.send(chunk(b"a"))
        with pytest.raises(UpstreamInvalidResponse, match="no b'a'"):
            await asyncio.wait_for(reader, 5)


@pytest.mark.anyio
async def test_what_is_diverted_is_progress_and_silence_is_none() -> None:
    clock = StoppedClock()
    stage = Stage(Timeouts(connect=10, request=10, stream_idle=10, stream=1000), clock)
    taker = Taker()

    async def watched() -> None:
        async with stage.stream() as stream:
            events = stream.batches(taker)
            await stage.send(chunk(b"data: first\n\n"))
            assert await anext(events) == [b"first"]
            reader = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            for number in range(12):
                await stage.send(chunk(b"data: %d\n\n" % number))
                clock.advance(9.9)
                await asyncio.sleep(0)
                assert not reader.done()
            clock.advance(0.2)
            await asyncio.wait_for(reader, 20)

    with pytest.raises(UpstreamTimeout):
        await watched()
    assert len(taker.taken) == 12


@pytest.mark.anyio
async def test_a_diversion_ends_with_its_stream() -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(SSE, chunk(b"some"), END)

    async with raw_server(script) as server:
        transport = Transport("up", server.url, {}, PATIENT)
        taker = Taker()
        async with transport.stream("/", {}, b"{}") as stream:
            stream.divert(taker)
            assert await stream.next_bytes() == b""
        async with transport.stream("/", {}, b"{}") as stream:
            assert await stream.next_bytes() == b"some"
        assert len(server.peers) == 1
        await transport.aclose()
    assert taker.taken == [b"some"]
