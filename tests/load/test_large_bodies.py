"""Many large bodies at once: memory for so many is there, and whoever comes beyond that is told at once."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from tests.support.bare_sockets import ask, connection, head_of, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, SharedGateways
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

ROOM = 16 * 2**20
LARGEST = 4 * 2**20
FIT = 3  # as many of nearly the largest size as there is room for, with a little to spare


@pytest.fixture(scope="module")
def gateway(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    sizes = {"REQUEST_MAX_SIZE": str(LARGEST), "BODIES_MAX_SIZE": str(ROOM)}
    return gateway_for(PROVIDER_LAB_BASE_URL=upstream.url, **sizes)


def large(model: str) -> bytes:
    """A chat of about the largest size that is taken."""
    return post("chat", model, text="a" * (LARGEST - 4000))


def head(length: int | None) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST /lab/v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TEST_KEY}\r\n"
        f"Content-Type: application/json\r\n{framing}\r\n\r\n"
    ).encode()


async def outcome(port: int, request: bytes) -> int:
    """The status; a refusal may come while the body is still being sent."""
    async with connection(port) as (reader, writer):
        writer.write(request)
        status, headers = await head_of(reader)
        if status == 503:
            error = json.loads(await reader.readexactly(int(headers["content-length"])))["error"]
            assert (error["code"], headers["retry-after"], headers["connection"]) == ("overloaded", "1", "close")
            assert "bodies" in error["message"]
        return status


@asynccontextmanager
async def holding(live: LiveGateway, upstream: Upstream, label: str, count: int) -> AsyncIterator[AsyncExitStack]:
    """Large bodies whose upstream says nothing; leaving the stack early ends them."""
    async with AsyncExitStack() as stack:
        for number in range(count):
            model = f"hang-before-headers#{label}-{number}"
            _, writer = await stack.enter_async_context(connection(live.port))
            writer.write(large(model))
            await asyncio.to_thread(upstream.last, model)
        yield stack


async def test_a_body_that_does_not_fit_is_refused_before_it_is_sent_and_small_ones_are_served(
    gateway: LiveGateway, upstream: Upstream
) -> None:
    async with holding(gateway, upstream, "declared", FIT + 1) as held:
        for _ in range(10):
            assert await outcome(gateway.port, head(LARGEST - 1000)) == 503  # and nothing of it follows
        assert (await ask(gateway.port, post("chat", "good")))[0] == 200
        await held.aclose()
        async with asyncio.timeout(60):
            while await outcome(gateway.port, large("good")) != 200:
                pass  # the bodies are gone and their room is not, yet


async def test_a_body_of_unknown_length_is_refused_when_the_room_ends(gateway: LiveGateway, upstream: Upstream) -> None:
    async with holding(gateway, upstream, "chunked", FIT + 1), connection(gateway.port) as (reader, writer):
        writer.write(head(None))
        with suppress(ConnectionError):
            for _ in range(8):
                writer.write(b"%x\r\n%s\r\n" % (2**16, b" " * 2**16))
                await writer.drain()
        assert (await head_of(reader))[0] == 503


async def test_memory_stays_bounded_however_many_send_large_bodies(gateway: LiveGateway, upstream: Upstream) -> None:
    await ask(gateway.port, large("good"))
    before = peak = gateway.rss()
    async with holding(gateway, upstream, "flood", FIT):
        flood = asyncio.gather(*(outcome(gateway.port, large("good")) for _ in range(60)))
        while not flood.done():
            peak = max(peak, gateway.rss())
            await asyncio.sleep(0.01)
        statuses = set(await flood)
    sys.stdout.write(f"{(peak - before) / 2**20:.0f} MB for 60 times {LARGEST / 2**20:.0f} MB\n")
    assert statuses <= {200, 503}
    assert 503 in statuses
    assert peak - before < 5 * ROOM


def of_values(value: bytes) -> bytes:
    values = b",".join([value] * (LARGEST // 8))
    body = b'{"model":"good","messages":[{"role":"user","content":"x"}],"own":[%s]}' % values
    return head(len(body)) + body


@pytest.mark.parametrize("value", [b"{}", b"[]", b'{"a":[]}'])
async def test_objects_and_arrays_that_can_never_fit_are_too_many(gateway: LiveGateway, value: bytes) -> None:
    assert await outcome(gateway.port, of_values(value)) == 413


async def test_very_many_values_count_for_the_room_they_will_take(gateway: LiveGateway, upstream: Upstream) -> None:
    request = of_values(b"12345")
    assert await outcome(gateway.port, request) == 200, "alone it has all the room"
    async with holding(gateway, upstream, "values", 1):
        assert await outcome(gateway.port, request) == 503
