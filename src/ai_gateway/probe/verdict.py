"""The verdict of a check: it passes, or raises the reason why not."""

from dataclasses import dataclass
from enum import StrEnum


class Failed(Exception):
    """The upstream violates the rule. `seen` may contain anything that the upstream sent: truncate it to show it."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.seen = seen


class Skipped(Exception):
    """There is nothing to check, for example because the model rejects an optional feature."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Verdict(StrEnum):
    """The result of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check with its verdict, fit to be shown. `expected` and `seen` are set for a failure, `reason` for a skip."""

    id: str
    group: str
    title: str
    rule: str
    verdict: Verdict
    expected: str = ""
    seen: str = ""
    reason: str = ""
    seconds: float = 0
