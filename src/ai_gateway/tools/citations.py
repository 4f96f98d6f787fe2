"""Citations of tool results in an answer: `url_citation` annotations with their positions in the text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ai_gateway.tools.tool import Citation, Result

# `[2]` for numbered results, but not a Markdown link or an array index.
_NUMBER = re.compile(r"(?<![\w\]])\[(\d{1,3})\](?!\()")
# The beginning of a source in a result: its number within the result.
_SOURCE = re.compile(r"^\[(\d{1,3})\](?= )", re.MULTILINE)
_MAX_CITATIONS = 500


@dataclass(frozen=True, slots=True)
class Cited:
    """A source in the results of one request, with the number shown to the model."""

    number: int
    source: Citation


def annotations(text: str, cited: Sequence[Cited]) -> list[dict[str, Any]]:
    """The citations in the text, by number in brackets, Markdown link, or URL, in order.

    Positions count characters; the end is exclusive.
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
    return [_annotation(start, *found[start]) for start in sorted(found)[:_MAX_CITATIONS]]


def shifted(notes: Sequence[dict[str, Any]], by: int) -> list[dict[str, Any]]:
    """Annotations with positions shifted by so many characters."""
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
    """The result with its sources renumbered after so many others."""
    most = len(result.citations)

    def number(mark: re.Match[str]) -> str:
        own = int(mark[1])
        return f"[{own + before}]" if 1 <= own <= most else mark[0]

    return replace(result, text=_SOURCE.sub(number, result.text), first=before + 1)


def _places(text: str, url: str) -> list[tuple[int, int]]:
    """The occurrences of a URL in the text, including the Markdown link around it."""
    places: list[tuple[int, int]] = []
    at = text.find(url) if url else -1
    while at >= 0 and len(places) < _MAX_CITATIONS:
        end = at + len(url)
        if not _goes_on(text, end):
            opened = text.rfind("[", max(0, at - 300), at) if text[at - 2 : at] == "](" else -1
            is_link = opened >= 0 and text[end : end + 1] == ")"
            places.append((opened, end + 1) if is_link else (at, end))
        at = text.find(url, end)
    return places


def _goes_on(text: str, end: int) -> bool:
    """Whether the URL continues behind this position."""
    more = text[end : end + 1]
    return bool(more) and (more.isalnum() or more in "/?#&=%_-~") and not (more == "/" and not text[end + 1 : end + 2])


def _annotation(start: int, end: int, source: Citation) -> dict[str, Any]:
    cited = {"start_index": start, "end_index": end, "url": source.url, "title": source.title}
    return {"type": "url_citation", "url_citation": cited}
