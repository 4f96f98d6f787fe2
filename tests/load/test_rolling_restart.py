"""Two replicas behind nginx are restarted one after the other, and no stream notices."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.bare_sockets import ask, post
from tests.support.gateway import TEST_KEY, LiveGateway, free_port, running_gateway
from tests.support.nginx import running_nginx
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow

STREAMS = 200
EVERY_S = 0.05


class Replica:
    """A gateway at an address that outlives it."""

    def __init__(self, upstream: Upstream) -> None:
        self.port = free_port()
        self._settings = {
            "SERVICE_PORT": str(self.port),
            "ALLOWED_API_KEYS": TEST_KEY,
            "PROVIDER_LAB_BASE_URL": upstream.url,
        }
        self._stack = ExitStack()
        self._live: LiveGateway | None = None

    def start(self) -> None:
        self._live = self._stack.enter_context(running_gateway(**self._settings))

    def restart(self) -> int:
        """As a deployment does it: told to stop, waited for, started anew. The exit code of the old one."""
        assert self._live is not None
        self._live.process.send_signal(signal.SIGTERM)
        code = self._live.process.wait(60)
        self.start()
        return code

    def close(self) -> None:
        self._stack.close()


@asynccontextmanager
async def pair(upstream: Upstream) -> AsyncIterator[list[Replica]]:
    replicas = [Replica(upstream), Replica(upstream)]
    try:
        for replica in replicas:
            await asyncio.to_thread(replica.start)
        yield replicas
    finally:
        for replica in replicas:
            await asyncio.to_thread(replica.close)


async def stream(port: int, number: int) -> str | None:
    """What went wrong, if anything."""
    try:
        status, _, body = await ask(port, post("chat", f"paced#{number}", stream=True))
    except (OSError, asyncio.IncompleteReadError) as error:
        return repr(error)
    return None if status == 200 and body.endswith(b"data: [DONE]\n\n") else f"{status} {body[-300:]!r}"


async def test_a_rolling_restart_behind_nginx_loses_no_stream(upstream: Upstream, tmp_path: Path) -> None:
    async with pair(upstream) as replicas:
        with running_nginx(tmp_path, [replica.port for replica in replicas]) as port:
            codes, restarting = [], asyncio.Event()

            async def roll() -> None:
                for replica in replicas:
                    await asyncio.sleep(2)  # longer than nginx leaves out who refused it once
                    codes.append(await asyncio.to_thread(replica.restart))
                await asyncio.sleep(1)
                restarting.set()

            rolling = asyncio.create_task(roll())
            streams: list[asyncio.Task[str | None]] = []
            while not restarting.is_set() or len(streams) < STREAMS:
                streams.append(asyncio.create_task(stream(port, len(streams))))
                await asyncio.sleep(EVERY_S)
                assert not rolling.done() or rolling.exception() is None
            lost = [wrong for wrong in await asyncio.gather(*streams) if wrong]
    assert codes == [0, 0]
    assert len(streams) >= STREAMS
    assert lost == []
