"""What was used, summed up: in buckets of time, by what a reader wants to tell apart."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from ai_gateway.accounts.ledger import spans
from ai_gateway.accounts.ledger_rows import DAY, HOUR
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
_SLICE = 5_000


class Sum:
    """Calls that have something in common, all together. `cost` is that of those with a price."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers  # in the order of the columns: there may be many thousands of sums

    def __add__(self, other: "Sum") -> "Sum":
        return Sum([one + another for one, another in zip(self._numbers, other._numbers, strict=True)])

    @property
    def requests(self) -> int:
        return self._numbers[0]

    @property
    def errors(self) -> int:
        """Those that failed or broke off."""
        return self._numbers[1]

    @property
    def lost(self) -> int:
        """Those whose process ended before them."""
        return self._numbers[2]

    @property
    def estimated(self) -> int:
        """Those whose upstream has not told what it took."""
        return self._numbers[3]

    @property
    def unpriced(self) -> int:
        """Those without a price."""
        return self._numbers[4]

    @property
    def tokens(self) -> Tokens:
        return Tokens(*self._numbers[5:-1])  # whose fields are in the order of the columns

    @property
    def cost(self) -> int:
        return self._numbers[-1]


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


async def usage(store: Store, question: Question, most: int | None = None) -> list[Bucket]:
    """A bucket for each part of the time, empty ones too. Raises StoreError.

    After `most` sums or a few more the rest is left out. They are asked for in slices, between which others are served.
    """
    if question.width == WHOLE:
        return await _buckets(store, question)
    found: list[Bucket] = []
    sums, step, start = 0, 1, question.start
    while start < question.end and (most is None or sums < most):
        end = min(start + step * question.width, question.end)
        some = await _buckets(store, replace(question, start=start, end=end))
        found += some
        sums += sum(len(bucket.sums) for bucket in some)
        step = max(1, min(4 * step, _SLICE * len(found) // max(sums, 1)))
        start = end
    return found


async def _buckets(store: Store, question: Question) -> list[Bucket]:
    filtered = [*question.only, *(("model", "upstream_model") if question.models else ())]
    apart = [int(name in question.by or name in filtered) for name in DIMENSIONS]
    places = [1 + DIMENSIONS.index(name) for name in question.by]
    found: dict[int, dict[tuple[str, ...], Sum]] = {}
    for row in filter(_wanted(question), await _rows(store, question, apart)):
        sums = found.setdefault(question.start if question.width == WHOLE else cast("int", row[0]), {})
        of = cast("tuple[str, ...]", tuple([row[place] for place in places]))
        own = Sum(cast("Sequence[int]", row[1 + len(DIMENSIONS) :]))
        known = sums.get(of)
        sums[of] = own if known is None else known + own
    return [Bucket(start, end, dict(sorted(found.get(start, {}).items()))) for start, end in buckets(question)]


def buckets(question: Question) -> Iterator[tuple[int, int]]:
    """The parts of the time that is asked for."""
    if question.width == WHOLE:
        yield question.start, question.end
        return
    for start in range(question.start, question.end, question.width):
        yield start, start + question.width


async def _rows(store: Store, question: Question, apart: Sequence[int]) -> Sequence[Row]:
    """Sums by time, of the largest widths that fit; minutes have none ready."""
    start, end = question.start, min(question.end, int(time.time()) + DAY)
    if question.width == MINUTE:
        return await store.fetch(SUMS_OF_RECORDS, start * 1000, end * 1000, *apart)
    rows: list[Row] = []
    for width, first, last in [(HOUR, start, end)] if question.width == HOUR else spans(start, end):
        rows += await store.fetch(SUMS_OF_ROLLUPS, width, first, last, *apart)
    return rows


def _wanted(question: Question) -> Callable[[Row], bool]:
    """What keeps the rows that are asked for."""
    only = [(1 + DIMENSIONS.index(name), allowed) for name, allowed in question.only.items()]
    called, upstream = (1 + DIMENSIONS.index(name) for name in ("model", "upstream_model"))
    models = question.models

    def wanted(row: Row) -> bool:
        if models and row[called] not in models and row[upstream] not in models:
            return False
        return all(row[place] in allowed for place, allowed in only)

    return wanted
