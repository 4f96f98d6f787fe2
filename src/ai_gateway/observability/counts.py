"""What was mended and what was left out, counted for each provider: the hooks that metrics read."""

from collections import Counter

_REPAIRS: Counter[tuple[str, str]] = Counter()
_DROPPED: Counter[tuple[str, str]] = Counter()


def count_repair(provider: str, rule: str) -> None:
    """One more application of a rule to a reply or chunk."""
    _REPAIRS[provider, rule] += 1


def count_dropped(provider: str, field: str) -> None:
    """One more request whose field had no effect.

    Fields that no contract names count as `other`: callers choose them, and a counter for each would grow without end.
    """
    _DROPPED[provider, field] += 1


def repair_counts() -> dict[tuple[str, str], int]:
    """Applications so far, by provider and rule."""
    return dict(_REPAIRS)


def dropped_counts() -> dict[tuple[str, str], int]:
    """Requests so far, by provider and field."""
    return dict(_DROPPED)
