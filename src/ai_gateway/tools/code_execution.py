"""The tool `code_execution`: runs a model's Python code in a sandbox, and keeps its variables for the next call."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import override

from pydantic import JsonValue

from ai_gateway.contract.call import Caller
from ai_gateway.errors import UnsupportedParameter, UnsupportedValue
from ai_gateway.tools.sandbox import CodeLimits, Ran, Sandbox
from ai_gateway.tools.tool import Function, Result, Tool, Use

_MAX_CODE_LENGTH = 64 * 2**10
_MAX_STATE_BYTES = 4 * 2**20
_IDLE_S = 1_800.0
_OPTIONS = ("timeout_s",)

type SessionKey = tuple[str | None, str, str]


@dataclass(slots=True)
class _Session:
    """The variables of a conversation. Runs are sequential: of two in parallel, one's changes would be lost."""

    state: bytes | None = None
    used: float = 0.0
    taken: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class CodeExecution(Tool):
    """The sandbox is only loaded at the first call."""

    name = "code_execution"

    def __init__(self, sandbox: Sandbox, limits: CodeLimits) -> None:
        self._sandbox = sandbox
        self._limits = limits
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
        seconds = min(use.seconds, _timeout(use.options) or self._limits.seconds)
        key = (use.caller.key_id, use.caller.project_id, use.session)
        if not use.session or not self._sandbox.keeps_state:
            ran = await self._sandbox.run(code, None, seconds)
            return self._result(ran, lost=False)
        session = self._session(key)
        session.waiting += 1
        try:
            async with session.taken:
                had = session.state is not None
                ran = await self._sandbox.run(code, session.state, seconds)
                session.state = ran.state if ran.state is not None and len(ran.state) <= _MAX_STATE_BYTES else None
                session.used = time.monotonic()
        except asyncio.CancelledError:
            session.state = None
            raise
        finally:
            session.waiting -= 1
            self._forget()
        return self._result(ran, lost=session.state is None and (had or ran.state is not None))

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
