"""A client can leave at any point, in either way; then nothing is done for it any more."""

import asyncio
import socket
import sys
import time

import psutil
import pytest

from tests.support.bare_sockets import ask, connection, head_of, post, reset
from tests.support.gateway import LiveGateway
from tests.support.upstream import Seen, Upstream

pytestmark = pytest.mark.live

GONE_S = 15.0
# Where the upstream is when the client leaves: what it does, and how much of the reply the client has seen by then.
POINTS = {
    "before the headers": ("hang-before-headers", 0),
    "before the first token": ("hang-after-headers", 0),
    "in the middle": ("drip", 300),
    "while it stalls": ("stalled-stream", 300),
}


def leave(writer: asyncio.StreamWriter, how: str) -> None:
    """End the connection, or its own direction of it."""
    if how == "RST":
        reset(writer)
    elif how == "its own direction":
        writer.write_eof()
    else:
        writer.close()


async def is_left(seen: Seen) -> None:
    """The gateway has ended this request to its upstream, which would have gone on for half a minute and more."""
    left = time.monotonic()
    assert await asyncio.to_thread(seen.gone.wait, GONE_S), "the upstream was never told"
    sys.stdout.write(f"left after {(seen.gone_at - left) * 1000:.0f} ms\n")


def connections_of(live: LiveGateway) -> int:
    """How many clients the gateway still has a socket for."""
    found = psutil.Process(live.process.pid).net_connections("tcp")
    return sum(each.laddr.port == live.port and each.status != psutil.CONN_LISTEN for each in found)


async def all_gone(live: LiveGateway) -> None:
    deadline = time.monotonic() + GONE_S
    while connections_of(live):
        assert time.monotonic() < deadline, "a socket is still open for a client that has left"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["FIN", "RST", "its own direction"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("kind", ["chat", "legacy", "ollama"])
@pytest.mark.parametrize("point", POINTS)
async def test_the_upstream_is_left_at_any_point(
    relay: LiveGateway, upstream: Upstream, *, point: str, kind: str, stream: bool, how: str
) -> None:
    behaviour, seen_bytes = POINTS[point]
    if not stream and seen_bytes:  # a whole reply has no middle for its client: here it is in the upstream's body
        behaviour, seen_bytes = "loris-body", 0
    model = f"{behaviour}#{point} {kind} {stream} {how}"
    async with connection(relay.port) as (reader, writer):
        writer.write(post(kind, model, stream=stream))
        if seen_bytes:
            await reader.readexactly(seen_bytes)
        seen = await asyncio.to_thread(upstream.last, model)
        await asyncio.sleep(0.1)
        leave(writer, how)
        await is_left(seen)
    await all_gone(relay)


async def test_a_client_that_leaves_is_no_failure_in_the_log(relay: LiveGateway, upstream: Upstream) -> None:
    before = len(relay.log())
    async with connection(relay.port) as (reader, writer):
        writer.write(post("chat", "drip#log", stream=True))
        await reader.readexactly(300)
    await is_left(upstream.last("drip#log"))
    await all_gone(relay)
    reported = relay.log()[before:]
    assert "client left" in reported
    assert "request failed" not in reported


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_a_client_that_has_sent_a_large_body_is_seen_to_leave_as_well(
    relay: LiveGateway, upstream: Upstream, how: str
) -> None:
    """A body that comes faster than it is read stops the reading, which must go on once it is whole."""
    models = [f"hang-before-headers#large {how} {number}" for number in range(10)]
    for model in models:
        async with connection(relay.port) as (_, writer):
            writer.write(post("chat", model, text="h" * 2_000_000))
            seen = await asyncio.to_thread(upstream.last, model)
            leave(writer, how)
        await is_left(seen)


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.99], ids=["in the head", "after the head", "before the last byte"])
async def test_a_request_that_is_not_whole_never_reaches_the_upstream(
    relay: LiveGateway, upstream: Upstream, share: float, how: str
) -> None:
    model = f"good#unsent {share} {how}"
    request = post("chat", model)
    async with connection(relay.port) as (_, writer):
        writer.write(request[: int(len(request) * share)])
        await asyncio.sleep(0.1)
        leave(writer, how)
    await all_gone(relay)
    assert upstream.seen(model) == []


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_after_the_last_byte_nothing_is_left_either(relay: LiveGateway, stream: bool, how: str) -> None:
    async with connection(relay.port) as (reader, writer):
        writer.write(post("chat", "good", stream=stream))
        assert (await head_of(reader))[0] == 200
        await reader.readuntil(b"0\r\n\r\n" if stream else b"}]")
        leave(writer, how)
    await all_gone(relay)
    assert (await ask(relay.port, post("chat", "good")))[0] == 200


async def test_a_client_that_has_said_all_it_has_to_say_is_not_there_any_more(
    relay: LiveGateway, upstream: Upstream
) -> None:
    """Half a close looks the same as a client that died; waiting for the difference would cost the upstream's work."""
    async with connection(relay.port) as (_, writer):
        writer.write(post("chat", "hang-before-headers#half"))
        seen = await asyncio.to_thread(upstream.last, "hang-before-headers#half")
        sock: socket.socket = writer.get_extra_info("socket")
        sock.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(seen.gone.wait, GONE_S)
