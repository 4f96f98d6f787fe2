"""Replies on a wire that caller and upstream share: relayed unchanged, metered, and ended by an error if truncated.

Little is repaired, because the client knows its own API: a stream that ends without its last event gets an event for
the failure (`response.failed`, or `error`), since clients take a silent end for a complete answer. What SDKs and agents
fail without is filled in: usage of a message, and the events by which they put a reply together.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from pydantic_core import to_json

from ai_gateway.conform.rules import Rule
from ai_gateway.conform.source import Source
from ai_gateway.contract.call import Notes
from ai_gateway.contract.deltas import Deltas, text_size
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.native import NativeOperation
from ai_gateway.contract.stream import Run, Sink
from ai_gateway.contract.tokens import Tokens
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.observability.metrics import Event, count

_MAX_NUMBERED = 10**15

type Fields = Mapping[str, Any]


class Relayed(ABC):
    """Reads a reply, whole or streamed, while it is relayed. `notes` get its tokens and tier, and applied rules."""

    operation: NativeOperation

    def __init__(self, notes: Notes, source: Source, request_id: str = "") -> None:
        self._notes = notes
        self._source = source
        self.request_id = request_id
        self.may_continue = False
        """Whether delta events may go on as they are, without being read."""
        self._raw = b""  # the event that is read
        self.repaired = b""
        """What to send in place of the reply, or of the event, that was read last; framed, if it is an event."""
        self._ahead: list[bytes] = []
        """Framed events to send ahead of it."""
        self.is_over = False
        """Whether the last event has arrived."""
        self.reply: dict[str, Any] = {}
        """The reply as in the latest event that has it."""
        self.failure: Fields | None = None
        """The error, if an event reported a failure."""

    @property
    def kept(self) -> Mapping[str, Any]:
        """The reply to be stored."""
        return self.reply

    @abstractmethod
    def whole(self, value: object) -> bool:
        """Read a whole reply. Returns whether it is valid."""

    def content_size(self, value: Fields) -> int:
        """The size of what a whole reply says."""
        content = value.get("content") or value.get("output")
        return len(to_json(content, inf_nan_mode="null")) if content else 0

    @abstractmethod
    def event(self, name: str, value: Fields) -> None:
        """Read an event."""

    def ended(self, *, done: bool) -> bytes:  # noqa: ARG002 - what an override needs
        """The framed events that end a stream whose last one is missing; empty unless its reply is known to be whole.

        `done` says that the upstream has sent `[DONE]`.
        """
        return b""

    def broken(self, error: bytes) -> bytes:
        """The framed events that end a truncated stream, given the JSON of the wire's error.

        Empty if the upstream has sent an error event itself.
        """
        return b"" if self.failure is not None else EVENTS.framed(error, "error")

    def diverting_to(self, sink: Sink) -> Sink:
        """A function that sends a packet to the sink if it has delta events only, and returns whether it did."""
        deltas = Deltas(self.operation)

        def divert(packet: bytes, chunk: bytes | None = None, /) -> bool:
            if not self.may_continue or packet.find(b"\r") >= 0:
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
                if self.may_continue:
                    self._note(event, event.events, event.text_size)
                    yield event
                else:
                    yield from self.framed([each.partition(b"\ndata: ")[2] for each in event.split(b"\n\n")[:-1]])
                continue
            delta = None
            if self.may_continue:
                delta = self.operation.delta.fullmatch(event)
                if delta is None and event.endswith(b'delta"}'):
                    delta = self.operation.delta_last.fullmatch(event)
            if delta is not None:
                self._note(event, 1, text_size(b"".join(self.operation.text.findall(event))))
                name = delta[1]
            else:
                name = _one_line_name(self.feed(event))
                if self.repaired:
                    repaired, self.repaired = self.repaired, b""
                    yield repaired
                    continue
            yield _framed(name, event)

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
        self._raw = event
        self.event(name, value)
        self._notes.chunks += 1
        if self._ahead:
            self.repaired = b"".join([*self._ahead, self.repaired or _framed(_one_line_name(name), event)])
            self._ahead.clear()
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


def _one_line_name(name: str) -> bytes:
    return b" ".join(name.encode().split())


def _framed(name: bytes, event: bytes) -> bytes:
    """An event as it came."""
    is_one_line = event.find(b"\n") < 0 and event.find(b"\r") < 0  # line ends are blanks in JSON
    data = event if is_one_line else event.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: %b\ndata: %b\n\n" % (name, data)


def number_of(value: object, before: int) -> int:
    """The event's number, or the previous one's if it has none."""
    return value if type(value) is int and 0 <= value < _MAX_NUMBERED else before
