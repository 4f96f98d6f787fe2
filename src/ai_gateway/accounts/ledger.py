"""The ledger: the record of every ended call, once, and sums of them by hour and day.

Records are never changed. A batch of records is added together with its sums in one transaction, which fails if one of
the records exists already. So nothing is counted twice, however often a journal is read, and the sums can be rebuilt
from the records. Sums stay when records are pruned.
"""

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from ai_gateway.accounts import latency, latency_statements, ledger_statements as statements
from ai_gateway.accounts.ledger_rows import (
    DAY,
    HOUR,
    WIDTHS,
    RecordGroup,
    durations_of,
    group_records,
    keys_used,
    sums_of,
)
from ai_gateway.accounts.limits import What
from ai_gateway.accounts.records import Record
from ai_gateway.accounts.store.base import Change, DuplicateRow, Row, Store, Value

_SLICE = 2_000
_DAY_MS = DAY * 1000
_log = structlog.get_logger(__name__)
_SPENT: Mapping[tuple[What, bool], str] = {
    ("organization", True): statements.SPENT,
    ("organization", False): statements.SPENT_BETWEEN,
    ("project", True): statements.SPENT_OF_PROJECT,
    ("project", False): statements.SPENT_BETWEEN_OF_PROJECT,
    ("key", True): statements.SPENT_OF_KEY,
    ("key", False): statements.SPENT_BETWEEN_OF_KEY,
}


