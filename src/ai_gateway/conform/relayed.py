"""Replies on a wire that caller and upstream share: relayed unchanged, metered, and ended by an error if truncated.

Little is repaired, because the client knows its own API: a stream that ends without its last event gets an event for
the failure (`response.failed`, or `error`), since clients take a silent end for a complete answer. Of a message, what
Anthropic's SDKs fail without is filled in: usage, and the event with the stop reason.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, override

import orjson
from pydantic_core import to_json

from ai_gateway.conform.relayed_tokens import count_of, message_tokens, response_tokens
from ai_gateway.conform.rules import FILL_FINISH_REASON, FILL_USAGE, Rule
from ai_gateway.conform.source import Source
from ai_gateway.contract.budget import parsed_size
from ai_gateway.contract.call import Notes
from ai_gateway.contract.deltas import Deltas, text_size
from ai_gateway.contract.framing import EVENTS, SSE
from ai_gateway.contract.native import ANTHROPIC, CREATE_MESSAGE, CREATE_RESPONSE, NativeOperation
from ai_gateway.contract.stream import Run, Sink
from ai_gateway.contract.tokens import Tokens
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.observability.metrics import Event, count

_MAX_KEPT = 16 * 2**20  # bytes of a stream's content that are kept for its failure event
# Codes in `error.code` of a failed response that Codex and the SDKs act on; others are server_error to them.
_CODES = frozenset({"rate_limit_exceeded", "context_length_exceeded", "insufficient_quota", "invalid_prompt"})

_NUMBER = b'"sequence_number":'
_NUMBERED = re.compile(rb"%b\s*(\d{1,15})\s*[,}]" % _NUMBER)
_MAX_NUMBERED = 10**15
_NO_USAGE = {"input_tokens": 0, "output_tokens": 0}

type _Fields = Mapping[str, Any]


class Relayed(ABC):
    """Reads a reply, whole or streamed, while it is relayed. `notes` get its tokens and tier, and applied rules."""

    operation: NativeOperation

    def __init__(self, notes: Notes, source: Source) -> None:
        self._notes = notes
        self._source = source
        self.has_begun = True
        """Whether events that continue the reply may come."""
        self.repaired = b""
        """What to send in place of the reply, or of the event, that was read last; framed, if it is an event."""
        self.is_over = False
        """Whether the last event has arrived."""
        self.reply: dict[str, Any] = {}
        """The reply as in the latest event that has it."""
        self.failure: _Fields | None = None
        """The error, if an event reported a failure."""

    @property
    def kept(self) -> Mapping[str, Any]:
        """The reply to be stored."""
        return self.reply

    @abstractmethod
    def whole(self, value: object) -> bool:
        """Read a whole reply. Returns whether it is valid."""

    def content_size(self, value: _Fields) -> int:
        """The size of what a whole reply says."""
        content = value.get("content") or value.get("output")
        return len(to_json(content, inf_nan_mode="null")) if content else 0

    @abstractmethod
    def event(self, name: str, value: _Fields) -> None:
        """Read an event."""

    def broken(self, error: bytes) -> bytes:
        """The framed events that end a truncated stream, given the JSON of the wire's error.

        Empty if the upstream has sent an error event itself.
        """
        return b"" if self.failure is not None else EVENTS.framed(error, "error")

    def diverting_to(self, sink: Sink) -> Sink:
        """A function that sends a packet to the sink if it has delta events only, and returns whether it did."""
        deltas = Deltas(self.operation)

        def divert(packet: bytes, chunk: bytes | None = None, /) -> bool:
            if not self.has_begun or packet.find(b"\r") >= 0:
                return False
            run = deltas.run_in(packet)
            if run is None or len(run) < len(packet) or not sink(packet, chunk):
                return False
            self._note(packet, run.events, run.text_size)
            return True

        return divert

    def framed(self, events: Iterable[bytes]) -> Iterator[bytes]:
        """The framed events. Raises UpstreamInvalidResponse for an invalid one, after yielding those before it."""
        for event in events:
            if isinstance(event, Run):
                if not self.has_begun:
                    raise UpstreamInvalidResponse.out_of_order("a delta")
                self._note(event, event.events, event.text_size)
                yield event
                continue
            delta = self.operation.delta.fullmatch(event) if self.has_begun else None
            if delta is not None:
                self._note(event, 1, text_size(b"".join(self.operation.text.findall(event))))
                name = delta[1]
            else:
                name = b" ".join(self.feed(event).encode().split())
                if self.repaired:
                    repaired, self.repaired = self.repaired, b""
                    yield repaired
                    continue
            is_one_line = event.find(b"\n") < 0 and event.find(b"\r") < 0  # line ends are blanks in JSON
            data = event if is_one_line else event.replace(b"\r", b" ").replace(b"\n", b" ")
            yield b"event: %b\ndata: %b\n\n" % (name, data)

    def _note(self, deltas: bytes, chunks: int, size: int) -> None:  # noqa: ARG002 - what an override needs
        """Count delta events, and the size of their texts."""
        self._notes.chunks += chunks
        self._notes.text_bytes += size

    def feed(self, event: bytes) -> str:
        """Read an event of a stream. Returns its name; raises the upstream's error, or UpstreamInvalidResponse."""
        try:
            value = orjson.loads(event)
        except ValueError as error:
            raise UpstreamInvalidResponse.not_json(self._notes.provider, error, event) from None
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str):
            raise self._source.error_in(value) or UpstreamInvalidResponse.off_contract(detail="an event without a type")
        self.event(name, value)
        self._notes.chunks += 1
        return name

    def _mends(self, rule: Rule) -> bool:
        """Report an applied rule. Returns whether it may change the reply; raises if the mode is to refuse it."""
        if self._source.conformance == "enforce":
            raise UpstreamInvalidResponse.off_contract(detail=f"would take {rule.name}")
        count(Event.REPAIR, self._source.name, rule.name)
        self._notes.repairs |= {rule.name}
        return self._source.conformance == "repair"

    def _note_usage(self, tokens: Tokens | None) -> None:
        if tokens is not None:
            self._notes.tokens = tokens

    def _note_tier(self, tier: object) -> None:
        if isinstance(tier, str):
            self._notes.service_tier = tier


