"""The event automaton of a streamed message on Anthropic's wire: no order of calls gives an illegal stream.

Legal: `message_start`; then block after block, each with a start, deltas and a stop, with indices from 0 and never two
at once; then `message_delta` with stop reason and usage, and `message_stop` (docs.anthropic.com "Streaming messages").
A failure ends in an `error` event instead, which the wire writes.

As in `response_events`, nearly every event is assembled from bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, override

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from ai_gateway.conform.turn import OTHER, REASONING, REFUSAL, TEXT, CallHead, Key, Parts, inside, outside
from ai_gateway.contract.wire_form import to_wire
from ai_gateway.errors import UpstreamInvalidResponse

type Fields = dict[str, JsonValue]

_START, _DELTA, _STOP = b"content_block_start", b"content_block_delta", b"content_block_stop"
_SERVED: Final = "server_tool_use"
_THINKING, _REDACTED = "thinking", "redacted_thinking"
_FIRST_TEXT = ("text", b'{"type":"text","text":"","citations":[]}')  # null is refused by @ai-sdk/anthropic 3.0.140
_FIRST_THINKING = (_THINKING, b'{"type":"thinking","thinking":"","signature":""}')
_FORMS: Final = {
    "text": (b"text_delta", b"text"),
    "thinking": (b"thinking_delta", b"thinking"),
    "tool_use": (b"input_json_delta", b"partial_json"),
}

type Valid = Callable[[str, Sequence[JsonValue]], Sequence[JsonValue]]
"""Filters the values of a delta's field, such as `thinking_blocks`, that this wire has a form for."""

type Ran = Callable[[Fields], Sequence[Fields]]
"""Makes the blocks for a gateway-run tool call."""

type Cited = Callable[[str], Sequence[Fields]]
"""Finds the citations in a text that may cite results of gateway-run tools."""

type Called = Callable[[CallHead], Fields]
"""Makes the block of a tool call, with an empty input. Raises UpstreamInvalidResponse for an invalid call."""


@dataclass(slots=True)
class MessageHead:
    """The facts of a message before it begins. `usage` has all fields of the contract, as far as known.

    `more` are fields beyond the contract.
    """

    id: str
    model: str
    usage: Fields
    more: dict[str, object] = field(default_factory=dict)


def _called(head: CallHead) -> Fields:
    block: Fields = {"type": "tool_use", "id": head.id, "name": head.name, "input": {}}
    return {**block, "caller": {"type": "direct"}}


