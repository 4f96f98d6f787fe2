"""The grammar of a streamed response, written from the documents alone: what is wrong with a stream of its events."""

import json
from dataclasses import dataclass, field
from typing import Any

from scripts.fuzz.hosted_grammar import KINDS, HostedItem, Wrong

TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
_PARTS = {"output_text": ("response.output_text", "text"), "refusal": ("response.refusal", "refusal")}
_CALLS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}


class Illegal(AssertionError):
    """The stream is not one of the wire."""


def events_of(data: bytes) -> list[dict[str, Any]]:
    """The events of a whole stream, `[DONE]` aside. Raises Illegal for wrong frames."""
    text = data.decode()
    if not text.endswith("\n\n"):
        raise Illegal("the last frame is not closed")
    frames = text.removesuffix("\n\n").split("\n\n")
    if frames.pop() != "data: [DONE]":
        raise Illegal("no [DONE] at the end")
    events = []
    for frame in frames:
        if frame.startswith(":"):
            continue
        name, _, rest = frame.partition("\n")
        if not name.startswith("event: ") or not rest.startswith("data: ") or "\n" in rest:
            raise Illegal(f"not one event with a name: {frame[:80]}")
        event = json.loads(rest.removeprefix("data: "))
        if event["type"] != name.removeprefix("event: "):
            raise Illegal(f"{name} has the type {event['type']}")
        events.append(event)
    return events


@dataclass
class _Open:
    item: dict[str, Any]
    index: int
    parts: list[dict[str, Any]] = field(default_factory=list)
    part: dict[str, Any] | None = None
    texts: list[str] = field(default_factory=list)
    text_done: bool = False