class RelayedResponse(Relayed):
    """A response of the Responses API, or its events."""

    operation = CREATE_RESPONSE

    def __init__(self, notes: Notes, source: Source) -> None:
        super().__init__(notes, source)
        self.number = -1
        """The sequence number of the latest event that has one."""
        self._items: dict[int, object] = {}
        self._kept = 0
        self._error: _Fields | None = None

    @override
    def whole(self, value: object) -> bool:
        if not isinstance(value, dict) or str(value.get("object")) not in {"response", "response.compaction"}:
            return isinstance(value, dict) and isinstance(value.get("input_tokens"), int)
        self._read(value)
        return True

    @property
    @override
    def kept(self) -> Mapping[str, Any]:
        """With its items, which some upstreams omit in the last event, while a stored response needs them."""
        return self.reply if self.reply.get("output") else {**self.reply, "output": self._output}

    @property
    def _output(self) -> list[object]:
        return [self._items[index] for index in sorted(self._items)]

    @override
    def _note(self, deltas: bytes, chunks: int, size: int) -> None:
        super()._note(deltas, chunks, size)
        at = len(deltas)
        while (at := deltas.rfind(_NUMBER, 0, at)) >= 0:
            if (number := _NUMBERED.match(deltas, at)) is not None:
                self.number = int(number[1])
                return

    @override
    def event(self, name: str, value: _Fields) -> None:
        self.number = _number(value.get("sequence_number"), self.number)
        delta = value.get("delta")
        if isinstance(delta, str):
            self._notes.text_bytes += len(delta.encode(errors="replace"))
            return
        response = value.get("response")
        if isinstance(response, dict):
            self.reply = response
            self._read(response)
        if name == "response.output_item.done" and isinstance(index := value.get("output_index"), int):
            item = to_json(value.get("item"), inf_nan_mode="null")
            self._kept += len(item) + parsed_size(item)
            if self._kept <= _MAX_KEPT:
                self._items[index] = value.get("item")
        if name in CREATE_RESPONSE.last:
            self.is_over = True
            if name == "response.failed":
                upstream_error = response.get("error") if isinstance(response, dict) else None
                self.failure = {"error": upstream_error or {"message": "The response has failed."}}
        elif name == "error":
            self._error = value

    def _read(self, response: _Fields) -> None:
        self._note_usage(response_tokens(response.get("usage")))
        self._note_tier(response.get("service_tier"))

    @override
    def broken(self, error: bytes) -> bytes:
        if self.failure is not None or (self._error is not None and not self.reply):
            return SSE.end  # the upstream has sent an error event itself
        if not self.reply:  # before the response has begun, only an error event is possible
            details = orjson.loads(error).get("error") or {}
            fields = {"code": details.get("code"), "message": details.get("message"), "param": details.get("param")}
            event = {"type": "error", **fields, "sequence_number": self.number + 1, "error": details}
            return EVENTS.framed(to_json(event, inf_nan_mode="null"), "error") + SSE.end
        reported = self._error or orjson.loads(error).get("error") or {}
        code, message = reported.get("code"), reported.get("message")
        failed = {
            **self.reply,
            "status": "failed",
            "error": {
                "code": code if isinstance(code, str) and code in _CODES else "server_error",
                "message": message or "The stream broke off.",
            },
            "output": self._output,
        }
        event = {"type": "response.failed", "sequence_number": self.number + 1, "response": failed}
        return EVENTS.framed(to_json(event, inf_nan_mode="null"), "response.failed") + SSE.end


