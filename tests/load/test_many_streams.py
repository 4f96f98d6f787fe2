"""As many streams at once as one worker is made for: all complete, in little memory."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.bare_sockets import connection, head_of, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, free_port, running_gateway

pytestmark = pytest.mark.slow

MAX_RSS = 200 * 2**20


@contextmanager
def pacing_upstream() -> Iterator[str]:
    """An upstream of its own process that sends five events a second in every stream."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "scripts.bench.upstream", "--port", str(port)])
    try:
        yield f"http://{HOST}:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def gateway() -> Iterator[LiveGateway]:
    with pacing_upstream() as url, running_gateway(ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=url) as live:
        yield live


async def stream(port: int, events: int) -> tuple[float, int]:
    """Seconds to the first event, and how many there were; raises if the stream is not whole."""
    async with connection(port) as (reader, writer):
        started = time.perf_counter()
        writer.write(post("chat", f"paced-{events}", stream=True))
        status, _ = await head_of(reader)
        assert status == 200
        await reader.readuntil(b"data: {")
        first = time.perf_counter() - started
        rest = await reader.readuntil(b"0\r\n\r\n")
        assert b"data: [DONE]" in rest
        assert b'"error"' not in rest
        return first, rest.count(b"data: {") + 1


async def hold(live: LiveGateway, streams: int, events: int) -> dict[str, float]:
    """Run them all at once and say how it went."""
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, live.rss())
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    started = time.perf_counter()
    try:
        async with asyncio.timeout(events * 0.2 + 240):
            done = await asyncio.gather(*(stream(live.port, events) for _ in range(streams)))
    finally:
        watching.cancel()
    firsts = sorted(first for first, _ in done)
    assert [count for _, count in done] == [events] * streams
    return {
        "streams": streams,
        "first_p50_s": firsts[len(firsts) // 2],
        "first_p99_s": firsts[int(len(firsts) * 0.99)],
        "seconds": time.perf_counter() - started,
        "rss_mb": peak / 2**20,
    }


async def judge(live: LiveGateway, streams: int, events: int) -> None:
    found = await hold(live, streams, events)
    sys.stdout.write(json.dumps(found) + "\n")
    assert found["rss_mb"] * 2**20 <= MAX_RSS


async def test_three_hundred_streams_at_once_complete(gateway: LiveGateway) -> None:
    await judge(gateway, 300, 10)


@pytest.mark.soak
async def test_a_thousand_streams_of_fifty_events_complete_under_200_mb(gateway: LiveGateway) -> None:
    await judge(gateway, 1_000, 50)
