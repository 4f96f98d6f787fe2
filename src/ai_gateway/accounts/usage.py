"""Sums of usage: in time buckets, grouped by dimensions."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, Self, cast

from ai_gateway.accounts import latency_statements
from ai_gateway.accounts.latency import Latency, by_minute
from ai_gateway.accounts.ledger import spans
from ai_gateway.accounts.ledger_rows import DAY, HOUR
from ai_gateway.accounts.ledger_statements import SUMS_OF_RECORDS, SUMS_OF_ROLLUPS
from ai_gateway.accounts.store.base import Row, Store
from ai_gateway.contract.tokens import Tokens

type Dimension = Literal["project_id", "key_id", "model", "upstream_model", "provider", "operation", "service_tier"]
DIMENSIONS: Sequence[Dimension] = (
    *("project_id", "key_id", "model", "upstream_model", "provider", "operation", "service_tier"),
)
"""The dimensions, in the order of the columns. No key, and no tier, is an empty string."""
MINUTE = 60
WHOLE = 0
"""The width of a single bucket for the whole time."""
_SLICE = 5_000


class Sum:
    """The sum of a group of calls. `cost` is that of those with a price."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers  # a tuple in the order of the columns, since there may be many thousands of sums

    def __add__(self, other: "Sum") -> "Sum":
        return Sum([one + another for one, another in zip(self._numbers, other._numbers, strict=True)])

    @property
    def requests(self) -> int:
        return self._numbers[0]

    @property
    def errors(self) -> int:
        """The calls that failed or broke off."""
        return self._numbers[1]

    @property
    def lost(self) -> int:
        """The calls whose process died."""
        return self._numbers[2]

    @property
    def estimated(self) -> int:
        """The calls without usage of the upstream."""
        return self._numbers[3]

    @property
    def unpriced(self) -> int:
        """The calls without a price."""
        return self._numbers[4]

    @property
    def tokens(self) -> Tokens:
        return Tokens(*self._numbers[5:-3])  # fields in the order of the columns

    @property
    def searching(self) -> int:
        """The calls with web searches of the upstream."""
        return self._numbers[-3]

    @property
    def search_cost(self) -> int:
        """The part of the cost for searches."""
        return self._numbers[-2]

    @property
    def cost(self) -> int:
        return self._numbers[-1]


class Addable(Protocol):
    """A value from the numbers of a row, which can be added."""

    def __init__(self, numbers: Sequence[int], /) -> None: ...
    def __add__(self, other: Self, /) -> Self: ...


@dataclass(frozen=True, slots=True)
class Bucket[Summed]:
    """A time bucket, and its sums by the values of the grouping dimensions."""

    start: int
    end: int
    sums: Mapping[tuple[str, ...], Summed]


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A query: start and end, width of buckets in seconds, grouping dimensions, and filters.

    Times are seconds, and whole hours unless buckets are minutes.
    """

    start: int
    end: int
    width: int
    by: Sequence[Dimension] = ()
    only: Mapping[Dimension, Collection[str]] = field(default_factory=dict)
    models: Collection[str] = ()
    """Model names, upstream's or the gateway's."""


async def usage(store: Store, question: UsageQuery, most: int | None = None) -> list[Bucket[Sum]]:
    """All buckets, including empty ones. Raises StoreError.

    After about `most` sums the rest is left out. The query runs in slices, between which other tasks run.
    """
    return await _sliced(store, question, _usage, most)


async def _sliced[Summed](
    store: Store,
    question: UsageQuery,
    answer: Callable[[Store, UsageQuery], Awaitable[list[Bucket[Summed]]]],
    most: int | None = None,
) -> list[Bucket[Summed]]:
    if question.width == WHOLE:
        return await answer(store, question)
    found: list[Bucket[Summed]] = []
    sums, step, start = 0, 1, question.start
    while start < question.end and (most is None or sums < most):
        end = min(start + step * question.width, question.end)
        some = await answer(store, replace(question, start=start, end=end))
        found += some
        sums += sum(len(bucket.sums) for bucket in some)
        step = max(1, min(4 * step, _SLICE * len(found) // max(sums, 1)))
        start = end
    return found


async def _usage(store: Store, question: UsageQuery) -> list[Bucket[Sum]]:
    rows = await _rows(store, question, SUMS_OF_ROLLUPS)
    if question.width == MINUTE:
        rows = await store.fetch(SUMS_OF_RECORDS, question.start * 1000, _end(question) * 1000, *_apart(question))
    return _summed(question, rows, Sum)


async def latencies(store: Store, question: UsageQuery) -> list[Bucket[Latency]]:
    """The latencies of these calls, in the same buckets and slices. Raises StoreError."""
    return await _sliced(store, question, _latencies)


async def _latencies(store: Store, question: UsageQuery) -> list[Bucket[Latency]]:
    rows = await _rows(store, question, latency_statements.SUMS_OF_ROLLUPS)
    if question.width == MINUTE:
        rows = await by_minute(store, question.start, _end(question))
    return _summed(question, rows, Latency)


def _summed[Summed: Addable](question: UsageQuery, rows: Sequence[Row], summed: type[Summed]) -> list[Bucket[Summed]]:
    places = [1 + DIMENSIONS.index(name) for name in question.by]
    found: dict[int, dict[tuple[str, ...], Summed]] = {}
    for row in filter(_wanted(question), rows):
        sums = found.setdefault(question.start if question.width == WHOLE else cast("int", row[0]), {})
        of = cast("tuple[str, ...]", tuple([row[place] for place in places]))
        own = summed(cast("Sequence[int]", row[1 + len(DIMENSIONS) :]))
        known = sums.get(of)
        sums[of] = own if known is None else known + own
    return [Bucket(start, end, dict(sorted(found.get(start, {}).items()))) for start, end in buckets(question)]


def buckets(question: UsageQuery) -> Iterator[tuple[int, int]]:
    """The time ranges of all buckets."""
    if question.width == WHOLE:
        yield question.start, question.end
        return
    for start in range(question.start, question.end, question.width):
        yield start, start + question.width


async def _rows(store: Store, question: UsageQuery, statement: str) -> Sequence[Row]:
    """Sums by time, of the largest widths that fit; those of minutes are computed from records."""
    start, end, width = question.start, _end(question), question.width
    apart = _apart(question)
    rows: list[Row] = []
    if width != MINUTE:
        for size, first, last in [(HOUR, start, end)] if width == HOUR else spans(start, end):
            rows += await store.fetch(statement, size, first, last, *apart)
    return rows


def _end(question: UsageQuery) -> int:
    return min(question.end, int(time.time()) + DAY)


def _apart(question: UsageQuery) -> Sequence[int]:
    """The dimensions that are needed for grouping and filtering."""
    filtered = [*question.only, *(("model", "upstream_model") if question.models else ())]
    return [int(name in question.by or name in filtered) for name in DIMENSIONS]


def _wanted(question: UsageQuery) -> Callable[[Row], bool]:
    """A predicate for the filters."""
    only = [(1 + DIMENSIONS.index(name), allowed) for name, allowed in question.only.items()]
    called, upstream = (1 + DIMENSIONS.index(name) for name in ("model", "upstream_model"))
    models = question.models

    def wanted(row: Row) -> bool:
        if models and row[called] not in models and row[upstream] not in models:
            return False
        return all(row[place] in allowed for place, allowed in only)

    return wanted
