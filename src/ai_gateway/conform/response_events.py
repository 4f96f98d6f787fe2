"""The event automaton of a streamed response: no order of calls gives an illegal stream.

Legal: `response.created` and `response.in_progress`, with `response.queued` between them in the background; then item
after item, each added, sent part by part and done; then exactly one of `response.completed`, `response.incomplete` and
`response.failed`. `sequence_number` counts all events from 0, `output_index` all items; the id of an item is the same
in all events, and `output_item.done` has the item as in the final response (OpenAI's "Streaming events",
openresponses.org "Specification").

Nearly every event is a delta that differs from the previous one in text and number only: it is assembled from bytes,
and its text is copied from one JSON string to the other without being parsed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, override

from pydantic import BaseModel, JsonValue
from pydantic_core import from_json, to_json

from ai_gateway.conform.response_fields import (
    ARGUMENTS,
    FUNCTION,
    NAMES,
    Calls,
    Fields,
    OpenItem,
    Seal,
    delta_end,
    delta_ends,
    flat_annotation,
    kept_item,
    shown_tokens,
    with_bytes,
)
from ai_gateway.conform.response_output import DONE, Output
from ai_gateway.conform.turn import OTHER, REASONING, REFUSAL, TEXT, CallHead, Key, Parts, inside, outside
from ai_gateway.contract.wire_form import to_wire
from ai_gateway.contract.write import to_fields

_EXTRA_FIELDS: Final = frozenset({"annotations", "thinking_blocks", "gateway_tool_calls"})
_DELTAS: Final = {key: b'event: %b.delta\ndata: {"type":"%b.delta",' % (name, name) for key, name in NAMES.items()}
_CREATED, _QUEUED, _IN_PROGRESS = b"response.created", b"response.queued", b"response.in_progress"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The facts of a response before it begins. `echo` are fields that repeat the request."""

    id: str
    created_at: int
    model: str
    echo: Mapping[str, object]