class Ledger:
    """The records of a store. Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._placed: set[int] = set()
        self._pruned_before = 0  # as last read from the store

    async def append(self, records: Sequence[Record]) -> None:
        """Add the records that do not exist yet, with their sums: all or nothing."""
        if not records:
            return
        groups = group_records(records)
        await self.add_days({group.hour // DAY for group in groups})
        if not await self._append_at_once(groups):
            await self._append_new(records)

    async def _append_at_once(self, groups: Sequence[RecordGroup]) -> bool:
        """Add them in the usual case: none exists, or is of a pruned day. Returns whether that was the case."""
        pruned_before = self._pruned_before
        if any(group.hour * 1000 < pruned_before for group in groups):  # only whole days are pruned
            return False
        try:
            return await self.store.write(statements.PRUNED_BEFORE, [(pruned_before,)], _changes(groups))
        except DuplicateRow:  # rare: a journal had not noted yet that they were stored
            return False

    async def _append_new(self, records: Sequence[Record]) -> None:
        async with self.store.transaction() as session:
            ((pruned_before,),) = await session.fetch(statements.PRUNED_BEFORE)
            self._pruned_before = int(pruned_before or 0)
            # Records older than the retention were stored before: a journal is read again after they were pruned.
            kept = [record for record in records if record.start.at >= self._pruned_before]
            if len(kept) < len(records):
                late = len(records) - len(kept)
                _log.warning("records of days that are pruned: neither stored nor counted", records=late)
            new: dict[tuple[int, str], Record] = {}
            for record in kept:
                place = record.start.at, record.start.id
                if place not in new and not await session.fetch(statements.IS_THERE, *place):
                    new[place] = record
            for change in _changes(group_records(new.values())):
                await session.execute_many(change.statement, change.whole_rows())

    async def last_uses(self) -> dict[str, int]:
        """The start of each key's last call, in seconds since the epoch."""
        return {str(key): int(at or 0) // 1000 for key, at in await self.store.fetch(statements.LAST_USES)}

    async def spent(self, what: What, entity: str, start: int, end: int | None) -> int:
        """The cost of a key, a project or all of them in a time range, given in seconds."""
        end_s = end if end is not None else int(time.time()) + DAY
        total = 0
        for width, first, last in spans(start, end_s):
            if width:
                values: tuple[Value, ...] = (width, first, last)
            else:
                values = (first * 1000, last * 1000)
            entities = (entity,) if what != "organization" else ()
            ((cost,),) = await self.store.fetch(_SPENT[what, width != 0], *values, *entities)
            total += int(cost or 0)
        return total

    # -- maintenance --

    async def add_days(self, days: Iterable[int]) -> None:
        """Create partitions for the records of these days, counted since the epoch; not for days of wrong clocks."""
        last = int(time.time()) // DAY + 2
        for day in set(days) - self._placed:
            self._placed.add(day)
            if 0 <= day <= last:
                await self.store.add_day(day * _DAY_MS)

    async def keep_days(self) -> None:
        """Create the partitions of today and tomorrow ahead of time: to be called periodically."""
        self._placed.clear()  # retry those that could not be created before
        today = int(time.time()) // DAY
        await self.add_days((today, today + 1))

    async def prune(self, before: int) -> int:
        """Delete the records of days before this instant, in seconds; sums stay. Returns the number of records."""
        limit = before // DAY * _DAY_MS
        await self.store.execute(statements.SET_PRUNED_BEFORE, limit)
        deleted = 0
        while (day := await self.store.drop_day(limit)) is not None:
            day //= 1000
            ((count, _, _),) = await self.store.fetch(statements.TOTALS_OF_ROLLUPS, DAY, day, day + DAY)
            deleted += int(count or 0)
        while count := await self.store.execute(statements.PRUNE, limit, _SLICE):
            deleted += count
        return deleted

    async def rebuild(self) -> int:
        """Rebuild the sums day by day from the existing records. Returns the number of days."""
        days = 0
        async for start, end in self._days():
            async with self.store.transaction() as session:
                await session.execute(statements.DROP_ROLLUPS, start, end)
                for width in WIDTHS:
                    await session.execute(statements.ROLL_UP_TIME, start * 1000, end * 1000, width)
                await latency.rebuild(session, start, end, WIDTHS)
            days += 1
        return days

    async def check(self) -> list["Difference"]:
        """The days whose sums differ from their records."""
        found: list[Difference] = []
        async for start, end in self._days():
            async with self.store.transaction() as session:  # so that no batch is added in between
                (records,) = await session.fetch(statements.TOTALS_OF_RECORDS, start * 1000, end * 1000)
                for width in WIDTHS:
                    (sums,) = await session.fetch(statements.TOTALS_OF_ROLLUPS, width, start, end)
                    if tuple(sums) != tuple(records):
                        found.append(Difference(start, width, tuple(records), tuple(sums)))
        return found

    async def contents(self) -> "Contents":
        """Number and time range of the records."""
        ((count, _, _),) = await self.store.fetch(statements.TOTALS_OF_RECORDS, 0, 2**62)
        ((oldest, newest),) = await self.store.fetch(statements.OLDEST_AND_NEWEST)
        return Contents(int(count or 0), *(None if at is None else int(at) // 1000 for at in (oldest, newest)))

    async def keep_newest(self, most: int) -> None:
        """Delete all records but the newest ones: for a store in memory."""
        rows = await self.store.fetch(statements.OLDEST_KEPT, most - 1)
        if rows:
            while await self.store.execute(statements.PRUNE, rows[0][0], _SLICE):
                pass

    async def _days(self) -> AsyncIterator[tuple[int, int]]:
        """The days that still have all of their records."""
        ((pruned_before,),) = await self.store.fetch(statements.PRUNED_BEFORE)
        ((oldest, newest),) = await self.store.fetch(statements.OLDEST_AND_NEWEST)
        if oldest is None or newest is None:
            return
        first = max(int(oldest), int(pruned_before or 0)) // 1000 // DAY * DAY
        for start in range(first, int(newest) // 1000 + 1, DAY):
            yield start, start + DAY


def _changes(groups: Sequence[RecordGroup]) -> Sequence[Change]:
    """The changes that add records, none of which exists."""
    return (
        *[Change(statements.INSERT, group.rows, group.shared) for group in groups],
        Change(statements.ADD_TO_ROLLUPS, sums_of(groups)),
        Change(latency_statements.ADD, latency.sums_of(durations_of(groups), WIDTHS)),
        Change(statements.KEYS_USED, keys_used(groups)),
    )


@dataclass(frozen=True, slots=True)
class Contents:
    """The number of records, and when the oldest and the newest began, in seconds."""

    records: int
    oldest: int | None
    newest: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A day whose sums of one width are wrong: requests, cost and tokens by the records and by the sums."""

    day: int
    width: int
    records: Row
    sums: Row


def spans(start: int, end: int, widths: Sequence[int] = (DAY, HOUR)) -> Iterator[tuple[int, int, int]]:
    """A time range in parts, each with the width of the sums for it; width 0 is a part that needs the records.

    Time zones may begin their days at any quarter of an hour.
    """
    if start >= end:
        return
    if not widths:
        yield 0, start, end
        return
    width, *smaller = widths
    first, last = -(-start // width) * width, end // width * width
    if first >= last:
        yield from spans(start, end, smaller)
        return
    yield from spans(start, first, smaller)
    yield width, first, last
    yield from spans(last, end, smaller)
