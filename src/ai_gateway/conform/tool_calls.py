"""The tool calls of one streamed choice: each begins once, with id, type and name, and is then continued.

Upstreams number calls differently. Some give every call the index 0, or none: there, another id, another name, or the
same name after complete arguments begins another call. Some begin with 1. The sent index counts from 0 in the order of
the calls, because clients use it as the place in their list.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import MISSING, BaseModel
from pydantic_core import from_json

from ai_gateway.conform import rules
from ai_gateway.conform.rules import Report
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models

_SIGNS = re.compile(r'["\\{}]')

NAMELESS = "The provider called a tool without naming it."

type CallChunk = models.ChatCompletionMessageToolCallChunk


def made_call_id(request_id: str, choice: int, call: int) -> str:
    """An id for a call without one, unique within a conversation."""
    return f"call_{hashlib.sha256(f'{request_id}/{choice}/{call}'.encode()).hexdigest()[:24]}"


@dataclass(slots=True)
class Nesting:
    """Tracks whether pieces of JSON are a complete object, reading each piece once."""

    _read: int = 0
    _depth: int = 0
    _in_text: bool = False
    _escaped: int = -1  # the place in the next piece of an escaped character
    _is_none: bool = False

    def is_whole(self, pieces: Sequence[str]) -> bool:
        """Whether the pieces, which extend those of earlier calls, are one object."""
        unread, self._read = pieces[self._read :], len(pieces)
        for piece in unread:
            self._feed(piece)
        if self._depth or self._in_text or self._is_none:
            return False
        try:
            is_object = isinstance(from_json("".join(pieces)), dict)
        except ValueError:
            is_object = False
        self._is_none = not is_object and any(map(str.strip, pieces))  # further pieces cannot make it one
        return is_object

    def _feed(self, piece: str) -> None:
        for sign in _SIGNS.finditer(piece):
            at = sign.start()
            if at == self._escaped:
                continue
            if sign[0] == "\\":
                self._escaped = at + 1
            elif sign[0] == '"':
                self._in_text = not self._in_text
            elif not self._in_text:
                self._depth += 1 if sign[0] == "{" else -1
        self._escaped = self._escaped - len(piece) if self._escaped >= len(piece) else -1


@dataclass(slots=True)
class _Call:
    """One call: its sent index, and its state by the upstream's pieces.

    `beside` and `of_function` are fields beyond the contract, of pieces that wait for the call's name.
    """

    index: int
    id: str = ""
    name: str = ""
    begun: bool = False
    arguments: list[str] = field(default_factory=list)
    nesting: Nesting = field(default_factory=Nesting)
    beside: dict[str, Any] = field(default_factory=dict)
    of_function: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ToolCalls:
    """The calls of one choice. `report` is called with each applied rule."""

    report: Report
    request_id: str
    choice: int
    _current: dict[int, _Call] = field(default_factory=dict)
    _by_id: dict[str, _Call] = field(default_factory=dict)
    _all: list[_Call] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._all)

    def take(self, chunk: CallChunk) -> CallChunk | None:
        """The piece to send for a piece of a call: itself, a repaired copy, or None."""
        custom = (chunk.model_extra or {}).get("custom")  # the contract's chunks have no type for custom calls
        if isinstance(custom, dict):
            return self._placed(chunk, self._custom(chunk, custom))
        call = self._current.get(chunk.index)
        if call is None and _says_nothing(chunk):
            self.report(rules.SAY_CALL_ONCE)
            return None
        if call is None or self._is_another(chunk, call):
            known = self._by_id.get(_text(chunk.id)) if call is not None else None
            if known is None or _name(chunk) not in {"", known.name}:
                known = self._next(chunk.index)
            call = self._current[chunk.index] = known
        if not call.id and (ident := _text(chunk.id)):
            call.id = ident
            self._by_id[ident] = call
        if call.begun:
            return self._continued(chunk, call)
        call.name += _name(chunk)
        call.arguments.append(_arguments(chunk))
        if call.name:
            return self._begun(chunk, call)
        call.beside |= chunk.model_extra or {}
        call.of_function |= (chunk.function.model_extra or {}) if chunk.function is not MISSING else {}
        self.report(rules.NAME_CALL_FIRST)
        return None

    def relayed(self, index: int, arguments: str) -> None:
        """Note arguments of the call at `index` that were relayed."""
        self._current[index].arguments.append(arguments)

    def end(self) -> None:
        """The choice ends. Raises UpstreamInvalidResponse for a call that still waits for its name.

        An empty name is none: no request offers such a function, and OpenAI refuses a conversation that has the call.
        """
        if not all(call.begun and call.name for call in self._all):
            raise UpstreamInvalidResponse(NAMELESS)

    def _next(self, first: int) -> _Call:
        """Begin another call, with the next index."""
        call = _Call(len(self._all))
        self._all.append(call)
        if call.index != first:
            self.report(rules.NUMBER_TOOL_CALLS)
        return call

    def _custom(self, chunk: CallChunk, custom: dict[str, Any]) -> _Call:
        call, ident = self._current.get(chunk.index), _text(chunk.id)
        if call is None or (ident and ident != call.id):
            call = self._current[chunk.index] = self._next(chunk.index)
            call.id, call.begun = ident, True
        call.name += _text(custom.get("name"))
        return call

    @staticmethod
    def _placed(chunk: CallChunk, call: _Call) -> CallChunk:
        return chunk if chunk.index == call.index else chunk.model_copy(update={"index": call.index})

    def _is_another(self, chunk: CallChunk, call: _Call) -> bool:
        name, ident = _name(chunk), _text(chunk.id)
        if ident and ident != call.id and ident in self._by_id:
            return True
        if not name or not call.begun:
            return bool(ident and call.id and ident != call.id and name)
        if ident and call.id:
            return ident != call.id
        return name != call.name or call.nesting.is_whole(call.arguments)

    def _begun(self, chunk: CallChunk, call: _Call) -> CallChunk:
        """The first piece of a call: the name has to be the provider's, the rest can be filled in."""
        call.begun = True
        if _is_whole(chunk, call):
            return chunk
        if not call.id:
            self.report(rules.FILL_CALL_ID)
        if chunk.type is MISSING:
            self.report(rules.FILL_CALL_TYPE)
        function = chunk.function
        if function is MISSING or function.arguments is MISSING:
            self.report(rules.FILL_ARGUMENTS)
        if function is MISSING:
            function = models.ChatCompletionMessageToolCallChunkFunction()
        sent = {"name": call.name, "arguments": "".join(call.arguments)}
        return chunk.model_copy(
            update={
                **call.beside,
                **(chunk.model_extra or {}),
                "index": call.index,
                "id": call.id or made_call_id(self.request_id, self.choice, call.index),
                "type": "function",
                "function": function.model_copy(update={**call.of_function, **(function.model_extra or {}), **sent}),
            }
        )

    def _continued(self, chunk: CallChunk, call: _Call) -> CallChunk | None:
        """A later piece of a call: clients append what they get, so nothing may be repeated."""
        call.arguments.append(_arguments(chunk))
        chunk = self._placed(chunk, call)
        function = chunk.function
        named = function is not MISSING and function.name is not MISSING
        if not (named or chunk.id is not MISSING or chunk.type is not MISSING):
            return chunk
        if _name(chunk) not in {"", call.name}:
            raise UpstreamInvalidResponse("The provider gave one tool call two names.")
        self.report(rules.SAY_CALL_ONCE)
        bare = without(chunk, "id", "type")
        if function is not MISSING and named:
            bare.function = without(function, "name")
        return None if _says_nothing(bare) else bare


def without[Model: BaseModel](model: Model, *names: str) -> Model:
    """A copy without these optional fields."""
    copy = model.model_copy(update=dict.fromkeys(names, MISSING))
    copy.model_fields_set.difference_update(names)
    return copy


def _says_nothing(chunk: CallChunk) -> bool:
    """Whether it only has an index and empty fields."""
    function = chunk.function
    if chunk.model_extra or _text(chunk.id):
        return False
    return function is MISSING or not (_name(chunk) or _arguments(chunk) or function.model_extra)


def _is_whole(chunk: CallChunk, call: _Call) -> bool:
    """Whether the piece has id, type and name, so that it can be sent unchanged."""
    return (
        chunk.index == call.index
        and len(call.arguments) == 1
        and not (call.beside or call.of_function)
        and _text(chunk.id) == call.id != ""
        and chunk.type is not MISSING
        and chunk.function is not MISSING
        and chunk.function.arguments is not MISSING
        and chunk.function.name == call.name
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(chunk: CallChunk) -> str:
    return _text(chunk.function.name) if chunk.function is not MISSING else ""


def _arguments(chunk: CallChunk) -> str:
    return _text(chunk.function.arguments) if chunk.function is not MISSING else ""
