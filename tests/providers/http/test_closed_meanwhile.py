"""Upstreams that close an idle connection just as a request is sent: nobody sees it, and nothing is asked twice."""

import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import override

import pytest

from ai_gateway.errors import UpstreamUnreachable
from ai_gateway.providers.http.bounded_reads import acknowledged_in, kernel_given
from ai_gateway.providers.http.client import Transport
from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.pool import IDLE_S, Origin, Pool
from ai_gateway.providers.upstream import Timeouts
from tests.providers.http.test_pool import GOOD, asked, call, got, pooled, until
from tests.support.clock import StoppedClock
from tests.support.raw_server import replying

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect=30, request=60, stream_idle=60, stream=60)
LONG_S = 30


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Closing:
    """A server in a thread, which closes each connection after a reply when it is told to.

    It reads one request more before that if it `reads_on`.
    """

    def __init__(self, listening: socket.socket, *, reads_on: bool) -> None:
        self.port = int(listening.getsockname()[1])
        self.requests = 0
        self._listening = listening
        self._reads_on = reads_on
        self._may_close = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close_connection(self) -> None:
        self._closed.clear()
        self._may_close.set()
        if not self._reads_on:
            assert self._closed.wait(LONG_S)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    self._read(connection)
                    connection.sendall(GOOD)
                    self._may_close.wait(LONG_S)
                    if self._reads_on:
                        self._read(connection)
                    self._may_close.clear()
                self._closed.set()

    def _read(self, connection: socket.socket) -> None:
        received = b""
        while not received.endswith(b"{}"):
            more = connection.recv(4096)
            if not more:
                return
            received += more
        self.requests += 1


@contextmanager
def closing(*, reads_on: bool = False) -> Iterator[tuple[Transport, Closing]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Closing(listening, reads_on=reads_on)

        class Racing(Pool):
            @override
            def pick(self) -> Connection | None:
                if (connection := super().pick()) is not None:
                    server.close_connection()  # the event loop stands meanwhile, and learns of it after the request
                return connection

        def make_pool(origin: Origin) -> Pool:
            return Racing(origin, 10, 30)

        yield Transport("lab", f"http://127.0.0.1:{server.port}", {}, PATIENT, make_pool), server


async def fetched(transport: Transport, body: bytes = b"{}") -> bytes:
    return (await transport.fetch("POST", "/chat", {}, body)).body


async def streamed(transport: Transport, body: bytes = b"{}") -> bytes:
    async with transport.stream("/chat", {}, body) as stream:
        return await stream.read()


BOTH = pytest.mark.parametrize("ask", [fetched, streamed])
type Ask = Callable[[Transport, bytes], Awaitable[bytes]]
SIZES = pytest.mark.parametrize("size", [0, 60_000, 300_000, 8_000_000])  # one write, two, and more than buffers hold


@SIZES
@BOTH
async def test_a_request_that_nobody_can_have_read_is_sent_on_another_connection(ask: Ask, size: int) -> None:
    with closing() as (transport, server):
        for _ in range(3):
            assert await ask(transport, b" " * size + b"{}") == b"good"
        assert server.requests == 3
        await transport.aclose()


@BOTH
async def test_a_request_that_may_have_been_read_is_not_sent_again(ask: Ask) -> None:
    with closing(reads_on=True) as (transport, server):
        assert await ask(transport, b"{}") == b"good"
        with pytest.raises(UpstreamUnreachable):
            await ask(transport, b"{}")
        assert server.requests == 2
        await transport.aclose()


async def test_idle_connections_are_closed_before_their_upstream_closes_them() -> None:
    closed_after_s = 5.0
    clock = StoppedClock()
    async with pooled(replying(GOOD), clock=clock) as (pool, server):
        first = await call(pool)
        clock.advance(closed_after_s)
        server.peers[0].sock.shutdown(socket.SHUT_RDWR)
        await until(lambda: not first.is_open)
        second = await call(pool)
        assert second is not first
        clock.advance(closed_after_s * 0.7)
        assert await call(pool) is second
        clock.advance(closed_after_s * 0.9)
        assert not second.is_open
        assert pool.pick() is None
        many = [await got(pool) for _ in range(20)]
        for connection in many:
            assert await asked(pool, connection) == b"good"
        for connection in many:
            pool.put_back(connection)
        clock.advance(closed_after_s * 0.9)  # all of them expire
        last = await call(pool)
        clock.advance(closed_after_s * 0.9)
        assert not last.is_open


async def test_an_upstream_that_was_restarted_has_connections_kept_as_before_after_a_while() -> None:
    clock = StoppedClock()
    async with pooled(replying(GOOD), clock=clock) as (pool, server):
        first = await call(pool)
        server.peers[0].sock.shutdown(socket.SHUT_RDWR)
        await until(lambda: not first.is_open)
        for _ in range(100):
            await call(pool)
            clock.advance(IDLE_S)
        last = await call(pool)
        clock.advance(IDLE_S - 0.5)
        assert await call(pool) is last


def test_what_was_sent_again_counts_once() -> None:
    """RFC 4898, tcpEStatsPerfHCDataOctetsOut: the octets sent include retransmitted ones."""
    info = bytearray(232)
    struct.pack_into("=Q", info, 120, 1 + 1_000)  # the SYN, and all but the last 300 bytes
    struct.pack_into("=I", info, 144, 100)
    struct.pack_into("=Q", info, 200, 1_200 + 5_000)
    struct.pack_into("=Q", info, 208, 5_000)
    assert kernel_given(bytes(info)) - acknowledged_in(bytes(info)) == 300
