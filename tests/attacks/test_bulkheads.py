"""One provider that hangs, or that everybody asks at once, leaves places for the others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.support.bare_sockets import ask, connection, get, head_of, post
from tests.support.gateway import ONE_ATTEMPT, LiveGateway, SharedGateways
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

CAP = 16
SHARE = 12  # three quarters
KINDS = {
    "whole": post("chat", "hang-before-headers#full"),
    "stream": post("chat", "hang-before-headers#full", stream=True),
    "dripping": post("chat", "drip#full", stream=True),
    "embed": post("embed", "hang-before-headers#full"),
    "ollama": post("ollama", "hang-before-headers#full", stream=True),
    "model": get("/lab/v1/models/hang-before-headers%23full"),
}


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> LiveGateway:
    """Two providers at one upstream, a third that never answers, and a route over two of them."""
    config = tmp_path_factory.mktemp("config") / "gateway.toml"
    config.write_text(
        f'[providers.lab]\nbase_url = "{upstream.url}"\n[providers.other]\nbase_url = "{upstream.url}"\n'
        f'[providers.small]\nbase_url = "{upstream.url}"\nprovider_max_in_flight = 1\n'
        '[routes."either"]\ntargets = ["lab/good", "other/good"]\n'
    )
    return gateway_for(GATEWAY_CONFIG=str(config), MAX_IN_FLIGHT=str(CAP), **ONE_ATTEMPT)


@asynccontextmanager
async def filled(upstream: Upstream, live: LiveGateway, request: bytes, count: int) -> AsyncIterator[AsyncExitStack]:
    """So many requests that do not end while this lasts."""
    before = len(upstream.seen("hang-before-headers#full")) + len(upstream.seen("drip#full"))
    async with AsyncExitStack() as stack:
        for _ in range(count):
            _, writer = await stack.enter_async_context(connection(live.port))
            writer.write(request)
        async with asyncio.timeout(30):
            while len(upstream.seen("hang-before-headers#full")) + len(upstream.seen("drip#full")) < before + count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield stack


async def free(live: LiveGateway, provider: str = "lab") -> None:
    async with asyncio.timeout(30):
        while (await ask(live.port, post("chat", "good", provider=provider)))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_provider_that_hangs_has_its_share_only(live: LiveGateway, upstream: Upstream, kind: str) -> None:
    await free(live)
    async with filled(upstream, live, KINDS[kind], SHARE):
        for _ in range(3):
            status, headers, body = await ask(live.port, post("chat", "good"))
            assert (status, headers["retry-after"]) == (503, "1")
            error = json.loads(body)["error"]
            assert error["code"] == "overloaded"
            assert "'lab'" in error["message"]
        assert (await ask(live.port, post("ollama", "good")))[0] == 503
        assert (await ask(live.port, get("/lab/v1/models")))[0] == 503
        for provider in ("other", "custom"):
            replies = await asyncio.gather(*(ask(live.port, post("chat", "good", provider=provider)) for _ in range(4)))
            assert [status for status, _, _ in replies] == [200] * 4
        assert (await ask(live.port, get("/v1/models")))[0] == 200
    await free(live)


async def test_a_route_goes_on_to_its_next_target(live: LiveGateway, upstream: Upstream) -> None:
    await free(live)
    async with filled(upstream, live, KINDS["dripping"], SHARE):
        request = post("chat", "either").replace(b"/lab/v1/", b"/v1/")
        status, headers, _ = await ask(live.port, request)
        assert (status, headers["x-gateway-provider"]) == (200, "other")


async def test_a_provider_can_have_a_share_of_its_own(live: LiveGateway, upstream: Upstream) -> None:
    async with filled(upstream, live, post("chat", "drip#full", provider="small", stream=True), 1):
        status, _, body = await ask(live.port, post("chat", "good", provider="small"))
        assert status == 503
        assert "'small' (1)" in json.loads(body)["error"]["message"]
    await free(live, "small")


async def test_places_are_free_again_however_requests_end(live: LiveGateway, upstream: Upstream) -> None:
    """More of them than there are places, so that one which was kept would show."""
    await free(live)
    for model in ("good", "status-500", "status-400", "close-at-once", "broken-json", "stream-cut", "stream-error"):
        for stream in (False, True):
            for _ in range(SHARE + 1):
                _, _, body = await ask(live.port, post("chat", model, stream=stream))
                assert b'"code":"overloaded"' not in body  # an upstream's own overload has another code
    for _ in range(SHARE + 1):
        async with connection(live.port) as (reader, writer):
            writer.write(post("chat", "drip", stream=True))
            status, _ = await head_of(reader)
            assert status == 200
    await free(live)