class RelayedMessage(Relayed):
    """A message of the Messages API, or its events. Counts in a stream are cumulative."""

    operation = CREATE_MESSAGE

    def __init__(self, notes: Notes, source: Source) -> None:
        super().__init__(notes, source)
        self._usage: dict[str, Any] = {}
        self.has_begun = self._has_ended = self._calls = False

    @override
    def whole(self, value: object) -> bool:
        if not isinstance(value, dict) or value.get("type") != "message":
            return isinstance(value, dict) and isinstance(value.get("input_tokens"), int)
        self._read(value.get("usage"))
        if not isinstance(value.get("usage"), dict) and self._mends(FILL_USAGE):
            self.repaired = to_json({**value, "usage": _NO_USAGE}, inf_nan_mode="null")
        return True

    @override
    def event(self, name: str, value: _Fields) -> None:
        if not self.has_begun and name != "message_start" and name.startswith(("content_block", "message")):
            raise UpstreamInvalidResponse.out_of_order(name)
        if name == "content_block_delta":
            delta = value.get("delta")
            texts = [delta.get(name) for name in self.operation.texts] if isinstance(delta, dict) else []
            self._notes.text_bytes += sum(len(text.encode(errors="replace")) for text in texts if isinstance(text, str))
        elif name == "content_block_start":
            block = value.get("content_block")
            self._calls |= isinstance(block, dict) and block.get("type") == "tool_use"
        elif name == "message_start":
            self._begin(value)
        elif name == "message_delta":
            self._has_ended = True
            self._read(value.get("usage"))
            if not isinstance(value.get("usage"), dict) and self._mends(FILL_USAGE):
                self._send({**value, "usage": self._made})
        elif name in CREATE_MESSAGE.last:
            self._end(name, value)

    def _begin(self, value: _Fields) -> None:
        self.has_begun = True
        message = value.get("message")
        if not isinstance(message, dict):
            return
        self._read(message.get("usage"))
        if not isinstance(message.get("usage"), dict) and self._mends(FILL_USAGE):
            self._send({**value, "message": {**message, "usage": _NO_USAGE}})

    def _end(self, name: str, value: _Fields) -> None:
        self.is_over = True
        if name == "error":
            self.failure = value
        elif not self._has_ended and self._mends(FILL_FINISH_REASON):
            delta = {"stop_reason": "tool_use" if self._calls else "end_turn", "stop_sequence": None}
            self._send({"type": "message_delta", "delta": delta, "usage": self._made})
            self._send(value)

    @property
    def _made(self) -> _Fields:
        """The usage of the message's end, as far as it is known."""
        return {"output_tokens": count_of(self._usage.get("output_tokens"))}

    def _send(self, event: _Fields) -> None:
        """Send this event in place of the one that was read last, or after it."""
        self.repaired += EVENTS.framed(to_json(event, inf_nan_mode="null"), event["type"])

    def _read(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: count for name, count in usage.items() if count is not None}
            self._note_usage(message_tokens(self._usage))
            self._note_tier(usage.get("service_tier"))


def relayed(operation: NativeOperation, notes: Notes, source: Source) -> Relayed:
    """The reader of an operation's replies from this provider."""
    return (RelayedMessage if operation.wire == ANTHROPIC else RelayedResponse)(notes, source)


def _number(value: object, before: int) -> int:
    """The event's number, or the previous one's if it has none."""
    return value if type(value) is int and 0 <= value < _MAX_NUMBERED else before
