"""The process sandbox: a Python process confined by the kernel, with namespaces, limits and a seccomp filter.

Only used if the operator selects it: a bug in the kernel or in this code is an escape, unlike with Monty.
"""

import asyncio
import json
import platform
import sys
from pathlib import Path
from typing import override

import structlog

from ai_gateway.programs import end_program, start_apart, write_input
from ai_gateway.tools.sandbox import CodeLimits, Ran, Sandbox

_CHILD = Path(__file__).with_name("sandbox_child.py")
_MACHINES = frozenset({"x86_64", "aarch64"})
_START_S = 15.0
_GRACE_S = 0.15
_MORE = 16 * 2**10  # bytes of a reply beside output and value
_AT_MOST_ESCAPED = 6  # `\u0000` for a character
_log = structlog.get_logger(__name__)


def unsupported() -> str | None:
    """Why this machine does not support it; None if it may."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return f"it is for Linux on {' and '.join(sorted(_MACHINES))}"
    return None


class ProcessSandbox(Sandbox):
    keeps_state = False

    def __init__(self, limits: CodeLimits) -> None:
        self._limits = limits

    @override
    async def run(self, code: str, state: bytes | None, seconds: float) -> Ran:
        seconds = min(seconds, self._limits.seconds)
        request = {"code": code, "seconds": seconds, "memory": self._limits.memory, "output": self._limits.output}
        process = await start_apart(_CHILD, "-S")
        try:
            return await self._ran(process, json.dumps(request).encode(), seconds)
        finally:
            await asyncio.shield(end_program(process))

    async def _ran(self, process: asyncio.subprocess.Process, request: bytes, seconds: float) -> Ran:
        output = await write_input(process, request)
        try:
            async with asyncio.timeout(_START_S):
                first = await output.read(1)
        except TimeoutError:
            return Ran(problem="The sandbox did not start in time.")
        most = 2 * _AT_MOST_ESCAPED * self._limits.output + _MORE
        written = b"" if first == b"\n" else first
        try:
            async with asyncio.timeout(seconds + _GRACE_S):
                while len(written) <= most and (more := await output.read(most)):
                    written += more
        except TimeoutError:
            return Ran(problem=f"The code was stopped: it ran for more than {seconds:g} s.")
        return self._read(written, begun=first == b"\n")

    def _read(self, output: bytes, *, begun: bool) -> Ran:
        """Parse the process's reply, which the code may have forged."""
        try:
            ended = json.loads(output)
            if not begun:
                _log.error("sandbox cannot be used", problem=str(ended["sandbox"]))
                return Ran(problem="The sandbox cannot be used on this machine: its operator has to see to that.")
            printed, value, problem = (
                str(ended[name])[: self._limits.output] for name in ("printed", "value", "problem")
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return Ran(problem="The code was stopped: its process has ended.")
        return Ran(printed, value, problem)

    @override
    async def close(self) -> None:
        """Nothing to do: each process ends with its run."""
