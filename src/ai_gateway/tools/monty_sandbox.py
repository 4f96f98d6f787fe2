"""The Monty sandbox: a Python interpreter without files, network and environment, in one process for each run.

See https://github.com/pydantic/monty, docs/limitations. Each run has a fresh process, so that a compromised process
never serves another caller.
"""

import asyncio
import re
import resource
from contextlib import suppress
from typing import override

from pydantic_monty import (
    AsyncMonty,
    AsyncMontySession,
    CollectString,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySyntaxError,
    ResourceLimits,
)

from ai_gateway.tools.sandbox import CodeLimits, Ran, Sandbox

_GRACE_S = 0.15  # seconds after its time limit until a process is killed
_BACKSTOP_S = 2.0
_DEPTH = 200
_SUSPENSIONS = 100  # at most so many suspensions, such as sleeps, which return at once
_ADDRESS_SPACE = 768 * 2**20  # beside MEMORY: program, thread stacks, and reply buffers
_FRAMES = 8
_MAX_PROBLEM_LENGTH = 2_000
# A line where the last statement may begin: not indented, not blank, and not a closing bracket.
_LAST_STATEMENT = re.compile(r"^(?![\s)\]}#]).", re.MULTILINE)
_LATE = "TimeoutError: feed time limit exceeded"
_FINAL = (TimeoutError, MemoryError)
_WALLS = (("RLIMIT_NOFILE", 0), ("RLIMIT_FSIZE", 0), ("RLIMIT_NPROC", 0), ("RLIMIT_CORE", 0))


class MontySandbox(Sandbox):
    keeps_state = True

    def __init__(self, limits: CodeLimits) -> None:
        self._limits = limits
        self._opening = asyncio.Lock()
        self._pool: AsyncMonty | None = None
        self._closed = False

    @override
    async def run(self, code: str, state: bytes | None, seconds: float) -> Ran:
        seconds = min(seconds, self._limits.seconds)
        printed = CollectString(max_bytes=self._limits.output)
        try:
            pool = await self._opened()
            async with pool.checkout(
                limits=self._resources(seconds),
                os_policy={"sleep": "zero"},
                assert_message_annotations=False,
            ) as session:
                self._wall_in(session, seconds)
                return await self._run(session, code, state, seconds, printed)
        except MontyCrashedError as error:
            problem = _late(seconds) if error.timed_out else "The code was stopped: its process has ended."
            return Ran(printed.output, problem=problem)

    async def _run(
        self, session: AsyncMontySession, code: str, state: bytes | None, seconds: float, printed: CollectString
    ) -> Ran:
        if state is not None:
            await session.load_session(state)
        value: object = None
        problem = ""
        try:
            value = await self._feed(session, code, printed)
        except MontyRuntimeError as error:
            problem = _late(seconds) if str(error).startswith(_LATE) else self._error_text(error)
            if isinstance(error.exception(), _FINAL):  # after a forced stop, its memory may be inconsistent
                return Ran(printed.output, problem=problem)
        except MontySyntaxError as error:
            problem = self._error_text(error)
        shown = value if isinstance(value, str) and value != "None" else ""
        if len(shown) == self._limits.output:
            shown += " ... (truncated)"
        kept: bytes | None = None
        with suppress(MontyError, RuntimeError):  # the state is too large, or the process has ended
            kept = await session.dump()
        return Ran(printed.output, shown, problem, kept)

    async def _feed(self, session: AsyncMontySession, code: str, printed: CollectString) -> object:
        """Run the code; returns the value of its last expression as text, so that no object of it is created here.

        A text that cannot be read as Python is refused before any of it has run. Raises MontyError.
        """
        shown = _shown_last(code, self._limits.output)
        if shown is not None:
            with suppress(MontySyntaxError):
                return await session.feed_run(shown, print_callback=printed)
        return await session.feed_run(f"{code}\nNone", print_callback=printed)

    def _error_text(self, error: MontyRuntimeError | MontySyntaxError) -> str:
        """The error for a model: the message and the traceback."""
        message = error.display("type-msg")
        if message.endswith(f"> {self._limits.output} bytes"):
            message = f"MemoryError: more than {self._limits.output} bytes were printed"
        if len(message) > _MAX_PROBLEM_LENGTH:
            message = f"{message[:_MAX_PROBLEM_LENGTH]} ... (truncated)"
        frames = error.traceback()[-_FRAMES:]
        return "\n".join(
            (message, *(f"  line {frame.line}, in {frame.function_name or '<module>'}" for frame in frames))
        )

    async def _opened(self) -> AsyncMonty:
        async with self._opening:
            if self._pool is None:
                if self._closed:
                    raise asyncio.CancelledError
                pool = AsyncMonty(
                    min_processes=0,
                    max_processes=self._limits.workers,
                    max_checkouts_per_worker=1,
                    request_timeout=self._limits.seconds + _BACKSTOP_S,
                    feed_duration_limit_grace=_GRACE_S,
                )
                self._pool = await pool.__aenter__()
            return self._pool

    def _resources(self, seconds: float) -> ResourceLimits:
        return {
            "max_feed_duration_secs": seconds,
            "max_memory": self._limits.memory,
            "max_recursion_depth": _DEPTH,
            "max_suspensions": _SUSPENSIONS,
        }

    def _wall_in(self, session: AsyncMontySession, seconds: float) -> None:
        """Limits of the operating system as a second protection, if available: no files, no processes."""
        limit, pid = getattr(resource, "prlimit", None), session.worker_pid
        if limit is None or pid is None:
            return
        cpu = int(seconds + _BACKSTOP_S) + 1  # also if the gateway cannot stop it
        for name, most in (*_WALLS, ("RLIMIT_CPU", cpu), ("RLIMIT_AS", self._limits.memory + _ADDRESS_SPACE)):
            with suppress(OSError):  # not always permitted: the interpreter's own limits remain
                limit(pid, getattr(resource, name), (most, most))

    @override
    async def close(self) -> None:
        self._closed = True
        async with self._opening:
            pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)


def _shown_last(code: str, longest: int) -> str | None:
    """The code with its last statement, if an expression, wrapped to give its value as text; None if there is none."""
    last = None
    for last in _LAST_STATEMENT.finditer(code):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return None
    return f"{code[: last.start()]}f'''{{({code[last.start() :]}\n)!r:.{longest}}}'''"


def _late(seconds: float) -> str:
    return f"The code was stopped: it ran for more than {seconds:g} s."
