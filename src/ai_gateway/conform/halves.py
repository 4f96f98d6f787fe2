"""Surrogate pairs that an upstream splits: one half ends a chunk, the other begins the next."""

from collections.abc import Iterator
from typing import Any

from ai_gateway.contract.lenient_json import is_high_half

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal", "text")


class Halves:
    """The pending high surrogates of one stream, by their place."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[object, ...], str] = {}

    def join(self, chunk: object) -> bool:
        """Prepend pending halves to the next text, and hold back one at a text's end; returns whether any was."""
        changed = False
        for holder, name, place in _texts(chunk):
            text = self._waiting.pop(place, "") + holder[name] if holder[name] else ""
            if text and is_high_half(text[-1]):
                self._waiting[place], text = text[-1], text[:-1]
            if text != holder[name]:
                # Adjacent surrogates become one character by encoding to UTF-16.
                holder[name] = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
                changed = True
        return changed


def _texts(chunk: object) -> Iterator[tuple[dict[str, Any], str, tuple[object, ...]]]:
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        delta = choice.get("delta", choice)
        if not isinstance(delta, dict):
            continue
        index = str(choice.get("index"))
        yield from ((delta, name, (index, name)) for name in _TEXTS if isinstance(delta.get(name), str))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                yield function, "arguments", (index, str(call.get("index")))
