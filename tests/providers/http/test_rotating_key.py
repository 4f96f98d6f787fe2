"""Keys from commands: who waits for one waits once, and together."""

import asyncio
import sys
from pathlib import Path

import pytest

from ai_gateway.errors import UpstreamAuthError
from ai_gateway.providers.http.rotating_key import RotatingKey
from ai_gateway.providers.upstream import KeySource

pytestmark = pytest.mark.anyio

ASKING = 40
_SLOW = "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(1.0); print(sys.argv[2], end='')"


def _source(runs: Path, key: str) -> KeySource:
    return KeySource(setting="LAB_API_KEY_COMMAND", command=(sys.executable, "-S", "-c", _SLOW, str(runs), key))


@pytest.mark.slow
async def test_many_who_wait_for_a_command_that_fails_wait_for_one_run_of_it(tmp_path: Path) -> None:
    key = RotatingKey("lab", _source(tmp_path / "runs", ""))
    async with asyncio.timeout(ASKING / 2):
        failed = await asyncio.gather(*(key.read() for _ in range(ASKING)), return_exceptions=True)
    assert {type(each) for each in failed} == {UpstreamAuthError}
    assert len({id(each) for each in failed}) == ASKING, "an error that many raise keeps what each of them had"
    assert (tmp_path / "runs").read_text() == "x"
    with pytest.raises(UpstreamAuthError):
        await key.read()
    assert (tmp_path / "runs").read_text() == "xx", "it is tried again when it is needed"


@pytest.mark.slow
async def test_a_client_that_leaves_does_not_end_the_command_for_others(tmp_path: Path) -> None:
    key = RotatingKey("lab", _source(tmp_path / "runs", "sk-lab"))
    leaving, staying = (asyncio.create_task(key.read()) for _ in range(2))
    await asyncio.sleep(0.1)
    leaving.cancel()
    assert await staying == "sk-lab"
    assert (tmp_path / "runs").read_text() == "x"


async def test_a_command_ends_with_its_provider(tmp_path: Path) -> None:
    key = RotatingKey("lab", _source(tmp_path / "runs", "sk-lab"))
    reading = asyncio.create_task(key.read())
    await asyncio.sleep(0.1)
    await key.aclose()
    with pytest.raises(asyncio.CancelledError):
        await reading
