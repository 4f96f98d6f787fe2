"""The tool calls of one streamed choice: each is introduced once, by id, type and name, and then continued.

Upstreams number calls as they like. Some give every call the index 0, or none: there, another id, another name, or the
same name after arguments that are complete begins another call. What is sent is numbered so that clients, which put
calls together by their index, keep them apart.
"""

import hashlib
from dataclasses import dataclass, field

from pydantic import MISSING
from pydantic_core import from_json

from ai_gateway.conform import rules
from ai_gateway.conform.rules import Report
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models

type CallChunk = models.ChatCompletionMessageToolCallChunk


def made_call_id(request_id: str, choice: int, call: int) -> str:
    """An id for a call that has none: no two calls of a conversation get the same one."""
    return f"call_{hashlib.sha256(f'{request_id}/{choice}/{call}'.encode()).hexdigest()[:24]}"


@dataclass(slots=True)
class _Call:
    """One call: its index as it is sent, and what its upstream has said of it."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    introduced: bool = False


@dataclass(slots=True)
class ToolCalls:
    """What one choice has said of its calls. `report` is called with each rule that had to be applied."""

    report: Report
    request_id: str
    choice: int
    _current: dict[int, _Call] = field(default_factory=dict)
    _count: int = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def take(self, chunk: CallChunk) -> CallChunk | None:
        """What to send for a piece of a call: itself, a mended copy, or nothing yet."""
        if "custom" in (chunk.model_extra or {}):  # the contract's chunks have no type for it: it says so in a field
            self._count += 1
            return chunk
        call = self._current.get(chunk.index)
        if call is None or self._is_another(chunk, call):
            call = self._current[chunk.index] = _Call(self._free(chunk.index))
            self._count += 1
        call.id = call.id or _text(chunk.id)
        if call.introduced:
            return self._continued(chunk, call)
        call.name += _name(chunk)
        call.arguments += _arguments(chunk)
        if chunk.function is not MISSING and chunk.function.name is not MISSING:  # it may be empty: a tool's name may
            return self._begun(chunk, call)
        self.report(rules.NAME_CALL_FIRST)
        return None

    def relayed(self, index: int, arguments: str) -> None:
        """More arguments of the call at `index`, which were sent on without being taken."""
        self._current[index].arguments += arguments

    def end(self) -> None:
        """The choice is over. Raises UpstreamInvalidResponse for a call that nobody has named."""
        if not all(call.introduced for call in self._current.values()):
            raise UpstreamInvalidResponse("The provider began a tool call without naming the function.")

    def _free(self, wanted: int) -> int:
        taken = {call.index for call in self._current.values()}
        if wanted not in self._current and wanted not in taken:
            return wanted
        self.report(rules.NUMBER_TOOL_CALLS)
        return max([*taken, self._count - 1]) + 1

    @staticmethod
    def _is_another(chunk: CallChunk, call: _Call) -> bool:
        name, ident = _name(chunk), _text(chunk.id)
        if not name or not call.introduced:
            return bool(ident and call.id and ident != call.id and name)
        if ident and call.id:
            return ident != call.id
        return name != call.name or _is_complete(call.arguments)

    def _begun(self, chunk: CallChunk, call: _Call) -> CallChunk:
        """The first mention: who is called is the provider's to say, the rest can be filled in."""
        call.introduced = True
        function = models.ChatCompletionMessageToolCallChunkFunction(name=call.name, arguments=call.arguments)
        if _is_whole(chunk, call):
            return chunk
        if not call.id:
            self.report(rules.FILL_CALL_ID)
        if chunk.type is MISSING:
            self.report(rules.FILL_CALL_TYPE)
        if chunk.function is MISSING or chunk.function.arguments is MISSING:
            self.report(rules.FILL_ARGUMENTS)
        return chunk.model_copy(
            update={
                "index": call.index,
                "id": call.id or made_call_id(self.request_id, self.choice, call.index),
                "type": "function",
                "function": function,
            }
        )

    def _continued(self, chunk: CallChunk, call: _Call) -> CallChunk:
        """A later mention: clients append what they get, so what was said must not be said again."""
        call.arguments += _arguments(chunk)
        named = chunk.function is not MISSING and chunk.function.name is not MISSING
        repeats = named or chunk.id is not MISSING or chunk.type is not MISSING
        if not repeats:
            return chunk if chunk.index == call.index else chunk.model_copy(update={"index": call.index})
        if _name(chunk) not in {"", call.name}:
            raise UpstreamInvalidResponse("The provider gave one tool call two names.")
        self.report(rules.SAY_CALL_ONCE)
        bare = models.ChatCompletionMessageToolCallChunk(index=call.index)
        if chunk.function is not MISSING and chunk.function.arguments is not MISSING:
            bare.function = models.ChatCompletionMessageToolCallChunkFunction(arguments=chunk.function.arguments)
        return bare


def _is_whole(chunk: CallChunk, call: _Call) -> bool:
    """Whether the chunk says all of it by itself, so that it can go out as it came."""
    return (
        chunk.index == call.index
        and _text(chunk.id) == call.id != ""
        and chunk.type is not MISSING
        and chunk.function is not MISSING
        and chunk.function.arguments is not MISSING
        and chunk.function.name == call.name
        and chunk.function.arguments == call.arguments
    )


def _is_complete(arguments: str) -> bool:
    try:
        return isinstance(from_json(arguments), dict)
    except ValueError:
        return False


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(chunk: CallChunk) -> str:
    return _text(chunk.function.name) if chunk.function is not MISSING else ""


def _arguments(chunk: CallChunk) -> str:
    return _text(chunk.function.arguments) if chunk.function is not MISSING else ""
