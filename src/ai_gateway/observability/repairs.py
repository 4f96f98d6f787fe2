"""How often a provider's replies had to be mended, and how: the hook that metrics read."""

from collections import Counter

_COUNTS: Counter[tuple[str, str]] = Counter()


def count_repair(provider: str, rule: str) -> None:
    """One more application of a rule."""
    _COUNTS[provider, rule] += 1


def repair_counts() -> dict[tuple[str, str], int]:
    """Applications so far, by provider and rule."""
    return dict(_COUNTS)
