"""The tokens that the usage of a response or a message counts, by class."""

from collections.abc import Mapping
from typing import Any

from ai_gateway.contract.tokens import Tokens

_MOST = 2**53 - 1  # the largest whole number that every reader of JSON keeps exactly (RFC 8259, section 6)

type _Fields = Mapping[str, Any]


def response_tokens(usage: object) -> Tokens | None:
    """The tokens by class of a response's `usage`; None if it has none, or impossible counts."""
    counts = _counts(usage)
    if counts is None or not isinstance(usage, dict):
        return None
    given, made = counts
    read, written = _part(usage, "input_tokens_details", "cached_tokens", "cache_write_tokens")
    (reasoning,) = _part(usage, "output_tokens_details", "reasoning_tokens")
    if read + written > given:  # if the parts exceed the total, they were counted separately
        given += read + written
    return Tokens(
        given - read - written,
        max(0, made - reasoning),
        cache_read=read,
        cache_write=written,
        reasoning=min(made, reasoning),
    )


def message_tokens(usage: object) -> Tokens | None:
    """The same for a message's `usage`, whose `input_tokens` exclude those of the cache."""
    counts = _counts(usage)
    if counts is None or not isinstance(usage, dict):
        return None
    given, made = counts
    read, written = (count_of(usage.get(f"cache_{name}_input_tokens")) for name in ("read", "creation"))
    (long,) = _part(usage, "cache_creation", "ephemeral_1h_input_tokens")
    (thought,) = _part(usage, "output_tokens_details", "thinking_tokens")
    (searches,) = _part(usage, "server_tool_use", "web_search_requests")
    long, thought = min(long, written), min(thought, made)
    return Tokens(
        given,
        made - thought,
        cache_read=read,
        cache_write=written - long,
        cache_write_1h=long,
        reasoning=thought,
        searches=searches,
    )


def _counts(usage: object) -> tuple[int, int] | None:
    """Input and output tokens; None if both are missing, or one is impossible."""
    if not isinstance(usage, dict):
        return None
    told = [usage.get("input_tokens"), usage.get("output_tokens")]
    given, made = (0 if value is None else value for value in told)
    if told == [None, None] or not (_is_count(given) and _is_count(made)):
        return None
    return given, made


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _part(usage: _Fields, name: str, *parts: str) -> list[int]:
    details = usage.get(name)
    return [count_of(details.get(part)) if isinstance(details, dict) else 0 for part in parts]


def count_of(value: object) -> int:
    """A count; 0 for what is none."""
    return value if type(value) is int and 0 < value <= _MOST else 0
