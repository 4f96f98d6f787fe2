"""The connections to one upstream: which one is used, how many there are, how long they stay, and who waits."""

import asyncio
import gc
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.providers.http.broken import BrokenReply, Disconnected
from ai_gateway.providers.http.client import Transport
from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.pool import IDLE_S, Origin, Pool
from ai_gateway.providers.http.tls import default_tls
from ai_gateway.providers.upstream import Timeouts
from tests.support.certificate import self_signed
from tests.support.clock import StoppedClock
from tests.support.raw_server import HOST, Peer, RawServer, Script, raw_server, replying
from tests.support.serving import serving

pytestmark = pytest.mark.anyio
PATIENT = Timeouts(connect=10, request=30, stream_idle=30, stream=60)
FOREVER_S = 1_000.0
MOST = 1_000_000
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"
HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


def nothing_to_check(headers: Mapping[str, str]) -> None:
    """Every head is good."""


@asynccontextmanager
async def pooled(
    script: Script, limit: int = 100, clock: StoppedClock | None = None, **more: Any
) -> AsyncIterator[tuple[Pool, RawServer]]:
    async with raw_server(script) as server:
        pool = Pool(Origin(HOST, server.port), limit, 10, clock=clock, **more)
        try:
            yield pool, server
        finally:
            pool.close()


async def got(pool: Pool) -> Connection:
    return pool.pick() or await pool.connect(pool.time() + FOREVER_S)


async def asked(pool: Pool, connection: Connection, deadline_s: float = FOREVER_S) -> bytes | None:
    connection.send(HEAD, None, pool.time() + deadline_s, nothing_to_check)
    return await connection.whole(MOST)


async def call(pool: Pool) -> Connection:
    """One request, and which connection it was made on."""
    connection = await got(pool)
    try:
        assert await asked(pool, connection) == b"good"
    finally:
        pool.put_back(connection)
    return connection


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - neither a socket nor a pool says when it has changed
            await asyncio.sleep(0.001)


# -- which one --


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    async with pooled(replying(GOOD)) as (pool, server):
        three = [await got(pool) for _ in range(3)]
        assert len(set(three)) == 3
        for connection in three:
            assert await asked(pool, connection) == b"good"
        for connection in (three[1], three[2], three[0]):
            pool.put_back(connection)
        assert [await got(pool) for _ in range(3)] == [three[0], three[2], three[1]]
        await until(lambda: len(server.peers) == 3)


async def test_one_connection_is_enough_for_calls_one_after_the_other() -> None:
    async with pooled(replying(GOOD)) as (pool, server):
        assert len({await call(pool) for _ in range(20)}) == 1
        assert len(server.peers) == 1


async def test_a_connection_that_was_put_back_with_a_reply_under_way_is_never_used_again() -> None:
    async with pooled(replying(GOOD[:-2])) as (pool, server):
        connection = await got(pool)
        connection.send(HEAD, None, pool.time() + FOREVER_S, nothing_to_check)
        await connection.head()
        pool.put_back(connection)
        assert pool.pick() is None
        await asyncio.wait_for(server.peers[0].over.wait(), 5)


async def test_one_that_was_never_used_is_not_kept_either() -> None:
    async with pooled(replying(GOOD)) as (pool, server):
        pool.put_back(await got(pool))
        assert pool.pick() is None
        await asyncio.wait_for(server.peers[0].over.wait(), 5)


async def test_one_that_was_told_to_read_no_more_is_not_kept() -> None:
    """What is encrypted can still come then, from what was read before."""
    async with pooled(replying(GOOD[:-4])) as (pool, _):
        connection = await got(pool)
        connection.send(HEAD, None, pool.time() + FOREVER_S, nothing_to_check)
        body = b"a" * 40_000
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 40001\r\n\r\n" + body)
        connection.data_received(b"a")
        assert connection.is_whole
        pool.put_back(connection)
        assert pool.pick() is None


# -- how many --


