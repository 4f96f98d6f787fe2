"""Events that end what a streamed response has begun, where its upstream leaves them out.

Codex takes an item for said when it is done, and SDKs complete a part when it is (OpenAI's "Streaming events"). Each of
these events repeats what it ends, so that the next one that comes, at the latest that of the response, has all of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ai_gateway.conform.response_so_far import DONE, GIVEN, KINDS_OF_PARTS, PART_EVENTS, PARTS

type _Fields = Mapping[str, Any]
type _Key = tuple[str, int]

# Items whose arguments have an event of their own, whatever else comes: its prefix.
_ARGUMENTS: Final = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
    "mcp_call": "response.mcp_call_arguments",
}
_ADDED: Final = "response.output_item.added"
WHOLE: Final = frozenset({"response.completed", "response.incomplete"})
_EVENTS_OF_PARTS: Final = {stem: at for at, stem in PART_EVENTS.items()}


@dataclass(slots=True)
class _OpenItem:
    """An item that is not done: its parts that are not, each with whether its text is, and the ended arguments."""

    item: _Fields
    parts: dict[_Key, bool] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)


class OpenItems:
    """The items of one response that have been added and are not done. It is fed every event but those of deltas."""

    def __init__(self) -> None:
        self._items: dict[int, _OpenItem] = {}

    def missing(self, name: str, value: _Fields) -> list[dict[str, Any]]:
        """The events that should have come before this one, without sequence numbers."""
        index = value.get("output_index")
        if isinstance(index, int):
            return [*self._of_item(name, index, value)]
        response = value.get("response")
        if name not in WHOLE or not self._items or not isinstance(response, dict):
            return []
        return [*self._of_response(response)]

    def _of_response(self, response: _Fields) -> Iterator[dict[str, Any]]:
        output = response.get("output")
        items = [each for each in output if isinstance(each, dict)] if isinstance(output, list) else []
        by_id = {each["id"]: each for each in items if isinstance(each.get("id"), str)}
        for index in sorted(self._items):
            opened = self._items[index].item
            item = by_id.get(str(opened.get("id")))
            if item is None and index < len(items) and items[index].get("type") == opened.get("type"):
                item = items[index]
            if item is not None:  # what nothing repeats is not known whole
                event = {"type": DONE, "output_index": index, "item": item}
                yield from self._of_item(DONE, index, event)
                yield event

    def _of_item(self, name: str, index: int, value: _Fields) -> Iterator[dict[str, Any]]:
        item = value.get("item")
        if name == _ADDED and isinstance(item, dict):
            self._items[index] = _OpenItem(item)
        elif (opened := self._items.get(index)) is None:
            return
        elif name == DONE:
            del self._items[index]
            if isinstance(item, dict):
                yield from _ends(opened, index, item)
        else:
            yield from _of_part(opened, index, name, value)


def _of_part(opened: _OpenItem, index: int, name: str, value: _Fields) -> Iterator[dict[str, Any]]:
    stem, _, what = name.rpartition(".")
    part = value.get("part")
    if (at := _EVENTS_OF_PARTS.get(stem)) is not None and isinstance(part, dict):
        key = at, _number(value.get("content_index" if at == "content" else "summary_index"))
        if what == "added":
            opened.parts[key] = False
        elif what == "done" and opened.parts.pop(key, None) is False:
            yield from _text_done(_place(opened, index, value), key, part)
    elif what != "done":
        return
    elif stem in PARTS:
        at, number, _ = PARTS[stem]
        key = at, _number(value.get(number))
        if key in opened.parts:
            opened.parts[key] = True
    elif stem in GIVEN:
        opened.given.add(stem)


def _ends(opened: _OpenItem, index: int, item: _Fields) -> Iterator[dict[str, Any]]:
    """The events that should have come before the item was done."""
    place = _place(opened, index, {"item_id": item.get("id")})
    for (at, number), has_text in sorted(opened.parts.items()):
        parts = item.get(at)
        part = parts[number] if isinstance(parts, list) and 0 <= number < len(parts) else None
        if isinstance(part, dict):
            if not has_text:
                yield from _text_done(place, (at, number), part)
            where = {("content_index" if at == "content" else "summary_index"): number}
            yield {"type": f"{PART_EVENTS[at]}.done", **place, **where, "part": part}
    stem = _ARGUMENTS.get(str(item.get("type")))
    if stem is not None and stem not in opened.given and isinstance(value := item.get(GIVEN[stem]), str):
        named = {"name": item.get("name")} if item["type"] == "function_call" else {}
        yield {"type": f"{stem}.done", **place, **named, GIVEN[stem]: value}


def _text_done(place: dict[str, Any], key: _Key, part: _Fields) -> Iterator[dict[str, Any]]:
    stem = KINDS_OF_PARTS.get(str(part.get("type")))
    if stem is None or PARTS[stem][0] != key[0]:
        return
    _, number, name = PARTS[stem]
    more = {"logprobs": part.get("logprobs") or []} if stem == "response.output_text" else {}
    yield {"type": f"{stem}.done", **place, number: key[1], name: part.get(name) or "", **more}


def _place(opened: _OpenItem, index: int, value: _Fields) -> dict[str, Any]:
    """Where the events of an item are: the id that it was added with."""
    return {"item_id": opened.item.get("id") or value.get("item_id"), "output_index": index}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
