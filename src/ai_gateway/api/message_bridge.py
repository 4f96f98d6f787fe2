"""A chat's stream as the events of a message on Anthropic's wire: why it ended, and what it took."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, override

from pydantic import JsonValue

from ai_gateway.api.chat_bridge import ChatBridge
from ai_gateway.conform.message_events import MessageEvents, MessageHead
from ai_gateway.conform.turn import CallHead, Key
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Continued, Item
from gateway_contract.openai import models

type Usage = Callable[[models.CompletionUsage | None], dict[str, JsonValue]]
type Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a chat ended: its reason, whether it called tools, what it has refused with, and what else was told."""

    finish: str
    called: bool
    refusal: str
    beside: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller is told in its own terms.

    `call` is a call's id and name, `blocks` those of other blocks that its wire has, `citations` the same, `stop` why a
    message ended, with what belongs to that, and `sealed` the block for what only the upstream can read.
    """

    call: Callable[[str, str], tuple[str, str]] = lambda identifier, name: (identifier, name)
    blocks: Callable[[Sequence[JsonValue]], Sequence[JsonValue]] = lambda blocks: blocks
    citations: Callable[[Sequence[JsonValue]], Sequence[JsonValue]] = lambda citations: citations
    stop: Callable[[Ended], Object] = lambda ended: {"reason": ended.finish}
    sealed: Callable[[Object, Mapping[str, Object]], Object | None] = lambda _message, _calls: None
    kept: frozenset[str] = frozenset()


class CallersEvents(MessageEvents):
    """The events of a message with the model's, tools' and calls' names as the caller has them."""

    def __init__(self, head: MessageHead, told: Told) -> None:
        super().__init__(head)
        self._in_terms = told
        self.called = False

    @override
    def begin(self, model: str | None = None) -> bytes:
        return super().begin()

    @override
    def open(self, key: Key, head: CallHead | None) -> bytes:
        if head is not None:
            self.called = True
            identifier, name = self._in_terms.call(head.id, head.name)
            head = CallHead(identifier, name, head.is_custom)
        return super().open(key, head)

    @override
    def told(self, field: str, values: Sequence[JsonValue]) -> bytes:
        if field == "other_blocks":
            values = self._in_terms.blocks(values)
        elif field == "citations":
            values = self._in_terms.citations(values)
        elif field == "thinking_blocks":
            values = self._in_terms.blocks(values)
        return super().told(field, values)


@dataclass(slots=True)
class _Kept:
    """What an upstream wants back, by where it said so: in the message, or in the call of an index."""

    message: Object = field(default_factory=dict)
    calls: dict[int, Object] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)


class MessageBridge(ChatBridge):
    """One chat on its way to a client of the Messages API. `usage` counts as `message_delta` does."""

    def __init__(self, call: Call, events: CallersEvents, usage: Usage, told: Told) -> None:
        super().__init__(call, events)
        self._message = events
        self._usage = usage
        self._told = told
        self._kept = _Kept()
        self._refusal = ""

    @override
    def feed(self, item: Item[models.CreateChatCompletionStreamResponse] | Continued) -> bytes:
        if not isinstance(item, Continued):
            for choice in item.model.choices[:1]:
                self._keep(choice.delta)
        return super().feed(item)

    @override
    def _ended(self, finish: str) -> bytes:
        kept = self._kept
        calls = {identifier: kept.calls[at] for at, identifier in kept.ids.items() if at in kept.calls}
        block = self._told.sealed(kept.message, calls)
        written = self._message.whole(block) if block is not None else b""
        ended = self._told.stop(Ended(finish, self._message.called, self._refusal, self.turn.beside))
        return written + self._message.stopped(usage=self._usage(self.turn.usage), **ended)

    def _keep(self, delta: models.ChatCompletionStreamResponseDelta) -> None:
        if delta.refusal:
            self._refusal += delta.refusal
        if delta.model_extra:
            _gather(delta.model_extra, self._told.kept, self._kept.message)
        for call in delta.tool_calls if isinstance(delta.tool_calls, list) else ():
            if isinstance(call.id, str) and call.id:
                self._kept.ids.setdefault(call.index, call.id)
            if call.model_extra:
                _gather(call.model_extra, self._told.kept, self._kept.calls.setdefault(call.index, {}))


def _gather(extras: Mapping[str, object], wanted: frozenset[str], into: Object) -> None:
    for name in wanted & extras.keys():
        value = extras[name]
        if isinstance(value, list):
            for each in value:
                _add(into.setdefault(name, []), each)
        elif value:
            into[name] = value


def _add(pieces: list[Any], piece: object) -> None:
    """One more piece of a list that is streamed: it goes on with the last one where both have its index and type."""
    last = pieces[-1] if pieces else None
    if not (isinstance(piece, dict) and isinstance(last, dict) and _place(last) == _place(piece) != (None, None)):
        pieces.append(piece)
        return
    joined = {name: last[name] + value for name, value in piece.items() if _goes_on(name, last.get(name), value)}
    pieces[-1] = {**last, **{name: value for name, value in piece.items() if value is not None}, **joined}


def _place(piece: Object) -> tuple[object, object]:
    return piece.get("index"), piece.get("type")


def _goes_on(name: str, before: object, value: object) -> bool:
    return name in {"text", "summary", "data"} and isinstance(before, str) and isinstance(value, str)