async def test_there_are_never_more_than_the_limit_and_everybody_gets_one_in_turn() -> None:
    async with pooled(replying(GOOD), limit=3) as (pool, server):
        order: list[int] = []

        async def caller(number: int) -> None:
            connection = await got(pool)
            order.append(number)
            try:
                assert await asked(pool, connection) == b"good"
                await asyncio.sleep(0)
            finally:
                pool.put_back(connection)

        await asyncio.wait_for(asyncio.gather(*(caller(number) for number in range(50))), 20)
        assert len(server.peers) == 3
        assert [number for number in order if number > 2] == list(range(3, 50))


async def test_a_place_becomes_free_when_a_connection_ends_however_it_does() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number % 3 == 0:
            await peer.send(GOOD.replace(b"good", b"goo"))  # and closed in the middle
        elif peer.number % 3 == 1:
            await peer.send(b"garbage")
        else:
            peer.reset()

    async def caller(pool: Pool) -> None:
        connection = await got(pool)
        try:
            await asked(pool, connection)
        finally:
            pool.put_back(connection)

    async with pooled(script, limit=2) as (pool, server):
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(caller(pool) for _ in range(30)), return_exceptions=True), 20
        )
        assert all(isinstance(outcome, Exception) for outcome in outcomes)
        assert len(server.peers) == 30


async def test_who_stops_waiting_takes_nothing_from_those_behind() -> None:
    async with pooled(replying(GOOD), limit=1) as (pool, server):
        connection = await got(pool)
        waiting = [asyncio.create_task(call(pool)) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()  # while it waits
        await asyncio.sleep(0)
        assert await asked(pool, connection) == b"good"
        pool.put_back(connection)
        waiting[1].cancel()  # with the connection already promised to it
        assert await asyncio.wait_for(waiting[2], 5) is connection
        assert waiting[0].cancelled()
        assert waiting[1].cancelled()
        assert await call(pool) is connection
        assert len(server.peers) == 1


async def test_one_that_says_something_on_its_way_to_the_next_caller_does_not_arrive() -> None:
    async with pooled(replying(GOOD), limit=1) as (pool, server):
        connection = await got(pool)
        waiting = asyncio.create_task(call(pool))
        assert await asked(pool, connection) == b"good"
        pool.put_back(connection)
        server.peers[0].push(GOOD.replace(b"good", b"evil"))
        assert await asyncio.wait_for(waiting, 5) is not connection
        assert len(server.peers) == 2


async def test_a_place_that_was_promised_to_who_stops_waiting_goes_to_the_next() -> None:
    async with pooled(replying(GOOD), limit=1) as (pool, server):
        connection = await got(pool)
        waiting = [asyncio.create_task(call(pool)) for _ in range(2)]
        await asyncio.sleep(0.01)
        connection.close()
        waiting[0].cancel()
        await asyncio.wait_for(waiting[1], 5)
        pool.put_back(connection)
        await call(pool)
        assert len(server.peers) == 2


async def test_waiting_for_a_connection_is_part_of_the_requests_time() -> None:
    async with pooled(replying(GOOD), limit=1) as (pool, _):
        connection = await got(pool)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.connect(pool.time() + 0.05), 10)
        pool.put_back(connection)
        await call(pool)


# -- how long --


async def test_an_idle_connection_is_closed_after_its_time_and_not_before() -> None:
    clock = StoppedClock()
    async with pooled(replying(GOOD), clock=clock) as (pool, server):
        old, young = await got(pool), await got(pool)
        for connection in (old, young):
            await asked(pool, connection)
        pool.put_back(old)
        clock.advance(10)
        pool.put_back(young)
        clock.advance(IDLE_S - 10 - 0.1)
        await asyncio.sleep(0.01)
        assert not any(peer.over.is_set() for peer in server.peers)
        clock.advance(0.2)
        await until(lambda: sum(peer.over.is_set() for peer in server.peers) == 1)
        assert not old.is_open
        assert pool.pick() is young
        assert await asked(pool, young) == b"good"
        pool.put_back(young)
        clock.advance(IDLE_S + 0.1)
        await until(lambda: all(peer.over.is_set() for peer in server.peers))
        assert pool.pick() is None


async def test_one_whose_time_is_over_is_not_used_even_if_the_alarm_is_late() -> None:
    clock = StoppedClock()
    async with pooled(replying(GOOD), clock=clock) as (pool, server):
        first = await call(pool)
        clock.now += IDLE_S + 0.1
        assert await call(pool) is not first
        assert len(server.peers) == 2


