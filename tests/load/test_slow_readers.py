"""Clients that read a kilobyte a second while their upstream floods: little is held for each of them."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.support.bare_sockets import ask, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

READERS = 60
MAX_HELD = 256 * 1024


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[LiveGateway]:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        yield live


async def slow_reader(live: LiveGateway, model: str) -> socket.socket:
    """A stream whose client has a small window, so that all it does not read stays with the gateway."""
    reader = socket.socket()
    reader.setblocking(False)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(reader, (HOST, live.port))
    await loop.sock_sendall(reader, post("chat", model, stream=True))
    return reader


async def test_a_reader_of_a_kilobyte_a_second_holds_at_most_256_kb(gateway: LiveGateway, upstream: Upstream) -> None:
    for _ in range(5):  # what any first hundred requests take is not held for these
        await asyncio.gather(*(ask(gateway.port, post("chat", "good", stream=True)) for _ in range(READERS)))
    loop = asyncio.get_running_loop()
    with await slow_reader(gateway, "flood#first") as first:  # nor is what the first flood takes
        assert await loop.sock_recv(first, 1024)
        await asyncio.sleep(1)
    before = gateway.rss()
    with ExitStack() as stack:
        readers = [stack.enter_context(await slow_reader(gateway, f"flood#{number}")) for number in range(READERS)]
        for _ in range(4):
            for reader in readers:
                assert await loop.sock_recv(reader, 1024)
            await asyncio.sleep(1)
        held = (gateway.rss() - before) / READERS
        still = [
            seen for number in range(READERS) for seen in upstream.seen(f"flood#{number}") if not seen.gone.is_set()
        ]
        assert len(still) == READERS, "a reader was given up, or all of a flood was taken for it"
    sys.stdout.write(f"{held / 1024:.0f} KB for each reader\n")
    assert held <= MAX_HELD


async def test_the_kernel_holds_little_for_it_either(gateway: LiveGateway) -> None:
    """Else megabytes wait there, and the upstream is paid for words that nobody has read."""
    reader = await slow_reader(gateway, "flood#kernel")
    await asyncio.sleep(1)
    gateway.process.send_signal(signal.SIGSTOP)  # what still comes now was in the kernel
    try:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
        reader.settimeout(0.5)
        taken = 0
        with suppress(TimeoutError):
            while part := reader.recv(2**20):
                taken += len(part)
    finally:
        gateway.process.send_signal(signal.SIGCONT)
        reader.close()
    assert 0 < taken < 2**17


async def test_a_reader_who_was_slow_gets_everything_in_order(gateway: LiveGateway) -> None:
    reader = await slow_reader(gateway, "sse-bytes")
    await asyncio.sleep(1)
    loop = asyncio.get_running_loop()
    received = b""
    async with asyncio.timeout(60):
        while b"[DONE]" not in received:
            received += await loop.sock_recv(reader, 200)
    reader.close()
    assert received.count(b"chat.completion.chunk") == 6
