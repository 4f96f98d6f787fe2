"""Where an answer cites what a tool has found: `url_citation` annotations with the place of each mark in the text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ai_gateway.tools.tool import Citation, Result

# `[2]` where results are numbered, but no link of Markdown and no index of an array.
_NUMBER = re.compile(r"(?<![\w\]])\[(\d{1,3})\](?!\()")
# How a result begins a source that it names: its number among the result's own.
_SOURCE = re.compile(r"^\[(\d{1,3})\](?= )", re.MULTILINE)
_MOST = 500


@dataclass(frozen=True, slots=True)
class Cited:
    """A source that results of one request have named, under the number that the model knows it by."""

    number: int
    source: Citation


def annotations(text: str, cited: Sequence[Cited]) -> list[dict[str, Any]]:
    """What of the text cites a source, by its number in brackets, a link of Markdown, or its address, in order.

    Places count characters, the end is behind the last.
    """
    if not cited or not text:
        return []
    found: dict[int, tuple[int, Citation]] = {}
    numbered = {one.number: one.source for one in cited}
    for mark in _NUMBER.finditer(text):
        source = numbered.get(int(mark[1]))
        if source is not None:
            found[mark.start()] = mark.end(), source
    for source in {one.source.url: one.source for one in cited}.values():
        for start, end in _places(text, source.url):
            found.setdefault(start, (end, source))
    return [_annotation(start, *found[start]) for start in sorted(found)[:_MOST]]


def shifted(notes: Sequence[dict[str, Any]], by: int) -> list[dict[str, Any]]:
    """Annotations of a text as those of a longer one, in which so many characters stand before it."""
    return [_shifted(note, by) for note in notes]


def _shifted(note: dict[str, Any], by: int) -> dict[str, Any]:
    cited = note.get("url_citation")
    if not by or not isinstance(cited, dict):
        return note
    moved = {
        name: value + by for name, value in cited.items() if name in {"start_index", "end_index"} and type(value) is int
    }
    return {**note, "url_citation": {**cited, **moved}}


def renumbered(result: Result, before: int) -> Result:
    """The result with its sources, which begin a line each with their number in brackets, after so many others."""
    most = len(result.citations)

    def number(mark: re.Match[str]) -> str:
        own = int(mark[1])
        return f"[{own + before}]" if 1 <= own <= most else mark[0]

    return replace(result, text=_SOURCE.sub(number, result.text), first=before + 1)


def _places(text: str, url: str) -> list[tuple[int, int]]:
    """Where the address stands in the text by itself: with the link that it is the target of, if it is one."""
    places: list[tuple[int, int]] = []
    at = text.find(url) if url else -1
    while at >= 0 and len(places) < _MOST:
        end = at + len(url)
        if not _goes_on(text, end):
            opened = text.rfind("[", max(0, at - 300), at) if text[at - 2 : at] == "](" else -1
            is_link = opened >= 0 and text[end : end + 1] == ")"
            places.append((opened, end + 1) if is_link else (at, end))
        at = text.find(url, end)
    return places


def _goes_on(text: str, end: int) -> bool:
    """Whether what follows belongs to a longer address."""
    more = text[end : end + 1]
    return bool(more) and (more.isalnum() or more in "/?#&=%_-~") and not (more == "/" and not text[end + 1 : end + 2])


def _annotation(start: int, end: int, source: Citation) -> dict[str, Any]:
    cited = {"start_index": start, "end_index": end, "url": source.url, "title": source.title}
    return {"type": "url_citation", "url_citation": cited}