async def test_one_alarm_is_enough_for_all_and_none_is_left_when_nothing_is_open() -> None:
    clock = StoppedClock()
    async with pooled(replying(GOOD), clock=clock) as (pool, server):
        for _ in range(50):
            await asyncio.gather(*(call(pool) for _ in range(10)))
            clock.advance(0.1)
        assert len(clock.alarms) == 1
        assert clock.set < 5
        clock.advance(2 * FOREVER_S)
        await until(lambda: all(peer.over.is_set() for peer in server.peers))
        assert clock.alarms == []


async def test_a_deadline_ends_the_wait_for_a_reply_and_no_other() -> None:
    clock = StoppedClock()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with pooled(script, clock=clock) as (pool, server):
        connections = [await got(pool) for _ in range(3)]
        waits = [
            asyncio.create_task(asked(pool, connection, deadline_s))
            for connection, deadline_s in zip(connections, (30, 10, 20), strict=True)
        ]
        await asyncio.sleep(0.01)
        for step, ended in ((9.9, set()), (0.2, {1}), (9.8, {1}), (0.2, {1, 2}), (10, {0, 1, 2})):
            clock.advance(step)
            await asyncio.sleep(0.01)
            assert {number for number, wait in enumerate(waits) if wait.done()} == ended
        for wait, connection in zip(waits, connections, strict=True):
            with pytest.raises(TimeoutError):
                await wait
            pool.put_back(connection)
        await until(lambda: all(peer.over.is_set() for peer in server.peers))


async def test_a_deadline_can_be_moved_to_later_and_to_earlier() -> None:
    clock = StoppedClock()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with pooled(script, clock=clock) as (pool, _):
        connection = await got(pool)
        wait = asyncio.create_task(asked(pool, connection, 10))
        await asyncio.sleep(0)
        for _ in range(20):
            clock.advance(9)
            connection.expire_at(clock.now + 10)
        await asyncio.sleep(0.01)
        assert not wait.done()
        connection.expire_at(clock.now + 1)
        clock.advance(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait, 5)
        pool.put_back(connection)


# -- the end --


async def test_a_connection_that_has_ended_is_forgotten() -> None:
    clock = StoppedClock()
    seen: list[weakref.ref[Connection]] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"garbage" if peer.number == 0 else GOOD)
        if peer.number != 1:
            await peer.closed()

    async with pooled(script, clock=clock) as (pool, server):
        connection = await got(pool)
        seen.append(weakref.ref(connection))
        with pytest.raises(BrokenReply):  # ended while it was used
            await asked(pool, connection)
        pool.put_back(connection)
        del connection
        for number in (1, 2):
            seen.append(weakref.ref(await call(pool)))
            if number == 1:  # by the upstream, while it was idle
                await until(server.peers[1].over.is_set)
                await asyncio.sleep(0.02)
        clock.advance(IDLE_S + 1)  # by age
        await until(server.peers[2].over.is_set)
        await until(lambda: gc.collect() >= 0 and not any(each() for each in seen))


async def test_closing_the_pool_ends_calls_and_waits_and_leaves_nothing_open() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with pooled(script, limit=2) as (pool, server):
        calls = [asyncio.create_task(call(pool)) for _ in range(5)]
        await until(lambda: len(server.peers) == 2)
        await asyncio.sleep(0.01)
        pool.close()
        for outcome in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5):
            assert isinstance(outcome, Disconnected)
        await until(lambda: all(peer.over.is_set() for peer in server.peers))
        with pytest.raises(Disconnected):
            await call(pool)
        assert len(server.peers) == 2


async def test_a_connection_that_is_still_being_made_when_the_pool_closes_does_not_stay() -> None:
    release = threading.Event()
    async with raw_server(replying(GOOD)) as server:

        def resolve(host: str, port: int) -> Sequence[Any]:
            release.wait(30)
            return [address(server.port)]

        pool = Pool(Origin("up.test", 443), 1, 10, resolve=resolve)
        caller = asyncio.create_task(call(pool))
        await asyncio.sleep(0.02)
        pool.close()
        release.set()
        with pytest.raises(Disconnected):
            await asyncio.wait_for(caller, 5)
        await until(lambda: all(peer.over.is_set() for peer in server.peers))


