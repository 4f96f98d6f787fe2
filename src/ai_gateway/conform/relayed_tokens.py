"""The tokens that the usage of a response or a message counts, by class."""

from collections.abc import Mapping
from typing import Any

from ai_gateway.contract.tokens import Tokens, quickly

_MAX = 2**53 - 1  # the largest whole number that every reader of JSON keeps exactly (RFC 8259, section 6)

_NONE_ELSE = Tokens()[2:]
# Fields of a message's usage that count beside input and output.
_OF_MESSAGES = frozenset({
    "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "output_tokens_details",
    "server_tool_use",
})  # fmt: skip

type _Fields = Mapping[str, Any]


def response_tokens(usage: object) -> Tokens | None:
    """The tokens by class of a response's `usage`; None if it has none, or impossible counts."""
    counts = _counts(usage)
    if counts is None or not isinstance(usage, dict):
        return None
    given, made = counts
    if not (usage.get("input_tokens_details") or usage.get("output_tokens_details")):
        return quickly(Tokens, (given, made, *_NONE_ELSE))
    read = _part(usage, "input_tokens_details", "cached_tokens")
    written = _part(usage, "input_tokens_details", "cache_write_tokens")
    reasoning = _part(usage, "output_tokens_details", "reasoning_tokens")
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
    if _OF_MESSAGES.isdisjoint(usage):
        return quickly(Tokens, (given, made, *_NONE_ELSE))
    read = count_of(usage.get("cache_read_input_tokens"))
    written = count_of(usage.get("cache_creation_input_tokens"))
    long = min(_part(usage, "cache_creation", "ephemeral_1h_input_tokens"), written)
    thought = min(_part(usage, "output_tokens_details", "thinking_tokens"), made)
    return Tokens(
        given,
        made - thought,
        cache_read=read,
        cache_write=written - long,
        cache_write_1h=long,
        reasoning=thought,
        searches=_part(usage, "server_tool_use", "web_search_requests"),
    )


def _counts(usage: object) -> tuple[int, int] | None:
    """Input and output tokens; None if both are missing, or one is impossible."""
    if not isinstance(usage, dict):
        return None
    given, made = usage.get("input_tokens"), usage.get("output_tokens")
    if given is None and made is None:
        return None
    given, made = 0 if given is None else given, 0 if made is None else made
    return (given, made) if _is_count(given) and _is_count(made) else None


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX


def _part(usage: _Fields, name: str, part: str) -> int:
    details = usage.get(name)
    return count_of(details.get(part)) if isinstance(details, dict) else 0


def count_of(value: object) -> int:
    """A count; 0 for what is none."""
    return value if type(value) is int and 0 < value <= _MAX else 0
