"""Code in Monty: an interpreter of its own, without files, network and environment, in processes that end with a run.

See https://github.com/pydantic/monty, docs/limitations. Each run has a fresh process: what a run might do to its
process is never there for the next one, which may be another caller's.
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

_GRACE_S = 0.15  # after its time, a process that does not stop by itself is killed
_BACKSTOP_S = 2.0
_DEPTH = 200
_SUSPENSIONS = 100  # such as sleeps, which return at once
_ADDRESS_SPACE = 768 * 2**20  # beside MEMORY: its program, stacks of its threads, and what a reply is written in
_FRAMES = 8
_LONGEST_PROBLEM = 2_000
# Where the last statement may begin: a line that is not indented, closes nothing, and says something.
_LAST_STATEMENT = re.compile(r"^(?![\s)\]}#]).", re.MULTILINE)
_LATE = "TimeoutError: feed time limit exceeded"
_FINAL = (TimeoutError, MemoryError)
_WALLS = (("RLIMIT_NOFILE", 0), ("RLIMIT_FSIZE", 0), ("RLIMIT_NPROC", 0), ("RLIMIT_CORE", 0))


class MontySandbox(Sandbox):
    keeps_state = True

    def __init__(self, limits: CodeLimits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.workers)
        self._opening = asyncio.Lock()
        self._pool: AsyncMonty | None = None
        self._closed = False

    @override
    async def run(self, code: str, state: bytes | None, seconds: float) -> Ran:
        seconds = min(seconds, self._limits.seconds)
        printed = CollectString(max_bytes=self._limits.output)
        try:
            async with self._free:
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
            problem = _late(seconds) if str(error).startswith(_LATE) else self._told(error)
            if isinstance(error.exception(), _FINAL):  # where it was stopped, nothing of its memory can be trusted
                return Ran(printed.output, problem=problem)
        except MontySyntaxError as error:
            problem = self._told(error)
        shown = value if isinstance(value, str) and value != "None" else ""
        if len(shown) == self._limits.output:
            shown += " ... (truncated)"
        kept: bytes | None = None
        with suppress(MontyError, RuntimeError):  # too much memory to be written out, or the process has ended of it
            kept = await session.dump()
        return Ran(printed.output, shown, problem, kept)

    async def _feed(self, session: AsyncMontySession, code: str, printed: CollectString) -> object:
        """Run it for the value of its last expression, as text: no other object of it is to be built in here.

        A text that cannot be read as Python is refused before any of it has run. Raises MontyError.
        """
        shown = _shown_last(code, self._limits.output)
        if shown is not None:
            with suppress(MontySyntaxError):
                return await session.feed_run(shown, print_callback=printed)
        return await session.feed_run(f"{code}\nNone", print_callback=printed)

    def _told(self, error: MontyRuntimeError | MontySyntaxError) -> str:
        """What a model needs to mend its code: the error and the lines that led to it."""
        said = error.display("type-msg")
        if said.endswith(f"> {self._limits.output} bytes"):
            said = f"MemoryError: more than {self._limits.output} bytes were printed"
        if len(said) > _LONGEST_PROBLEM:
            said = f"{said[:_LONGEST_PROBLEM]} ... (truncated)"
        frames = error.traceback()[-_FRAMES:]
        return "\n".join((said, *(f"  line {frame.line}, in {frame.function_name or '<module>'}" for frame in frames)))

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
        """A second wall around the process, where the platform has one: it can open, write and start nothing more."""
        limit, pid = getattr(resource, "prlimit", None), session.worker_pid
        if limit is None or pid is None:
            return
        cpu = int(seconds + _BACKSTOP_S) + 1  # also where nobody is left to stop it
        for name, most in (*_WALLS, ("RLIMIT_CPU", cpu), ("RLIMIT_AS", self._limits.memory + _ADDRESS_SPACE)):
            with suppress(OSError):  # not permitted to everybody: the interpreter's own limits hold
                limit(pid, getattr(resource, name), (most, most))

    @override
    async def close(self) -> None:
        self._closed = True
        async with self._opening:
            pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)


def _shown_last(code: str, longest: int) -> str | None:
    """The code with its last statement as a text of what it comes to, if it is an expression. None for no statement."""
    last = None
    for last in _LAST_STATEMENT.finditer(code):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return None
    return f"{code[: last.start()]}f'''{{({code[last.start() :]}\n)!r:.{longest}}}'''"


def _late(seconds: float) -> str:
    return f"The code was stopped: it ran for more than {seconds:g} s."