class Checker:
    """Feed it the events of one response in their order, then `end`."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.response: dict[str, Any] | None = None
        self._next = 0
        self._due = [("response.created", "in_progress"), ("response.in_progress", "in_progress")]
        self._ids: set[str] = set()
        self._open: _Open | None = None
        self._hosted: dict[int, HostedItem] = {}  # several may be open at once
        self._response_id = ""

    def feed(self, event: dict[str, Any]) -> None:  # noqa: C901 - a state's rules, one after the other
        """The next event. Raises Illegal."""
        kind = event["type"]
        if event["sequence_number"] != self._next:
            raise Illegal(f"{kind} is number {event['sequence_number']}, due is {self._next}")
        self._next += 1
        if self.response is not None:
            raise Illegal(f"{kind} after the end")
        if self._due:
            due, status = self._due.pop(0)
            if kind == due == "response.created" and event["response"]["status"] == "queued":  # in the background
                status, self._due = "queued", [("response.queued", "queued"), *self._due]
            if kind != due:
                raise Illegal(f"{kind} instead of {due}")
            self._check_response(event["response"], status, [])
            return
        if kind in TERMINAL:
            self._terminate(event)
        elif kind == "response.output_item.added":
            self._add(event)
        elif (hosted := self._hosted.get(event["output_index"])) is not None:
            self._feed_hosted(event, hosted)
        elif self._open is None:
            raise Illegal(f"{kind} while no item is open")
        elif kind == "response.output_item.done":
            self._finish(event, self._open)
        else:
            self._check_place(event, self._open)
            self._within(kind, event, self._open)

    def _feed_hosted(self, event: dict[str, Any], hosted: HostedItem) -> None:
        try:
            if event["type"] != "response.output_item.done":
                hosted.feed(event)
                return
            hosted.end(event["item"])
        except Wrong as wrong:
            raise Illegal(str(wrong)) from wrong
        self.items[event["output_index"]] = event["item"]
        del self._hosted[event["output_index"]]

    def end(self) -> dict[str, Any]:
        """The final response. Raises Illegal for a stream without one."""
        if self.response is None:
            raise Illegal("no terminal event")
        return self.response

    def _check_response(self, response: dict[str, Any], status: str, output: list[dict[str, Any]]) -> None:
        if response["status"] != status:
            raise Illegal(f"status {response['status']}, not {status}")
        if response["output"] != output:
            raise Illegal(f"output {response['output']} is not what the items said: {output}")
        self._response_id = self._response_id or response["id"]
        if response["id"] != self._response_id:
            raise Illegal("another id of the response")
        if (response["error"] is None) is (status == "failed"):
            raise Illegal("an error without a failure, or a failure without an error")
        if (response["incomplete_details"] is None) is (status == "incomplete"):
            raise Illegal("a reason without an incomplete response, or the other way round")
        if (response["completed_at"] is None) is (status == "completed"):
            raise Illegal("completed_at is not set for completed responses alone")

    def _terminate(self, event: dict[str, Any]) -> None:
        if self._open is not None or self._hosted:
            raise Illegal(f"{event['type']} while an item is open")
        status = event["type"].removeprefix("response.")
        if status == "failed" and event["response"]["status"] == "cancelled":  # no event of the contract says so
            status = "cancelled"
        self._check_response(event["response"], status, self.items)
        self.response = event["response"]

    def _add(self, event: dict[str, Any]) -> None:
        item = event["item"]
        if self._open is not None or (self._hosted and item["type"] not in KINDS):
            raise Illegal("an item is added while another one is open")
        if event["output_index"] != len(self.items):
            raise Illegal(f"output_index {event['output_index']}, due is {len(self.items)}")
        if item["id"] in self._ids:
            raise Illegal("two items with one id")
        if item.get("status", "in_progress") != "in_progress":
            raise Illegal(f"an item is added as {item['status']}")
        said = [item.get(name) for name in ("content", "summary", "arguments", "input")]
        if item["type"] in {"message", "reasoning", *_CALLS} and any(said):
            raise Illegal("an item is added with content")
        self._ids.add(item["id"])
        if item["type"] in KINDS:
            self._hosted[event["output_index"]] = HostedItem(item)
            self.items.append(item)
            return
        self._open = _Open(item, event["output_index"])

    def _check_place(self, event: dict[str, Any], opened: _Open) -> None:
        if event["item_id"] != opened.item["id"] or event["output_index"] != opened.index:
            raise Illegal(f"{event['type']} is of another item")

    def _within(self, kind: str, event: dict[str, Any], opened: _Open) -> None:
        match opened.item["type"]:
            case "message":
                self._in_message(kind, event, opened)
            case "reasoning":
                self._in_reasoning(kind, event, opened)
            case "function_call" | "custom_tool_call":
                self._in_call(kind, event, opened)
            case other:
                raise Illegal(f"{kind} of {other}")

    def _in_message(self, kind: str, event: dict[str, Any], opened: _Open) -> None:  # noqa: C901 - a state's rules, one after the other
        if event["content_index"] != len(opened.parts):
            raise Illegal(f"{kind} of part {event['content_index']}, due is {len(opened.parts)}")
        if kind == "response.content_part.added":
            if opened.part is not None:
                raise Illegal("a part is added while another one is open")
            opened.part, opened.texts, opened.text_done = event["part"], [], False
            name = _PARTS[event["part"]["type"]][1]
            if event["part"][name]:
                raise Illegal("a part is added with content")
            opened.part.setdefault("annotations", [])
            return
        if opened.part is None:
            raise Illegal(f"{kind} while no part is open")
        prefix, name = _PARTS[opened.part["type"]]
        if kind == prefix + ".delta" and not opened.text_done:
            opened.texts.append(event["delta"])
        elif kind == "response.output_text.annotation.added" and name == "text" and not opened.text_done:
            if event["annotation_index"] != len(opened.part["annotations"]):
                raise Illegal("annotations are not numbered")
            opened.part["annotations"].append(event["annotation"])
        elif kind == prefix + ".done" and not opened.text_done:
            opened.text_done = True
            self._check_text(event[name], opened)
        elif kind == "response.content_part.done" and opened.text_done:
            self._check_text(event["part"][name], opened)
            if event["part"].get("annotations", []) != opened.part["annotations"]:
                raise Illegal("annotations differ")
            opened.parts.append(event["part"])
            opened.part = None
        else:
            raise Illegal(f"{kind} has no place here")

    def _in_reasoning(self, kind: str, event: dict[str, Any], opened: _Open) -> None:
        if event["summary_index"] != len(opened.parts):
            raise Illegal(f"{kind} of part {event['summary_index']}, due is {len(opened.parts)}")
        if kind == "response.reasoning_summary_part.added" and opened.part is None:
            opened.part, opened.texts, opened.text_done = event["part"], [], False
        elif opened.part is None:
            raise Illegal(f"{kind} while no part is open")
        elif kind == "response.reasoning_summary_text.delta" and not opened.text_done:
            opened.texts.append(event["delta"])
        elif kind == "response.reasoning_summary_text.done" and not opened.text_done:
            opened.text_done = True
            self._check_text(event["text"], opened)
        elif kind == "response.reasoning_summary_part.done" and opened.text_done:
            self._check_text(event["part"]["text"], opened)
            opened.parts.append(event["part"])
            opened.part = None
        else:
            raise Illegal(f"{kind} has no place here")

    def _in_call(self, kind: str, event: dict[str, Any], opened: _Open) -> None:
        prefix, name = _CALLS[opened.item["type"]]
        if kind == prefix + ".delta" and not opened.text_done:
            opened.texts.append(event["delta"])
        elif kind == prefix + ".done" and not opened.text_done:
            opened.text_done = True
            self._check_text(event[name], opened)
            if event.get("name", opened.item["name"]) != opened.item["name"]:
                raise Illegal("the call has another name in the end")
        else:
            raise Illegal(f"{kind} has no place here")

    def _check_text(self, text: str, opened: _Open) -> None:
        if text != "".join(opened.texts):
            raise Illegal(f"{text!r} is not what the deltas said: {opened.texts}")

    def _finish(self, event: dict[str, Any], opened: _Open) -> None:  # noqa: C901 - a state's rules, one after the other
        item = event["item"]
        if event["output_index"] != opened.index:
            raise Illegal("another item is done")
        if opened.part is not None:
            raise Illegal("an item is done while a part is open")
        for name in ("id", "type", "call_id", "name", "namespace", "role"):
            if item.get(name) != opened.item.get(name):
                raise Illegal(f"{name} differs")
        told = {"message": "content", "reasoning": "summary"}.get(item["type"])
        if told is not None and item[told] != opened.parts:
            raise Illegal("the parts of an item are not what its events said")
        if item["type"] in _CALLS:
            if not opened.text_done:
                raise Illegal("a call is done before its arguments are")
            self._check_text(item[_CALLS[item["type"]][1]], opened)
        if item.get("status") == "in_progress":
            raise Illegal("an item is done as in_progress")
        self.items.append(item)
        self._open = None


def check(data: bytes) -> dict[str, Any]:
    """The final response of a stream. Raises Illegal."""
    checker = Checker()
    for event in events_of(data):
        checker.feed(event)
    return checker.end()
