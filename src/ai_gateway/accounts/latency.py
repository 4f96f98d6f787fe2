"""Latency: durations of calls and times to the first byte of streams, as histograms, and their quantiles.

Only calls with a whole reply count. Counts can be added like other sums; the error of a quantile is less than the
width of its class.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import cast

from ai_gateway.accounts import latency_statements as statements
from ai_gateway.accounts.store.base import Row, Session, Value

BOUNDS_MS = (
    *(10, 22, 47, 100, 150, 220, 330, 470, 680, 1_000, 1_500, 2_200, 3_300, 4_700, 6_800, 10_000, 15_000, 22_000),
    *(33_000, 47_000, 68_000, 100_000, 220_000),
)
"""The upper bound of each class; the last class has no bound. The steps of the most frequent durations are those
of E6 (IEC 60063)."""
CLASSES = len(BOUNDS_MS) + 1


class Latency:
    """Histograms of a group of calls: of durations, and of times to the first byte."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = counts  # in the order of the columns

    def __add__(self, other: "Latency") -> "Latency":
        return Latency([one + another for one, another in zip(self._counts, other._counts, strict=True)])

    @property
    def total(self) -> Sequence[int]:
        return self._counts[:CLASSES]

    @property
    def first(self) -> Sequence[int]:
        return self._counts[CLASSES:]


def quantile_ms(counts: Sequence[int], part: float) -> int | None:
    """The duration that this part of the calls did not exceed; None without calls.

    Interpolated on a logarithmic scale within a class. For the last class, it is the start of the class.
    """
    cumulative = list(accumulate(counts))
    if not cumulative[-1]:
        return None
    rank = part * cumulative[-1]
    at = bisect_left(cumulative, rank)
    if at == len(BOUNDS_MS):
        return BOUNDS_MS[-1]
    low, high = BOUNDS_MS[at - 1] if at else 1, BOUNDS_MS[at]
    within: float = (rank - (cumulative[at] - counts[at])) / counts[at]
    return round(low * math.pow(high / low, within))


# -- in the store --


async def rebuild(session: Session, start: int, end: int, widths: Iterable[int]) -> None:
    """Rebuild the sums of a time range, in seconds, from its records."""
    await session.execute(statements.DROP_ROLLUPS, start, end)
    counted = await session.fetch(statements.COUNTS_OF_TIME, start * 1000, end * 1000, min(widths))
    await add(session, counted, widths)


async def add(session: Session, counted: Iterable[Row], widths: Iterable[int]) -> None:
    """Add counts to the sums. Each has its hour, grouping values, both classes, and a number."""
    await session.execute_many(statements.ADD, sums_of(counted, widths))


def sums_of(counted: Iterable[Row], widths: Iterable[int]) -> Sequence[Row]:
    """The values for `statements.ADD`."""
    sums: dict[Row, list[int]] = {}
    for start, *of, total, first, count in counted:
        for width in widths:
            _count(sums, (width, cast("int", start) // width * width, *of), total, first, count)
    return [(*of, *counts) for of, counts in sorted(sums.items())]


async def by_minute(session: Session, start: int, end: int) -> list[Row]:
    """The counts of a time range in seconds, minute by minute, in the form of sums."""
    sums: dict[Row, list[int]] = {}
    for *of, total, first, count in await session.fetch(statements.COUNTS_OF_TIME, start * 1000, end * 1000, 60):
        _count(sums, tuple(of), total, first, count)
    return [(*of, *counts) for of, counts in sums.items()]


def _count(sums: dict[Row, list[int]], of: Row, total: Value, first: Value, count: Value) -> None:
    counts = sums.setdefault(of, [0] * (2 * CLASSES))
    counts[cast("int", total)] += cast("int", count)
    if first is not None:
        counts[CLASSES + cast("int", first)] += cast("int", count)
