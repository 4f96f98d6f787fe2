"""Fields of a chat request that the Responses API has no place for, in messages, parts, calls and tools."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

type Fields = Mapping[str, Any]

REASONING: Final = "reasoning_items"
CACHE_MARK: Final = "prompt_cache_breakpoint"
_THOUGHT: Final = frozenset({REASONING, "reasoning_content", "reasoning"})  # contained in reasoning items
_OF_MESSAGES: Final = {
    "assistant": frozenset({"content", "refusal", "tool_calls", "function_call"}),
    "tool": frozenset({"content", "tool_call_id"}),
    "function": frozenset({"content", "name"}),
}
_OF_PARTS: Final = {
    "text": frozenset({"text", CACHE_MARK}),
    "refusal": frozenset({"refusal"}),
    "image_url": frozenset({"image_url", CACHE_MARK}),
    "file": frozenset({"file", CACHE_MARK}),
}
_FUNCTION: Final = frozenset({"name", "arguments"})


def lost_fields(chat: Fields) -> Iterator[str]:
    """The names of the lost fields, possibly repeated."""
    yield from _more(chat.get("stream_options"), "stream_options", {"include_usage"})
    for tool in chat.get("tools") or ():
        if (kind := tool.get("type") or "function") in {"function", "custom"}:
            yield from _more(tool, "tools", {kind})
    for message in chat["messages"]:
        role, content = message["role"], message.get("content")
        known = _OF_MESSAGES.get(role, frozenset({"content"}))
        thought = _THOUGHT if role == "assistant" and _is_thought(message.get(REASONING)) else frozenset()
        yield from _more(message, "messages", known | {"role"} | thought)
        for part in content if isinstance(content, list) else ():
            yield from _of_part(part)
        for call in message.get("tool_calls") or ():
            yield from _more(call, "messages.tool_calls", {"id", "index", "function", "custom"})
            yield from _more(call.get("function"), "messages.tool_calls.function", _FUNCTION)


def _is_thought(items: object) -> bool:
    return isinstance(items, list) and any(isinstance(item, Mapping) for item in items)


def _of_part(part: Fields) -> Iterator[str]:
    if (known := _OF_PARTS.get(part["type"])) is None:
        return  # sent unchanged
    yield from _more(part, "messages.content", known)
    if part["type"] == "image_url":
        yield from _more(part["image_url"], "messages.content.image_url", {"url", "detail"})


def _more(value: object, place: str, known: Collection[str]) -> Iterator[str]:
    """The nonempty fields other than the known ones and the type."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name not in known and name != "type" and each not in (None, "", [], {}, False):
                yield f"{place}.{name}"