class ResponseEvents(Output, Parts):
    """The events of one response. The methods return what has to be sent; `final` is the response once it is over."""

    def __init__(
        self,
        head: ResponseHead,
        calls: Calls,
        seal: Seal = lambda _summary, _blocks: None,
        now: Callable[[], float] = time.time,
        cites: Callable[[str], Sequence[Fields]] = lambda _text: (),
    ) -> None:
        super().__init__(head.id, calls.ran)
        self.texts: list[bytes] = []
        self.extra_fields = _EXTRA_FIELDS
        self.final = b""
        self._head, self._calls, self._seal, self._now = head, calls, seal, now
        self._echo = to_wire(head.echo)[1:-1]
        self._cites = cites
        self._model = head.model
        self.has_begun = False
        self._item: OpenItem | None = None
        self._part: Key | None = None
        self._place = b""
        self._delta = b""  # the bytes before the text in a delta of the open part
        self._annotations: list[bytes] = []
        self._logprobs: list[dict[str, object]] = []
        self._blocks: list[JsonValue] = []
        self._summary: list[str] = []
        self._earlier = 0  # characters of text in parts before this one
        self._has_answered = False  # with text or tool calls
        self.unread: list[JsonValue] = []  # annotations that the Responses API does not have
        self.kept: str | None = None  # sealed data that the provider needs in the next request
        self._previewed: Sequence[bytes] = ()

    @property
    def number(self) -> int:
        """The number of the next event."""
        return self._number

    def queued(self) -> bytes:
        """The first two events of a response in the background."""
        response = b'"response":' + self._response("queued")
        return self._event(_CREATED, response) + self._event(_QUEUED, response)

    def begin(self, model: str | None = None) -> bytes:
        """Begin the response, and create it unless it is queued. `model` is the one that answers, if known."""
        self.has_begun = True
        self._model = model or self._model
        response = b'"response":' + self._response("in_progress")
        created = b"" if self._number else self._event(_CREATED, response)
        return created + self._event(_IN_PROGRESS, response)

    @override
    def open(self, key: Key, head: CallHead | None) -> bytes:
        if key in {TEXT, REFUSAL}:
            return self._open_content(str(key))
        written = self._close()
        if key == OTHER:
            return written
        if head is None:
            item = self._begun("reasoning")
            self._summary, self._blocks = [], []
            added: Fields = {"type": "reasoning", "id": item.id, "summary": [], "status": "in_progress"}
            return written + self._added(added)
        return written + self._open_call(head)

    @override
    def more(self, texts: Sequence[bytes]) -> bytes:
        opened = b""
        if not self._delta:
            if self._item is None or self._item.kind != "reasoning":  # sent when it is whole
                self.texts += texts
                return b""
            opened = self._open_summary()
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
            return delta + texts[0] + delta_end(self._number)
        pieces = [delta] * (3 * len(texts))
        pieces[1::3] = texts
        pieces[2::3] = delta_ends(self._number, self._number + len(texts))
        return b"".join(pieces)

    @override
    def commit(self) -> None:
        self.texts += self._previewed
        self._number += len(self._previewed)

    @override
    def with_logprobs(self, text: str, logprobs: Sequence[BaseModel]) -> bytes:
        tokens = [with_bytes(to_fields(each)) for each in logprobs]
        self._logprobs += tokens
        self.texts.append(inside(text))
        fields = b'%b,"logprobs":%b,"delta":%b' % (self._place, to_json(shown_tokens(tokens)), to_json(text))
        return self._event(b"response.output_text.delta", fields)

    @override
    def write_field(self, field: str, values: Sequence[JsonValue]) -> bytes:
        if field == "gateway_tool_calls":
            return b"".join([self._close() + self._ran(value) for value in values if isinstance(value, dict)])
        if field == "thinking_blocks":  # signed: the next text is another part
            return b"".join([self._signed(value) for value in values])
        return b"".join([self._annotated(value) for value in values if isinstance(value, dict)])

    def _signed(self, block: JsonValue) -> bytes:
        """A signed block; its text has usually been sent as the open reasoning already."""
        thought = block.get("thinking") if isinstance(block, dict) and self._part is None else None
        written = self.more((inside(thought),)) if isinstance(thought, str) and thought else b""
        self._blocks.append(block)
        return written + self._close_part()

    def _annotated(self, chat_annotation: Fields) -> bytes:
        """An annotation of the open text. Indices in chat completions count from the start of the whole turn's text."""
        annotation = flat_annotation(chat_annotation)
        if annotation is None:
            self.unread.append(chat_annotation)
            return b""
        if self._has_run and type(start := annotation.get("start_index")) is int and start < self._earlier:
            return b""  # it was sent with its text
        for name in ("start_index", "end_index"):
            if type(at := annotation.get(name)) is int:
                annotation[name] = max(0, at - self._earlier)
        return self._referred(annotation)

    def _referred(self, annotation: Fields) -> bytes:
        encoded = to_json(annotation)
        fields = b'%b,"annotation_index":%d,"annotation":%b' % (self._place, len(self._annotations), encoded)
        self._annotations.append(encoded)
        return self._event(b"response.output_text.annotation.added", fields)

    def listed(self, listing: Fields) -> bytes:
        """The tools of an MCP server."""
        item = {**listing, "id": self._id(str(listing["type"]))}
        answered = self._has_answered
        written = self.whole(item, ("in_progress", "completed" if listing["error"] is None else "failed"))
        self._has_answered = answered  # a list of tools is not an answer
        return written

    def whole(self, item: Fields, states: Sequence[str] = ()) -> bytes:
        """An item that is sent whole."""
        self._has_answered = True
        begun = {**item, "status": "in_progress"} if "status" in item else item
        written = self._close() + self._added(begun)
        written += self._with_place(
            str(item["id"]), len(self._output), [(f"{item['type']}.{state}", {}) for state in states]
        )
        return written + self._close_item(to_json(item))

    def completed(self, usage: Fields | None, /, **changed: JsonValue) -> bytes:
        """The end of a whole response. `changed` are fields that differ from the request."""
        return self._ended("completed", usage, None, changed)

    def incomplete(self, reason: str, usage: Fields | None, /, **changed: JsonValue) -> bytes:
        """The end of an incomplete response, for this reason."""
        return self._ended("incomplete", usage, reason, changed)

    def failed(self, code: str, message: str) -> bytes:
        """The end of a failed response."""
        return self._cut("failed", {"code": code, "message": message})

    def cancelled(self) -> bytes:
        """The end of a cancelled response, for which the contract has no event of its own."""
        return self._cut("cancelled", None)

    def _cut(self, status: str, error: Fields | None) -> bytes:
        written = b"" if self.has_begun else self.begin()
        written += self._close(cut=True)
        written += self._break_off()
        self.final = self._response(status, error=error)
        return written + self._event(b"response.failed", b'"response":' + self.final)

    def _ended(self, status: str, usage: Fields | None, reason: str | None, changed: Mapping[str, JsonValue]) -> bytes:
        written = b"" if self.has_begun else self.begin()
        is_empty = self._item is None and not self._output
        if is_empty or (reason is None and not self._has_answered):  # agents would continue the turn
            written += self._open_content(TEXT)
        written += self._close(cut=reason is not None) + self._break_off()
        if self.kept is not None:
            written += self.whole(kept_item(self._id("reasoning"), self.kept))
        details = None if reason is None else {"reason": reason}
        self.final = self._response(status, usage=usage, incomplete_details=details, **changed)
        return written + self._event(b"response." + status.encode(), b'"response":' + self.final)

    def _response(self, status: str, /, **changed: object) -> bytes:
        completed = int(self._now()) if status == "completed" else None
        fields = {
            "id": self._head.id,
            "object": "response",
            "created_at": self._head.created_at,
            "completed_at": completed,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "usage": None,
            **changed,
        }
        echo = self._echo
        if changed and changed.keys() & self._head.echo.keys():
            echo = to_wire({name: value for name, value in self._head.echo.items() if name not in changed})[1:-1]
        return b'%b,"output":[%b]%b}' % (to_wire(fields)[:-1], b",".join(self._output), b"," + echo if echo else b"")

    def _begun(self, kind: str) -> OpenItem:
        """Begin an item."""
        self._item = OpenItem(kind, self._id(kind), len(self._output))
        self.texts = []
        return self._item

    def _close(self, *, cut: bool = False) -> bytes:
        """The end of the open item, if any. `cut`: the answer was cut off there."""
        item = self._item
        if item is None:
            return b""
        if item.kind not in {"message", "reasoning"}:
            return self._close_call(item, cut=cut)
        written = self._close_part()
        status = b"incomplete" if cut else b"completed"
        parts = b",".join(item.finished_parts)
        if item.kind == "message":
            form = b'{"type":"message","id":"%b","status":"%b","role":"assistant","content":[%b]}'
            return written + self._close_item(form % (item.id.encode(), status, parts))
        sealed = self._seal(self._summary, self._blocks)
        secret = b"" if sealed is None else b',"encrypted_content":' + to_json(sealed)
        form = b'{"type":"reasoning","id":"%b","summary":[%b]%b,"status":"%b"}'
        return written + self._close_item(form % (item.id.encode(), parts, secret, status))

    def _close_item(self, item: bytes) -> bytes:
        written = self._event(DONE, b'"output_index":%d,"item":%b' % (len(self._output), item))
        self._output.append(item)
        self._item = None
        self._delta = b""
        return written

    # Parts of messages and of reasoning.

    def _open_content(self, key: str) -> bytes:
        self._has_answered = True
        if self._item is not None and self._item.kind == "message":
            written, item = self._close_part(), self._item
        else:
            written = self._close()
            item = self._begun("message")
            added: Fields = {"type": "message", "id": item.id, "status": "in_progress", "role": "assistant"}
            written += self._added({**added, "content": []})
        self._annotations, self._logprobs = [], []
        place = b'%b,"content_index":%d' % (item.place, len(item.finished_parts))
        part = b'{"type":"refusal","refusal":""}'
        if key == TEXT:
            part = b'{"type":"output_text","text":"","annotations":[],"logprobs":[]}'
        written += self._event(b"response.content_part.added", b'%b,"part":%b' % (place, part))
        self._open_part(key, place, b',"logprobs":[]' if key == TEXT else b"")
        return written

    def _open_summary(self) -> bytes:
        item = self._item
        assert item is not None  # noqa: S101 - only an open reasoning item has summaries
        place = b'%b,"summary_index":%d' % (item.place, len(item.finished_parts))
        written = self._event(
            b"response.reasoning_summary_part.added", place + b',"part":{"type":"summary_text","text":""}'
        )
        self._open_part(REASONING, place, b"")
        return written

    def _open_part(self, key: str, place: bytes, beside: bytes) -> None:
        self._part, self._place, self.texts = key, place, []
        self._delta = _DELTAS[key] + place + beside + b',"delta":"'

    def _close_part(self) -> bytes:
        key, place, self._part, self._delta = self._part, self._place, None, b""
        if key is None or self._item is None:
            return b""
        text = b'"%b"' % b"".join(self.texts)
        if key == TEXT:
            return self._close_text(place, text, self._item.finished_parts)
        if key == REFUSAL:
            part = b'{"type":"refusal","refusal":%b}' % text
            content, name = b'"refusal":' + text, b"response.content_part.done"
        else:
            self._summary.append(outside(self.texts))
            part = b'{"type":"summary_text","text":%b}' % text
            content, name = b'"text":' + text, b"response.reasoning_summary_part.done"
        self._item.finished_parts.append(part)
        done = self._event(NAMES[str(key)] + b".done", b"%b,%b" % (place, content))
        return done + self._event(name, b'%b,"part":%b' % (place, part))

    def _close_text(self, place: bytes, text: bytes, fields: list[bytes]) -> bytes:
        plain_text = from_json(text)
        cited = b""
        for reference in self._cites(plain_text) if self._has_run else ():
            if to_json(reference) not in self._annotations:
                cited += self._referred({**reference})
        self._earlier += len(plain_text)
        shown = held = b"[]"
        if self._logprobs:
            shown, held = to_json(shown_tokens(self._logprobs)), to_json(self._logprobs)
        form = b'{"type":"output_text","text":%b,"annotations":[%b],"logprobs":%b}'
        part = form % (text, b",".join(self._annotations), held)
        fields.append(part)
        done = self._event(b"response.output_text.done", b'%b,"text":%b,"logprobs":%b' % (place, text, shown))
        return cited + done + self._event(b"response.content_part.done", b'%b,"part":%b' % (place, part))

    # Calls.

    def _open_call(self, head: CallHead) -> bytes:
        self._has_answered = True
        opened = self._calls.opened(head.name, "", head.id)
        kind = "" if opened is None else str(opened["type"])
        item = self._begun(kind)
        item.function, item.call_id = head.name, head.id
        self._part = None
        if opened is None:
            return b""
        if kind == FUNCTION:
            name = b"response.function_call_arguments.delta"
            self._delta = b'event: %b\ndata: {"type":"%b",%b,"delta":"' % (name, name, item.place)
        return self._added({**opened, "id": item.id})

    def _close_call(self, item: OpenItem, *, cut: bool) -> bytes:
        arguments = outside(self.texts)
        restored = self._calls.restored(item.function, arguments, item.id, item.call_id, cut=cut)
        kind, written = str(restored["type"]), b""
        if not item.kind:
            restored["id"] = item.id = self._id(kind)
            begun: Fields = {**restored, "status": "in_progress"}
            written = self._added({**begun, "arguments": ""} if kind == FUNCTION else begun)
        if kind in ARGUMENTS:
            written += self._close_arguments(item, restored, *ARGUMENTS[kind])
        return written + self._close_item(to_json(restored))

    def _close_arguments(self, item: OpenItem, restored: Fields, event: bytes, field: str) -> bytes:
        """The call's arguments, in one delta unless they were streamed."""
        value, written = to_json(restored[field]), b""
        if restored[field] and (item.kind != FUNCTION or not self.texts):
            written = self._event(event + b".delta", b'%b,"delta":%b' % (item.place, value))
        name = b',"name":' + to_json(restored["name"]) if restored["type"] == FUNCTION else b""
        return written + self._event(event + b".done", b'%b%b,"%b":%b' % (item.place, name, field.encode(), value))
