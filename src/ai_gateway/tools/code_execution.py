"""The tool `code_execution`: runs a model's Python code in a sandbox, and keeps its variables for the next call."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import override

from pydantic import JsonValue

from ai_gateway.contract.call import Caller
from ai_gateway.contract.turns import NoPlace, Turns
from ai_gateway.errors import UnsupportedParameter, UnsupportedValue
from ai_gateway.observability.metrics import Event, count
from ai_gateway.tools.sandbox import CodeLimits, Ran, Sandbox
from ai_gateway.tools.tool import Function, Result, Tool, Use

_MAX_CODE_LENGTH = 64 * 2**10
_MAX_STATE_BYTES = 4 * 2**20
_IDLE_S = 1_800.0
_START_S = 1.0  # a process takes much less to start, unless the machine is busy
_OPTIONS = ("timeout_s",)
_BUSY = "Not run: the gateway was busy with other code for too long. Try again later."

type SessionKey = tuple[str | None, str, str]


@dataclass(slots=True)
class _Session:
    """The variables of a conversation. Runs are sequential: of two in parallel, one's changes would be lost."""

    state: bytes | None = None
    used: float = 0.0
    taken: Turns = field(default_factory=lambda: Turns(1))
    waiting: int = 0


class _Clock:
    """The time of one call, which begins now: `whole` seconds, of which the code gets `most` if they are left."""

    def __init__(self, whole: float, most: float) -> None:
        now = time.monotonic()
        self._most = most
        self._starts_by = now + max(whole - most - _START_S, whole / 2)
        self._ends = now + whole

    @property
    def patience(self) -> float:
        """Seconds for which the code may still wait for its start."""
        return max(0.0, self._starts_by - time.monotonic())

    @property
    def seconds(self) -> float:
        """Seconds for which the code may run if it starts now."""
        return max(0.01, min(self._most, self._ends - time.monotonic()))


class CodeExecution(Tool):
    """The sandbox is only loaded at the first call.

    A run has its seconds from its start. It waits for a place before, in turn with other callers, as long as a call may
    take without these seconds, or half as long if that is more.
    """

    name = "code_execution"

    def __init__(self, sandbox: Sandbox, limits: CodeLimits) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._places = Turns(limits.workers)
        self._sessions: OrderedDict[SessionKey, _Session] = OrderedDict()

    @override
    async def functions(self, caller: Caller, options: Mapping[str, JsonValue]) -> Sequence[Function]:
        _timeout(options)
        return (Function(self.name, self._description(), _PARAMETERS, self.run),)

    async def run(self, use: Use) -> Result:
        """Run the code of one call."""
        code = use.arguments.get("code")
        if not isinstance(code, str) or not code.strip():
            return Result(
                "The argument `code` is missing: it has to be a text of Python.", failed=True, error="invalid_arguments"
            )
        if len(code) > _MAX_CODE_LENGTH:
            return Result(f"The code is too long: at most {_MAX_CODE_LENGTH} characters are run.", failed=True)
        try:
            return await self._run(use, code, _Clock(use.seconds, self._seconds(use)))
        except NoPlace:
            count(Event.OVERLOAD, "code")
            return Result(_BUSY, failed=True)

    async def _run(self, use: Use, code: str, clock: _Clock) -> Result:
        """The result of the code. Raises NoPlace."""
        if not use.session or not self._sandbox.keeps_state:
            async with self._places.place(use.caller.identity, clock.patience):
                return self._result(await self._sandbox.run(code, None, clock.seconds), lost=False)
        session = self._session((*use.caller.identity, use.session))
        session.waiting += 1
        try:
            async with (
                session.taken.place(use.session, clock.patience),
                self._places.place(use.caller.identity, clock.patience),
            ):
                had = session.state is not None
                ran = await self._run_in(session, code, clock.seconds)
        finally:
            session.waiting -= 1
            self._forget()
        return self._result(ran, lost=session.state is None and (had or ran.state is not None))

    async def _run_in(self, session: _Session, code: str, seconds: float) -> Ran:
        """Run the code with the session's variables, and keep those that it leaves."""
        try:
            ran = await self._sandbox.run(code, session.state, seconds)
        except asyncio.CancelledError:
            session.state = None
            raise
        session.state = ran.state if ran.state is not None and len(ran.state) <= _MAX_STATE_BYTES else None
        session.used = time.monotonic()
        return ran

    def _seconds(self, use: Use) -> float:
        return min(use.seconds, _timeout(use.options) or self._limits.seconds, self._limits.seconds)

    @override
    async def close(self) -> None:
        self._sessions.clear()
        await self._sandbox.close()

    def _session(self, key: SessionKey) -> _Session:
        session = self._sessions.setdefault(key, _Session())
        session.used = time.monotonic()
        self._sessions.move_to_end(key)
        return session

    def _forget(self) -> None:
        """Drop sessions that were not used for long, and the oldest ones beyond the limit."""
        now, kept = time.monotonic(), 0
        for key in [*reversed(self._sessions)]:
            session = self._sessions[key]
            kept += len(session.state or b"")
            if session.waiting:
                continue
            if session.state is None or kept > self._limits.sessions or now - session.used > _IDLE_S:
                kept -= len(session.state or b"")
                del self._sessions[key]

    def _result(self, ran: Ran, *, lost: bool) -> Result:
        parts = [ran.printed.rstrip("\n"), ran.value, ran.problem]
        if lost:
            parts.append("The variables of this session are lost: the next call begins with none.")
        text = "\n".join(part for part in parts if part)
        return Result(text or "(no output)", failed=bool(ran.problem))

    def _description(self) -> str:
        state = "Variables stay for the next call. " if self._sandbox.keeps_state else "Each call begins anew. "
        return (
            "Run Python code in a sandbox and read what it prints, and the value of its last expression. "
            f"{state}There are no files, no network and no third-party packages. "
            f"At most {self._limits.seconds:g} s and {self._limits.memory // 2**20} MiB of memory."
        )


_PARAMETERS: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": "The Python code to run"}},
    "required": ["code"],
    "additionalProperties": False,
}


def _timeout(options: Mapping[str, JsonValue]) -> float | None:
    """The request's own limit in seconds. Raises InvalidRequest."""
    for name in options:
        if name not in _OPTIONS:
            raise UnsupportedParameter(f"gateway:code_execution has no option {name}. It has: {', '.join(_OPTIONS)}.")
    seconds = options.get("timeout_s")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 86_400:
        raise UnsupportedValue("timeout_s of gateway:code_execution has to be a number of seconds above 0.")
    return float(seconds)