async def test_a_closed_pool_keeps_no_time() -> None:
    clock = StoppedClock()
    async with pooled(replying(GOOD), clock=clock) as (pool, _):
        connection = await got(pool)
        assert await asked(pool, connection) == b"good"
        await call(pool)
        assert clock.alarms
        pool.close()
        pool.put_back(connection)
        assert clock.alarms == []
        assert not connection.is_open


# -- making one --


def address(port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (HOST, port))


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


async def test_another_address_of_the_host_is_tried_where_one_refuses() -> None:
    async with raw_server(replying(GOOD)) as server:
        dead = closed_port()
        pool = Pool(Origin("up.test", 1), 10, 10, resolve=lambda *_: [address(dead), address(server.port)])
        for _ in range(3):
            connection = await got(pool)
            assert await asked(pool, connection) == b"good"
        assert len(server.peers) == 3
        pool.close()


async def test_an_address_that_does_not_answer_does_not_hold_up_the_next_one() -> None:
    full = socket.socket()
    full.bind((HOST, 0))
    full.listen(0)
    port = full.getsockname()[1]
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:  # a queue that is full answers no more
        filler.setblocking(False)
        filler.connect_ex((HOST, port))
    async with raw_server(replying(GOOD)) as server:
        pool = Pool(Origin("up.test", 1), 10, 10, resolve=lambda *_: [address(port), address(server.port)])
        for _ in range(2):
            connection = await asyncio.wait_for(got(pool), 5)
            assert await asked(pool, connection) == b"good"
        pool.close()
    for sock in (full, *fillers):
        sock.close()


async def test_connections_are_spread_over_all_addresses_of_a_host() -> None:
    async with raw_server(replying(GOOD)) as one, raw_server(replying(GOOD)) as other:
        pool = Pool(Origin("up.test", 1), 10, 10, resolve=lambda *_: [address(one.port), address(other.port)])
        for _ in range(6):
            assert await asked(pool, await got(pool)) == b"good"
        assert (len(one.peers), len(other.peers)) == (3, 3)
        pool.close()


async def test_a_name_is_looked_up_once_for_all_who_need_it_and_remembered_for_a_moment() -> None:
    asked_for: list[tuple[str, int]] = []
    async with raw_server(replying(GOOD)) as server:

        def resolve(host: str, port: int) -> Sequence[Any]:
            asked_for.append((host, port))
            return [address(server.port)]

        pool = Pool(Origin("up.test", 443), 100, 10, resolve=resolve)
        connections = await asyncio.gather(*(got(pool) for _ in range(20)))
        assert len(set(connections)) == 20
        await got(pool)
        assert asked_for == [("up.test", 443)]
        pool.close()


async def test_a_name_that_is_not_found_is_asked_for_again() -> None:
    failures: list[Exception] = [socket.gaierror(-2, "unknown"), UnicodeError("label too long")]
    async with raw_server(replying(GOOD)) as server:

        def resolve(host: str, port: int) -> Sequence[Any]:
            if failures:
                raise failures.pop(0)
            return [address(server.port)]

        pool = Pool(Origin("up.test", 443), 100, 10, resolve=resolve)
        with pytest.raises(socket.gaierror, match="unknown"):
            await got(pool)
        with pytest.raises(OSError, match=r"up\.test"):
            await got(pool)
        await got(pool)
        pool.close()


async def test_a_host_without_an_address_is_out_of_reach() -> None:
    pool = Pool(Origin("up.test", 443), 100, 10, resolve=lambda *_: [])
    with pytest.raises(OSError, match="no address"):
        await got(pool)
    pool.close()


async def test_a_name_server_that_does_not_answer_has_the_time_for_a_connection_and_holds_up_nobody_else() -> None:
    release = threading.Event()

    def resolve(host: str, port: int) -> Sequence[Any]:
        release.wait(30)
        return []

    try:
        pools = [Pool(Origin(f"up{number}.test", 443), 100, 0.1, resolve=resolve) for number in range(40)]
        outcomes = await asyncio.wait_for(asyncio.gather(*map(got, pools), return_exceptions=True), 20)
        assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
        async with pooled(replying(GOOD)) as (pool, _):
            await asyncio.wait_for(call(pool), 5)
        found = await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo(HOST, 80), 5)
        assert found
    finally:
        release.set()
        for pool in pools:
            pool.close()


