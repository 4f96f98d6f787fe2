"""Content in parts, where the contract has one text: the text in each kind of part, and its field."""

from collections.abc import Sequence
from typing import Any

type Object = dict[str, Any]

# The field with a part's text, and the message's field that it belongs to. A part without a type is text.
_KINDS: dict[str | None, tuple[str, str]] = {
    None: ("text", "content"),
    "text": ("text", "content"),
    "output_text": ("text", "content"),  # OpenAI's Responses
    "refusal": ("refusal", "refusal"),  # OpenAI's own, in requests
    "thinking": ("thinking", "reasoning_content"),  # docs.mistral.ai "Reasoning"; docs.anthropic.com "Thinking"
    "reasoning": ("text", "reasoning_content"),
    "reasoning_text": ("text", "reasoning_content"),  # OpenAI's Responses
    "summary_text": ("text", "reasoning_content"),
}
# Fields that a part may have beside its text, and that can be dropped without losing content.
_PLAIN = frozenset({"type", "index", "closed"})  # `closed`: `ThinkChunk` of mistralai/client-ts
_REST = "other_blocks"


def join_parts(message: Object) -> bool:
    """Join a message's content in parts to one text; returns whether it was in parts.

    Thinking becomes `reasoning_content`. Parts with more than a text, or without one, are kept unchanged in
    `other_blocks`, like those of other wires.
    """
    content = message.get("content")
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list) or not all(isinstance(part, dict | str) for part in parts):
        return False
    texts: dict[str, list[str]] = {"content": []}
    rest: list[Object] = []
    for part in parts:
        known, kept = _read(part)
        if known is not None:
            texts.setdefault(known[0], []).append(known[1])
        if kept is not None:
            rest.append(kept)
    message["content"] = "".join(texts.pop("content")) or (None if rest or texts else "")
    for name, pieces in texts.items():
        before = message.get(name)
        message[name] = (before if isinstance(before, str) else "") + "".join(pieces)
    if rest:
        others = message.get(_REST)
        message[_REST] = [*(others if isinstance(others, list) else ()), *rest]
    return True


def _read(part: Object | str) -> tuple[tuple[str, str] | None, Object | None]:
    """The message's field for the part's text, and the text; and the part itself, if it has more than that."""
    if isinstance(part, str):
        return ("content", part), None
    kind = part.get("type")
    name, field = _KINDS.get(kind, ("", "")) if kind is None or isinstance(kind, str) else ("", "")
    text = _text(part.get(name)) if name else None
    if text is None:
        return None, part
    more = any(value for key, value in part.items() if key not in _PLAIN and key != name)
    return (field, text), part if more else None


def _text(value: object) -> str | None:
    """A text, which may itself be in parts, as Mistral's thinking is."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or not value:
        return None
    texts = [part.get("text") if isinstance(part, dict) else part for part in value]
    known = [text for text in texts if isinstance(text, str)]
    return "".join(known) if len(known) == len(texts) else None
