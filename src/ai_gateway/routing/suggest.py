"""Names that look like the one that was asked for."""

import difflib
from collections.abc import Iterable
from itertools import islice

# Comparing is quadratic, and what is asked for is the caller's: beyond these sizes nobody mistypes a name.
_LONGEST = 100
_MOST = 1_000


def close_matches(asked: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known ids; the provider in front of an id need not have been typed."""
    if len(asked) > _LONGEST:
        return []
    by_name: dict[str, str] = {}
    for name in islice(known, _MOST):
        by_name[name.lower()] = name
        by_name.setdefault(name.lower().partition("/")[2] or name.lower(), name)
    found = difflib.get_close_matches(asked.lower(), by_name, n=3)
    return list(dict.fromkeys(by_name[name] for name in found))
