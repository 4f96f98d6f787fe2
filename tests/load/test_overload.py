"""More requests than the gateway takes: each of those beyond is told so at once, and nobody else notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.support.bare_sockets import ask, body_of, connection, get, head_of, post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

CAP = 20
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def gateway(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return gateway_for(PROVIDER_LAB_BASE_URL=upstream.url, MAX_IN_FLIGHT=str(CAP), PROVIDER_MAX_IN_FLIGHT=str(CAP))


@asynccontextmanager
async def full(live: LiveGateway) -> AsyncIterator[AsyncExitStack]:
    """The gateway while streams fill it; leaving the stack early frees it."""
    async with AsyncExitStack() as stack:
        held = 0
        async with asyncio.timeout(PATIENCE_S):  # the places of the test before may not be free yet
            while held < CAP:
                reader, writer = await stack.enter_async_context(connection(live.port))
                writer.write(post("chat", "drip", stream=True))
                held += (await head_of(reader))[0] == 200
        yield stack


async def all_free(live: LiveGateway) -> None:
    """Wait until the streams that have ended hold no place any more: then as many requests are served at once."""
    async with asyncio.timeout(PATIENCE_S):
        statuses = {503}
        while statuses != {200}:
            replies = await asyncio.gather(*(ask(live.port, post("embed", "good")) for _ in range(CAP)))
            statuses = {status for status, _, _ in replies}


async def test_a_request_beyond_the_cap_is_refused_with_the_contracts_words(gateway: LiveGateway) -> None:
    async with full(gateway):
        for _ in range(40):
            status, headers, body = await ask(gateway.port, post("chat", "good"))
            assert (status, headers["retry-after"]) == (503, "1")
            assert headers["x-request-id"]
            error = json.loads(body)["error"]
            assert (error["code"], error["param"], error["type"]) == ("overloaded", None, "server_error")


async def test_on_ollamas_wire_it_is_told_in_ollamas_words(gateway: LiveGateway) -> None:
    async with full(gateway):
        status, headers, body = await ask(gateway.port, post("ollama", "good", stream=True))
    assert (status, headers["retry-after"]) == (503, "1")
    assert list(json.loads(body)) == ["error"]
    assert "in flight" in json.loads(body)["error"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/health", "/ready", "/v1/version"])
async def test_who_asks_how_a_full_gateway_is_doing_gets_an_answer(gateway: LiveGateway, path: str) -> None:
    async with full(gateway):
        assert (await ask(gateway.port, get(path)))[0] == 200
        assert (await ask(gateway.port, get("/v1/models")))[0] == 503


async def test_a_place_is_free_as_soon_as_a_stream_ends_or_its_client_leaves(gateway: LiveGateway) -> None:
    async with full(gateway) as holding:
        assert (await ask(gateway.port, post("chat", "good")))[0] == 503
        await holding.aclose()
        await all_free(gateway)
    for _ in range(3):
        replies = await asyncio.gather(*(ask(gateway.port, post("embed", "good")) for _ in range(CAP)))
        assert {status for status, _, _ in replies} == {200}


async def test_a_connection_that_was_refused_serves_on(gateway: LiveGateway) -> None:
    async with full(gateway) as holding, connection(gateway.port) as (reader, writer):
        writer.write(post("chat", "good"))
        status, headers = await head_of(reader)
        await body_of(reader, headers)
        assert status == 503
        await holding.aclose()
        await all_free(gateway)
        writer.write(post("chat", "good"))
        status, headers = await head_of(reader)
        assert status == 200
        await body_of(reader, headers)


async def test_a_flood_beyond_the_cap_is_refused_and_not_remembered(gateway: LiveGateway) -> None:
    """Ten times as many as there is room for: all get an answer, and the memory is what it was."""
    await ask(gateway.port, post("chat", "good"))
    async with full(gateway):
        await asyncio.gather(*(ask(gateway.port, post("chat", "good")) for _ in range(100)))
        before = gateway.rss()
        for _ in range(4):
            replies = await asyncio.gather(*(ask(gateway.port, post("chat", "good")) for _ in range(200)))
            assert {status for status, _, _ in replies} == {503}
        assert gateway.rss() - before < 10 * 2**20
