"""Responses of the Responses API that are relayed."""

import re
from collections.abc import Mapping
from typing import Any, override

import orjson
from pydantic_core import to_json

from ai_gateway.conform.relayed_reply import Fields, Relayed, number_of
from ai_gateway.conform.relayed_tokens import response_tokens
from ai_gateway.conform.response_ends import WHOLE, OpenItems
from ai_gateway.conform.response_ids import FilledIds
from ai_gateway.conform.rules import FILL_EVENT
from ai_gateway.conform.source import Source
from ai_gateway.contract.budget import parsed_size
from ai_gateway.contract.call import Notes
from ai_gateway.contract.framing import EVENTS, SSE
from ai_gateway.contract.native import CREATE_RESPONSE

_MAX_KEPT = 16 * 2**20  # bytes of a stream's content that are kept for its failure event
# Codes in `error.code` of a failed response that Codex and the SDKs act on; others are server_error to them.
_CODES = frozenset({"rate_limit_exceeded", "context_length_exceeded", "insufficient_quota", "invalid_prompt"})

# What is not known before a response ends.
_LATE = ("usage", "error", "incomplete_details", "completed_at")
_EMPTY_ID = re.compile(rb'id"\s*:\s*""')
_NUMBER = b'"sequence_number":'
_NUMBERED = re.compile(rb"%b\s*(\d{1,15})\s*[,}]" % _NUMBER)


class RelayedResponse(Relayed):
    """A response of the Responses API, or its events."""

    operation = CREATE_RESPONSE

    def __init__(self, notes: Notes, source: Source, request_id: str = "") -> None:
        super().__init__(notes, source, request_id)
        self._ids = FilledIds(request_id)
        self._has_empty_ids = False
        self._fills_ids = True
        self.number = -1
        """The sequence number of the latest event that has one, as sent."""
        self._open = OpenItems()
        self._added = 0  # events that the upstream has left out
        self._has_head = False
        self._items: dict[int, object] = {}
        self._kept = 0
        self._error: Fields | None = None

    @override
    def whole(self, value: object) -> bool:
        if not isinstance(value, dict) or str(value.get("object")) not in {"response", "response.compaction"}:
            return isinstance(value, dict) and isinstance(value.get("input_tokens"), int)
        self._read(value)
        self.reply = value
        filled = self._filled(value, self._ids.whole(value))
        if filled is not value:
            self.reply = dict(filled)
            self.repaired = to_json(self.reply, inf_nan_mode="null")
        return True

    def _filled(self, value: Fields, filled: Fields) -> Fields:
        """The copy with ids, if it may be sent; the value itself if it is none."""
        if filled is value:
            return value
        self.may_continue = False  # the ids in deltas are filled in too
        applied, self._ids.applied = self._ids.applied, set()
        for rule in applied:
            self._fills_ids &= self._mends(rule)
        return filled if self._fills_ids else value

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
    def event(self, name: str, value: Fields) -> None:
        if not self._has_head:
            self._head(name, value)
        if self._has_empty_ids or _EMPTY_ID.search(self._raw) is not None:
            self._has_empty_ids = True
            if (filled := self._filled(value, self._ids.event(value))) is not value:
                value = filled
                self.repaired = EVENTS.framed(to_json(value, inf_nan_mode="null"), name)
        delta = value.get("delta")
        if isinstance(delta, str):
            self._count(name, value)
            self._notes.text_bytes += len(delta.encode(errors="replace"))
            return
        if (missing := self._open.missing(name, value)) and self._mends(FILL_EVENT):
            self._insert(missing, value)
        if (whole := self._with_output(name, value)) is not value:
            value = whole
            self.repaired = EVENTS.framed(to_json(value, inf_nan_mode="null"), name)
        self._count(name, value)
        self._read_event(name, value)

    def _with_output(self, name: str, value: Fields) -> Fields:
        """The event itself, or the last one with the items that came before it, which SDKs take from there.

        ChatGPT's backend leaves them out: github.com/BerriAI/litellm/issues/41009.
        """
        response = value.get("response")
        if name not in WHOLE or not isinstance(response, dict) or response.get("output"):
            return value
        if not self._items or self._kept > _MAX_KEPT or not self._mends(FILL_EVENT):
            return value
        return {**value, "response": {**response, "output": self._output}}

    def _read_event(self, name: str, value: Fields) -> None:
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

    def _count(self, name: str, value: Fields) -> None:
        """Read the event's number, or number it anew behind inserted events."""
        number = number_of(value.get("sequence_number"), -1)
        if number < 0:
            return
        self.number = number + self._added
        if self._added:
            numbered = {**value, "sequence_number": self.number}
            self.repaired = EVENTS.framed(to_json(numbered, inf_nan_mode="null"), name)

    def _head(self, name: str, value: Fields) -> None:
        """Read the first event, which is `response.created`: SDKs put a response together from there."""
        if not name.startswith("response."):
            return
        self._has_head = self.may_continue = True
        if name != "response.created" and self._mends(FILL_EVENT):
            response = value.get("response")
            self._has_empty_ids = True  # at least that of the response, unless it is there
            known = self._ids.whole(response) if isinstance(response, dict) else self._made_head()
            unknown = {name: None for name in _LATE if name in known}
            self.reply = {**known, **unknown, "status": "in_progress", "output": []}
            self._insert([{"type": "response.created", "response": self.reply}], value)

    def _made_head(self) -> Fields:
        unknown = ("error", "incomplete_details", "instructions", "temperature", "top_p", "metadata")
        return {
            "id": self._ids.made_response(),  # that of later events too: OpenAI's SDK takes no other
            "object": "response",
            "created_at": int(self._notes.started),
            "model": self._notes.model,
            **dict.fromkeys(unknown),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }

    def _insert(self, events: list[dict[str, Any]], before: Fields) -> None:
        """Send these events ahead of this one. It and all later ones are numbered anew."""
        first = number_of(before.get("sequence_number"), -1)
        for at, event in enumerate(events, first + self._added):
            numbered = event if first < 0 else {**event, "sequence_number": at}
            self._ahead.append(EVENTS.framed(to_json(numbered, inf_nan_mode="null"), event["type"]))
        if first >= 0:
            self._added += len(events)
            self.may_continue = False

    def _read(self, response: Fields) -> None:
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
