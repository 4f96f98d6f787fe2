"""What a check can come to: it passes, or it raises why not."""

from dataclasses import dataclass
from enum import StrEnum


class Failed(Exception):
    """The upstream does not do what the rule asks. `seen` may hold anything the upstream sent: cap it to show it."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.seen = seen


class Skipped(Exception):
    """There is nothing to judge, for example because the model refuses an option that is optional."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check's end, in words that may be shown. `expected` and `seen` are for a failure, `reason` for a skip."""

    id: str
    group: str
    title: str
    rule: str
    verdict: Verdict
    expected: str = ""
    seen: str = ""
    reason: str = ""
    seconds: float = 0
