"""Thousands of mixed requests, a tenth of them abandoned at some point, leave the gateway as it was."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest
import uvicorn

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.server.protocol import HttpProtocol
from tests.support.bare_sockets import ask, body_of, connection, get, head_of, post, reset
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow

AT_ONCE = 40
ABORTED = 0.1
MODELS = ["good", "good", "good", "sloppy", "sse-crlf", "status-429", "status-500-html", "stream-cut", "html"]
SHORT = 1_500
LONG = 10_000


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[LiveGateway]:
    with running_gateway(
        ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url, LOG_LEVEL="warning", MAX_RETRIES="0"
    ) as live:
        yield live


def some_request(dice: random.Random) -> bytes:
    if dice.random() < 0.1:
        return get(dice.choice(["/lab/v1/models", "/healthz", "/custom/v1/models", "/nowhere"]))
    kind = dice.choice(["chat", "chat", "legacy", "embed", "ollama"])
    provider = dice.choice(["lab", "lab", "custom"])
    return post(kind, dice.choice(MODELS), provider=provider, stream=kind != "embed" and dice.random() < 0.5)


async def one(port: int, dice: random.Random) -> str:
    """A request, or the beginning of one: its status, or how it was abandoned."""
    request = some_request(dice)
    if dice.random() >= ABORTED:
        # A bare socket has no timeout of its own, and the slowest of these answers comes in milliseconds.
        async with asyncio.timeout(120):
            return str((await ask(port, request))[0])
    async with connection(port) as (reader, writer):
        point = dice.choice(["sending", "waiting", "reading"])
        writer.write(request[: dice.randrange(len(request))] if point == "sending" else request)
        if point == "waiting":
            await asyncio.sleep(dice.random() * 0.02)
        if point == "reading":
            await reader.read(dice.randrange(1, 900))
        if dice.random() < 0.5:
            reset(writer)
    return f"left while {point}"


async def many(port: int, count: int, seed: int) -> Counter[str]:
    dice = random.Random(seed)
    outcomes: Counter[str] = Counter()

    async def client(share: int) -> None:
        for _ in range(share):
            outcomes[await one(port, dice)] += 1

    async with asyncio.timeout(600), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(client(count // AT_ONCE))
    return outcomes


@dataclass(frozen=True)
class Footprint:
    rss: int
    clients: int
    others: int
    """Open files that belong to no connection to the upstream: those are a pool's, which keeps some on purpose."""


def footprint(live: LiveGateway, upstream: Upstream) -> Footprint:
    process = psutil.Process(live.process.pid)
    tcp = process.net_connections("tcp")
    clients = sum(each.laddr.port == live.port and each.status != psutil.CONN_LISTEN for each in tcp)
    pooled = sum(bool(each.raddr) and each.raddr.port == upstream.port for each in tcp)
    return Footprint(live.rss(), clients, process.num_fds() - pooled)


async def settled(live: LiveGateway, upstream: Upstream) -> Footprint:
    """The footprint once everybody has left."""
    for _ in range(60):
        if not footprint(live, upstream).clients:
            break
        await asyncio.sleep(0.05)
    return footprint(live, upstream)


async def leaves_nothing(live: LiveGateway, upstream: Upstream, count: int) -> None:
    await many(live.port, max(count // 5, 400), seed=1)
    before = await settled(live, upstream)
    outcomes = await many(live.port, count, seed=2)
    after = await settled(live, upstream)
    growth = (after.rss - before.rss) / before.rss
    sys.stdout.write(f"{count} requests: {before} -> {after}, {growth:.1%}\n")
    assert {"200", "404", "429", "502"} <= outcomes.keys()
    assert not [status for status in outcomes if status in {"500", "503"}]
    abandoned = sum(number for outcome, number in outcomes.items() if outcome.startswith("left"))
    assert 0.05 * count < abandoned < 0.15 * count
    assert (after.clients, after.others) == (0, before.others)
    assert growth < 0.1, f"{before.rss / 2**20:.1f} MB became {after.rss / 2**20:.1f} MB"
    assert "Traceback" not in live.log()


async def test_mixed_requests_leave_memory_and_files_as_they_were(gateway: LiveGateway, upstream: Upstream) -> None:
    await leaves_nothing(gateway, upstream, SHORT)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_ten_thousand_of_them_do_not_either(gateway: LiveGateway, upstream: Upstream) -> None:
    await leaves_nothing(gateway, upstream, LONG)


def running() -> Counter[str]:
    """How many tasks there are of each kind, without those of a moment: what waits for the store's thread."""
    names = (task.get_coro().__qualname__ for task in asyncio.all_tasks())  # type: ignore[union-attr]
    return Counter(name for name in names if not name.startswith(("_Session.", "StoreThread.", "SqliteStore.")))


async def test_they_leave_no_task_behind(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks cannot be counted from outside, so here the gateway runs in the test's own event loop."""
    monkeypatch.setenv("PROVIDER_LAB_BASE_URL", upstream.url)
    app = build(read_configuration(allowed_api_keys=[TEST_KEY], log_level="error")).asgi
    config = uvicorn.Config(app, host=HOST, port=0, http=HttpProtocol, lifespan="on", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(60):
            while not server.started:  # noqa: ASYNC110 - a server says nothing when it has started
                await asyncio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        await many(port, 200, seed=3)
        await asyncio.sleep(0.5)
        before = running()
        await many(port, 600, seed=4)
        await asyncio.wait(server.server_state.tasks or {asyncio.create_task(asyncio.sleep(0))}, timeout=60)
        after = running()
    finally:
        server.should_exit = True
        await serving
    assert server.server_state.tasks == set()
    assert after == before


async def test_the_reader_of_these_tests_sees_what_was_sent(gateway: LiveGateway) -> None:
    """A client that took half a reply for a whole one would hide every loss."""
    async with connection(gateway.port) as (reader, writer):
        writer.write(post("chat", "good", stream=True))
        status, headers = await head_of(reader)
        body = await body_of(reader, headers)
    assert status == 200
    assert body.count(b"data: ") == 7