class MessageEvents(Parts):
    """The events of one message. The methods return what has to be sent.

    `calls` counts its tool calls, `refusal` is the reason of a refusal, and `sent_texts` has the texts of all blocks,
    as contents of JSON strings.
    """

    def __init__(
        self,
        head: MessageHead,
        called: Called = _called,
        valid: Valid = lambda _field, values: values,
        here: tuple[Ran, Cited] = (lambda _call: (), lambda _text: ()),
    ) -> None:
        self.texts: list[bytes] = []
        self.extra_fields = frozenset({"citations", "thinking_blocks", "other_blocks", "gateway_tool_calls"})
        self.is_over = False
        self.has_begun = False
        self.calls = 0
        self.sent_texts: list[bytes] = []
        self.refusal: str | None = None
        self._head, self._called, self._valid = head, called, valid
        self._ran, self._cited = here
        self._has_run = False
        self._index = -1
        self._key: Key = TEXT
        self._kind = ""  # of the block that is open
        self._signature = ""
        self._delta = b""  # the bytes before the text in a delta of the open block
        self._previewed: Sequence[bytes] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is no block yet."""
        return self._index < 0

    def begin(self) -> bytes:
        """The first event."""
        self.has_begun = True
        message: Fields = {
            "id": self._head.id,
            "type": "message",
            "role": "assistant",
            "model": self._head.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": self._head.usage,
        }
        return _event(b"message_start", b'"message":' + to_wire({**self._head.more, **message}))

    @override
    def open(self, key: Key, head: CallHead | None) -> bytes:
        written = self.close()
        self._key = key
        if head is not None:
            self.calls += 1
            return written + self._started("tool_use", to_json(self._called(head)))
        if key in {REASONING, OTHER}:
            return written  # the kind of the block is not known yet
        return written + self._started(*_FIRST_TEXT)

    @override
    def more(self, texts: Sequence[bytes]) -> bytes:
        opened = b""
        if not self._delta:
            if self._kind:  # a call whose arguments have not begun
                return self._held_back(texts)
            opened = self._started(*(_FIRST_THINKING if self._key == REASONING else _FIRST_TEXT))
        written = self.preview(texts)
        self.commit()
        return opened + written

    @override
    def preview(self, texts: Sequence[bytes]) -> bytes:
        delta = self._delta
        if not delta:
            return b""
        self._previewed = texts
        if len(texts) == 1:
            return delta + texts[0] + b'"}}\n\n'
        return b'%b%b"}}\n\n' % (delta, (b'"}}\n\n' + delta).join(texts))

    @override
    def commit(self) -> None:
        self.texts += self._previewed

    @override
    def write_field(self, field: str, values: Sequence[JsonValue]) -> bytes:
        if field == "gateway_tool_calls":
            self._has_run = True
            return b"".join(
                [self._block(block) for each in values if isinstance(each, dict) for block in self._ran(each)]
            )
        values = self._valid(field, values)
        if field == "citations":
            return b"".join([self._citation(each) for each in values])
        if field == "thinking_blocks":
            return b"".join([self._signed_block(each) for each in values if isinstance(each, dict)])
        return b"".join([self._block(each) for each in values if isinstance(each, dict)])

    def _block(self, block: Fields) -> bytes:
        """A block that is sent whole. Clients assemble the input of a server tool call from deltas."""
        if block.get("type") != _SERVED:
            return self.close() + self._started("other", to_json(block)) + self.close()
        given = to_json(to_json(block["input"]).decode())
        written = self.close() + self._started("other", to_json({**block, "input": {}}))
        return written + self._delta_event(b'{"type":"input_json_delta","partial_json":%b}' % given) + self.close()

    def _signed_block(self, block: Fields) -> bytes:
        """A signed thinking block; its text has usually been sent as the open reasoning already."""
        if block.get("type") == _REDACTED:
            return self.close() + self._started(_REDACTED, to_json(block)) + self.close()
        written = b""
        if self._kind != _THINKING:
            written = self.close() + self._started(*_FIRST_THINKING)
            if (thought := block.get("thinking")) and isinstance(thought, str):
                written += self.more((inside(thought),))
        signature = block.get("signature")
        self._signature = signature if isinstance(signature, str) else ""
        return written + self.close()

    def keep(self, data: str) -> bytes:
        """A block with sealed data that only the gateway can read."""
        return self.close() + self._started(_REDACTED, to_json({"type": _REDACTED, "data": data})) + self.close()

    def stopped(self, reason: str, usage: Fields, more: Mapping[str, JsonValue]) -> bytes:
        """The end of a message, with its whole usage, and `more` fields of its stop reason."""
        written = b"" if self.has_begun else self.begin()
        written += self.close()
        self.is_over = True
        delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": None, "container": None, **more}
        ended = _event(b"message_delta", b'"delta":%b,"usage":%b' % (to_wire(delta), to_wire(usage)))
        return written + ended + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def _started(self, kind: str, block: bytes) -> bytes:
        self._index += 1
        self._kind, self._signature, self.texts = kind, "", []
        if kind in _FORMS and kind != "tool_use":
            self._delta = self._before(kind)
        return _event(_START, b'"index":%d,"content_block":%b' % (self._index, block))

    def _before(self, kind: str) -> bytes:
        name, field = _FORMS[kind]
        form = b'event: %b\ndata: {"type":"%b","index":%d,"delta":{"type":"%b","%b":"'
        return form % (_DELTA, _DELTA, self._index, name, field)

    def _held_back(self, texts: Sequence[bytes]) -> bytes:
        """Hold arguments back until they are known to begin an object, since `input` has to be one."""
        self.texts += texts
        if not outside(self.texts).lstrip().startswith("{"):
            return b""
        held, self.texts, self._delta = self.texts, [], self._before(self._kind)
        return self.more(held)

    def _citation(self, citation: JsonValue) -> bytes:
        return self._delta_event(b'{"type":"citations_delta","citation":%b}' % to_json(citation))

    def _delta_event(self, delta: bytes) -> bytes:
        return _event(_DELTA, b'"index":%d,"delta":%b' % (self._index, delta))

    def close(self, *, cut: bool = False) -> bytes:
        """The end of the open block, if any. `cut`: the answer was cut off there."""
        kind, self._kind = self._kind, ""
        if not kind:
            return b""
        written = b""
        self.sent_texts += self.texts
        if kind == _THINKING and self._signature:
            written = self._delta_event(b'{"type":"signature_delta","signature":%b}' % to_json(self._signature))
        elif kind == "text" and self._key == REFUSAL:
            self.refusal = (self.refusal or "") + outside(self.texts)
        elif kind == "text" and self._has_run:
            written = b"".join([self._citation(each) for each in self._cited(outside(self.texts))])
        elif kind == "tool_use":
            written = self._close_input(cut=cut)
        self._delta = b""
        return written + _event(_STOP, b'"index":%d' % self._index)

    def _close_input(self, *, cut: bool) -> bytes:
        """The rest of a call's input. Raises UpstreamInvalidResponse for arguments that are not an object."""
        arguments = outside(self.texts)
        if not arguments.strip():
            return b""
        try:
            value = from_json(arguments)
        except ValueError:
            if cut:
                return b""
            raise _no_object() from None
        if isinstance(value, dict) and self._delta:
            return b""
        if value is None:  # some models send null for a tool without arguments
            return b""
        raise _no_object()


def _event(name: bytes, fields: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b",%b}\n\n' % (name, name, fields)


def _no_object() -> UpstreamInvalidResponse:
    return UpstreamInvalidResponse("The provider called a tool with arguments that are no JSON object.")
