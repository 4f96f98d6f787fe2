"""What was used, summed up: in buckets of time, by what a reader wants to tell apart."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ai_gateway.accounts.ledger import DAY, HOUR, TOKENS, spans
from ai_gateway.accounts.ledger_statements import SUMS_OF_RECORDS, SUMS_OF_ROLLUPS
from ai_gateway.accounts.store.base import Row, Store
from ai_gateway.contract.call import Tokens

type Dimension = Literal["project_id", "key_id", "model", "upstream_model", "provider", "operation", "service_tier"]
DIMENSIONS: Sequence[Dimension] = (
    *("project_id", "key_id", "model", "upstream_model", "provider", "operation", "service_tier"),
)
"""In the order of the columns. Of a key, and a tier, that was none there is an empty text."""
MINUTE = 60
WHOLE = 0
"""The width of a bucket that is as long as the time that is asked for."""


@dataclass(slots=True)
class Sum:
    """Calls that have something in common, all together. `cost` is that of those with a price."""

    requests: int = 0
    errors: int = 0
    lost: int = 0
    estimated: int = 0
    unpriced: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost: int = 0

    def add(self, numbers: Sequence[int]) -> None:
        """Add what a row of the sums has, in the order of its columns."""
        self.requests += numbers[0]
        self.errors += numbers[1]
        self.lost += numbers[2]
        self.estimated += numbers[3]
        self.unpriced += numbers[4]
        self.tokens = self.tokens.plus(Tokens(**dict(zip(TOKENS, numbers[5:-1], strict=True))))
        self.cost += numbers[-1]

    def merge(self, other: "Sum") -> None:
        """Add what another one has."""
        self.requests += other.requests
        self.errors += other.errors
        self.lost += other.lost
        self.estimated += other.estimated
        self.unpriced += other.unpriced
        self.tokens = self.tokens.plus(other.tokens)
        self.cost += other.cost


@dataclass(frozen=True, slots=True)
class Bucket:
    """A part of the time, and its sums by the values of what was asked for, in order."""

    start: int
    end: int
    sums: Mapping[tuple[str, ...], Sum]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: from when to when, in buckets of so many seconds, told apart by these, and only where these fit.

    Times are seconds, and whole hours unless buckets are minutes.
    """

    start: int
    end: int
    width: int
    by: Sequence[Dimension] = ()
    only: Mapping[Dimension, Collection[str]] = field(default_factory=dict)
    models: Collection[str] = ()
    """As they are called upstream, or here."""


async def usage(store: Store, question: Question) -> list[Bucket]:
    """A bucket for each part of the time, empty ones too. Raises StoreError."""
    filtered = [*question.only, *(("model", "upstream_model") if question.models else ())]
    apart = [int(name in question.by or name in filtered) for name in DIMENSIONS]
    places = [DIMENSIONS.index(name) for name in question.by]
    found: dict[int, dict[tuple[str, ...], Sum]] = {}
    for at, values, numbers in await _rows(store, question, apart):
        if not _wanted(question, values):
            continue
        start = question.start if question.width == WHOLE else at
        of = tuple(str(values[place]) for place in places)
        found.setdefault(start, {}).setdefault(of, Sum()).add(numbers)
    return [Bucket(start, end, dict(sorted(found.get(start, {}).items()))) for start, end in buckets(question)]


def buckets(question: Question) -> Iterator[tuple[int, int]]:
    """The parts of the time that is asked for."""
    if question.width == WHOLE:
        yield question.start, question.end
        return
    for start in range(question.start, question.end, question.width):
        yield start, start + question.width


async def _rows(
    store: Store, question: Question, apart: Sequence[int]
) -> Iterator[tuple[int, Sequence[str | None], Sequence[int]]]:
    """Sums by time, of the largest widths that fit; minutes have none ready."""
    start, end = question.start, min(question.end, int(time.time()) + DAY)
    if question.width == MINUTE:
        return map(_read, await store.fetch(SUMS_OF_RECORDS, start * 1000, end * 1000, *apart))
    rows: list[Row] = []
    for width, first, last in [(HOUR, start, end)] if question.width == HOUR else spans(start, end):
        rows += await store.fetch(SUMS_OF_ROLLUPS, width, first, last, *apart)
    return map(_read, rows)


def _read(row: Row) -> tuple[int, Sequence[str | None], Sequence[int]]:
    at, *others = row
    names, numbers = others[: len(DIMENSIONS)], others[len(DIMENSIONS) :]
    return int(at or 0), [None if name is None else str(name) for name in names], [int(each or 0) for each in numbers]


def _wanted(question: Question, values: Sequence[str | None]) -> bool:
    named = dict(zip(DIMENSIONS, values, strict=True))
    if question.models and named["model"] not in question.models and named["upstream_model"] not in question.models:
        return False
    return all(named[name] in allowed for name, allowed in question.only.items())
