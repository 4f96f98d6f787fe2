"""Programs that the gateway has started end when it wants them to, whatever they do with their output."""

import asyncio
import os
import sys

import psutil
import pytest

from ai_gateway.programs import end_program
from tests.support.processes import is_alive

PROGRAMS = {
    "writes without end": "while True: print('x' * 1000, flush=True)",
    "says nothing": "import time; print(flush=True); time.sleep(600)",
    "another one holds its output": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(flush=True)\n"
        "sys.stdin.read()"
    ),
    "has ended and another one holds its output": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(flush=True)"
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
async def test_it_ends_with_whatever_it_has_started(name: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAMS[name]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert await process.stdout.readline()
    started = [each for each in psutil.process_iter() if _group(each) == process.pid]
    assert started
    await asyncio.sleep(0.2)  # whatever is written fills the buffers
    async with asyncio.timeout(60):
        await end_program(process)
    assert process.returncode is not None
    process.stdin.close()
    for _ in range(1_000):
        if not any(is_alive(each) for each in started):
            return
        await asyncio.sleep(0.01)
    pytest.fail("a process is left")


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None