async def test_who_leaves_while_a_connection_is_made_leaves_no_place_taken() -> None:
    release = threading.Event()
    async with raw_server(replying(GOOD)) as server:

        def resolve(host: str, port: int) -> Sequence[Any]:
            release.wait(30)
            return [address(server.port)]

        pool = Pool(Origin("up.test", 443), 1, 10, resolve=resolve)
        caller = asyncio.create_task(call(pool))
        await asyncio.sleep(0.02)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        release.set()
        await asyncio.wait_for(call(pool), 5)
        pool.close()
        assert len(server.peers) == 1


async def test_a_refused_connection_leaves_no_place_taken() -> None:
    pool = Pool(Origin(HOST, closed_port()), 1, 10)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.wait_for(got(pool), 5)
    pool.close()


async def test_a_connection_that_is_closed_at_once_leaves_no_place_taken() -> None:
    async def script(peer: Peer) -> None:
        return None

    async with pooled(script, limit=1) as (pool, _):
        for _ in range(5):
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(call(pool), 5)


# -- TLS --


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@contextmanager
def encrypted(certificate: Path, *replies: bytes) -> Iterator[tuple[str, list[int]]]:
    """A server that answers each request with the next reply, over TLS: its address, and the connections so far."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    connections: list[int] = []
    left = list(replies)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        while left:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
            await reader.readexactly(length)
            writer.write(left.pop(0))
            await writer.drain()

    with serving(converse, ssl=context) as port:
        yield f"https://{HOST}:{port}", connections


def trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["http/1.1"])
    return context


async def test_calls_over_tls_share_a_connection_as_others_do(certificate: Path) -> None:
    large = b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + b"a" * 3_000_000
    to_its_end = b"HTTP/1.1 200 OK\r\n\r\nto its end"
    with encrypted(certificate, GOOD, GOOD, large, to_its_end) as (url, connections):
        tls = trusting(certificate)
        transport = Transport("up", url, {}, PATIENT, lambda origin: Pool(replace(origin, tls=tls), 10, 10))
        assert (await transport.fetch("POST", "/", {}, b"{}")).body == b"good"
        assert (await transport.fetch("POST", "/", {}, b"a" * 1_000_000)).body == b"good"
        async with transport.stream("/", {}, b"{}") as stream:
            pieces = []
            while piece := await stream.next_bytes():
                pieces.append(piece)
                await asyncio.sleep(0)
        assert b"".join(pieces) == b"a" * 3_000_000
        assert (await transport.fetch("POST", "/", {}, b"{}")).body == b"to its end"
        assert len(connections) == 1
        await transport.aclose()


async def test_a_certificate_that_nobody_trusts_or_that_is_anothers_makes_no_connection(certificate: Path) -> None:
    with encrypted(certificate, GOOD) as (url, connections):
        port = int(url.rpartition(":")[2])
        for host, tls in ((HOST, default_tls()), ("up.test", trusting(certificate))):
            pool = Pool(Origin(host, port, tls), 1, 10, resolve=lambda *_: [address(port)])
            for _ in range(2):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await asyncio.wait_for(got(pool), 10)
            pool.close()
        assert connections == []


async def test_who_leaves_during_the_handshake_leaves_no_place_taken(certificate: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.closed()

    async with raw_server(script) as server:
        pool = Pool(Origin(HOST, server.port, trusting(certificate)), 1, 10)
        for number in range(3):
            caller = asyncio.create_task(got(pool))
            await until(lambda wanted=number: len(server.peers) > wanted)  # type: ignore[misc]
            await asyncio.sleep(0.01)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            await asyncio.wait_for(server.peers[number].over.wait(), 5)
        pool.close()


async def test_a_handshake_that_is_not_answered_has_the_time_for_a_connection(certificate: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.closed()

    async with raw_server(script) as server:
        pool = Pool(Origin(HOST, server.port, trusting(certificate)), 1, 0.1)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(got(pool), 10)
        pool.close()
