"""Child processes: started in a session of their own, and killed with all that they started."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_LAST_WORDS_S = 5.0
_READ_BYTES = 2**16


async def start_apart(program: Path, *options: str) -> asyncio.subprocess.Process:
    """Start a Python program without the gateway's environment and working directory, in a session of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-B", *options, str(program)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )


async def write_input(process: asyncio.subprocess.Process, content: bytes) -> asyncio.StreamReader:
    """Write all of a program's input and close it. Returns the reader of its output."""
    assert process.stdin is not None  # noqa: S101 - asked for
    assert process.stdout is not None  # noqa: S101 - asked for
    with suppress(OSError):  # it has ended, or reads no more
        process.stdin.write(content)
        await process.stdin.drain()
    process.stdin.close()
    return process.stdout


async def end_program(process: asyncio.subprocess.Process) -> None:
    """Kill the process and its group, of which it must be the leader (`start_new_session`), and wait for its end.

    `Process.wait` returns once the process has ended and its output has been read up to the end. It would wait forever
    for output that is not read any more, or that another process of the group holds open.
    """
    output = process.stdout
    if process.returncode is None or (output is not None and not output.at_eof()):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # a process that has left the group may hold the output open
        async with asyncio.timeout(_LAST_WORDS_S):
            while output is not None and await output.read(_READ_BYTES):
                pass
            await process.wait()
