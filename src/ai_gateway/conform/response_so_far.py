"""The state of a response, reconstructed from its events, to end one whose process has died.

An open item is kept as incomplete: with its texts so far, and the events that end its parts. Items of kinds that cannot
be incomplete, or have no content before they are done, are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

type _Fields = dict[str, Any]

# Texts of parts, by the prefix of their events: the list, the name of the index in it, and the part's field.
PARTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("content", "content_index", "refusal"),
    "response.reasoning_text": ("content", "content_index", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "text"),
}
PART_EVENTS: Final = {"content": "response.content_part", "summary": "response.reasoning_summary_part"}
KINDS_OF_PARTS: Final = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
    "summary_text": "response.reasoning_summary_text",
}
# Arguments of calls, by the prefix of their events.
GIVEN: Final[Mapping[str, str]] = {
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.mcp_call_arguments": "arguments",
    "response.code_interpreter_call_code": "code",
}
# The status of an unfinished item by its type; None for types without a status (OpenAI's document).
_CUT: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(
        ("message", "reasoning", "function_call", "file_search_call", "code_interpreter_call"), "incomplete"
    ),
    **dict.fromkeys(("mcp_call", "computer_call", "local_shell_call", "shell_call"), "incomplete"),
    **dict.fromkeys(("web_search_call", "image_generation_call"), "failed"),
    "custom_tool_call": None,
}
# Events after which an item has its whole content.
_FOUND: Final = frozenset({"response.web_search_call.completed", "response.file_search_call.completed"})
DONE: Final = "response.output_item.done"


@dataclass(slots=True)
class _Part:
    fields: _Fields
    stem: str
    texts: list[str] = field(default_factory=list)
    annotations: list[Any] = field(default_factory=list)
    text_done: bool = False
    done: bool = False

    @property
    def current(self) -> _Fields:
        """The part so far."""
        if self.done:
            return self.fields
        cited = {"annotations": self.annotations} if self.annotations else {}
        return {**self.fields, PARTS[self.stem][2]: "".join(self.texts), **cited}


@dataclass(slots=True)
class _Open:
    """An open item, from its events."""

    item: _Fields
    parts: dict[tuple[str, int], _Part] = field(default_factory=dict)
    given: dict[str, list[str]] = field(default_factory=dict)
    given_done: set[str] = field(default_factory=set)
    found: bool = False

    def event(self, name: str, value: Mapping[str, Any]) -> None:
        stem, _, what = name.rpartition(".")
        self.found = self.found or name in _FOUND
        if stem in PARTS:
            self._text(stem, what, value)
        elif stem in GIVEN:
            self._give(stem, what, value)
        elif (at := next((each for each, own in PART_EVENTS.items() if own == stem), None)) is not None:
            self._part(at, what, value)
        elif name == "response.output_text.annotation.added" and (part := self._known("content", value)) is not None:
            part.annotations.append(value.get("annotation"))

    def _known(self, at: str, value: Mapping[str, Any]) -> _Part | None:
        return self.parts.get((at, _place(value, "content_index" if at == "content" else "summary_index")))

    def _text(self, stem: str, what: str, value: Mapping[str, Any]) -> None:
        at, index, name = PARTS[stem]
        part = self.parts.setdefault((at, _place(value, index)), _Part(_empty(stem), stem))
        if what == "delta" and isinstance(value.get("delta"), str):
            part.texts.append(value["delta"])
        elif what == "done" and isinstance(value.get(name), str):
            part.texts, part.text_done = [value[name]], True

    def _part(self, at: str, what: str, value: Mapping[str, Any]) -> None:
        part = value.get("part")
        stem = KINDS_OF_PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
        if not isinstance(part, dict) or stem is None:
            return
        key = (at, _place(value, PARTS[stem][1]))
        self.parts[key] = _Part(dict(part), stem, done=what == "done")

    def _give(self, stem: str, what: str, value: Mapping[str, Any]) -> None:
        name = GIVEN[stem]
        if what == "delta" and isinstance(value.get("delta"), str):
            self.given.setdefault(stem, []).append(value["delta"])
        elif what == "done" and isinstance(value.get(name), str):
            self.given[stem] = [value[name]]
            self.given_done.add(stem)

    def cut(self, index: int) -> Iterator[_Fields]:
        """The events that end the item, and set `item` to its final form."""
        place = {"item_id": self.item.get("id"), "output_index": index}
        for (at, number), part in sorted(self.parts.items()):
            current, name = part.current, PARTS[part.stem][2]
            if not part.done:
                where = {**place, PARTS[part.stem][1]: number}
                if not part.text_done:
                    more: _Fields = {"logprobs": []} if part.stem == "response.output_text" else {}
                    yield {"type": f"{part.stem}.done", **where, name: current[name], **more}
                yield {"type": f"{PART_EVENTS[at]}.done", **where, "part": current}
        for at in {at for at, _ in self.parts}:
            self.item[at] = [part.current for (where, _), part in sorted(self.parts.items()) if where == at]
        for stem, texts in self.given.items():
            self.item[GIVEN[stem]] = "".join(texts)
        yield from self._given_end(place)
        status = _CUT[str(self.item["type"])]
        if status is not None:
            self.item["status"] = "completed" if self.found else status
        yield {"type": DONE, "output_index": index, "item": self.item}

    def _given_end(self, place: _Fields) -> Iterator[_Fields]:
        kind = self.item["type"]
        for stem, name in GIVEN.items():
            if not stem.startswith(f"response.{kind}_") or stem in self.given_done:
                continue
            named = {"name": self.item.get("name")} if kind == "function_call" else {}
            yield {"type": f"{stem}.done", **place, **named, name: self.item.get(name) or ""}


class SoFar:
    """Feed it the events of one response. `response` is the one in the latest event that has it."""

    def __init__(self) -> None:
        self.response: _Fields = {}
        self._done: dict[int, Any] = {}
        self._open: dict[int, _Open] = {}

    def feed(self, value: Mapping[str, Any]) -> None:
        """The next event."""
        name, response = str(value.get("type")), value.get("response")
        if isinstance(response, dict):
            self.response = response
        if not isinstance(index := value.get("output_index"), int):
            return
        item = value.get("item")
        if name == "response.output_item.added" and isinstance(item, dict):
            self._open[index] = _Open(dict(item))
        elif name == DONE:
            self._open.pop(index, None)
            self._done[index] = item
        elif index in self._open:
            self._open[index].event(name, value)

    def cut(self) -> list[_Fields]:
        """The events that end the open items, without sequence numbers; the items become part of `output`."""
        events: list[_Fields] = []
        for index, each in sorted(self._open.items()):
            if str(each.item.get("type")) in _CUT:
                events += each.cut(index)
                self._done[index] = each.item
        self._open.clear()
        return events

    @property
    def output(self) -> list[Any]:
        """The finished items."""
        return [self._done[index] for index in sorted(self._done)]


def _place(value: Mapping[str, Any], name: str) -> int:
    at = value.get(name)
    return at if isinstance(at, int) else 0


def _empty(stem: str) -> _Fields:
    """A part without an `added` event."""
    kind = next(kind for kind, own in KINDS_OF_PARTS.items() if own == stem)
    more: _Fields = {"annotations": [], "logprobs": []} if kind == "output_text" else {}
    return {"type": kind, PARTS[stem][2]: "", **more}
