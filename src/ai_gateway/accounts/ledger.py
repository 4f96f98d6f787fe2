"""The ledger: every call that is over, once, and the sums of them by hour and day.

Nothing in it is changed. A record comes in with a batch; only those that were not there yet are added to the sums, in
the same transaction. So nothing is doubled, however often a journal is read, and the sums can be made again from the
records. Sums stay when records are pruned.
"""

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import orjson
import structlog

from ai_gateway.accounts import ledger_statements as statements
from ai_gateway.accounts.limits import What
from ai_gateway.accounts.records import AttemptRecord, Record
from ai_gateway.accounts.store.base import Row, Store, Value

HOUR, DAY = 3600, 86_400
WIDTHS = (HOUR, DAY)
"""Of how many seconds there are sums."""
TOKENS = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "input_image", "reasoning"),
    *("output_audio", "output_image"),
)
"""The classes of tokens, in the order of the columns."""
# What an upstream says is added to other numbers, in 64 bits: no single call may take them all.
_MOST_TOKENS = 10**12
_MOST_COST = 10**16
_SLICE = 2_000
_DAY_MS = DAY * 1000
_log = structlog.get_logger(__name__)
_before = attrgetter("start.at", "start.id")
_facts = attrgetter(
    *("start.request_id", "ended_at", "first_byte_ms", "start.project_id", "start.key_id", "start.wire"),
    *("start.operation", "start.model"),
)
_result = attrgetter("provider", "upstream_model", "service_tier", "end", "basis", "status", "code")
_tokens = attrgetter(*TOKENS)
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

    async def append(self, records: Sequence[Record]) -> None:
        """Add those that are not there yet, and them to the sums: all or nothing."""
        if not records:
            return
        times = [each.start.at for each in records]  # which say where to look
        await self.add_days(at // _DAY_MS for at in times)
        async with self.store.transaction() as session:
            ((pruned_before,),) = await session.fetch(statements.PRUNED_BEFORE)
            ((batch,),) = await session.fetch(statements.NEXT_BATCH)
            # What is older than what is kept was here: a journal is read again after it has been pruned.
            rows = [_row(each, batch) for each in records if each.start.at >= int(pruned_before or 0)]
            if len(rows) < len(records):
                late = len(records) - len(rows)
                _log.warning("records of days that are pruned: neither stored nor counted", records=late)
            await session.execute_many(statements.INSERT, rows)
            for width in WIDTHS:
                await session.execute(statements.ROLL_UP_BATCH, batch, width, min(times), max(times))
            await session.execute(statements.KEYS_USED, batch, min(times), max(times))

    async def last_uses(self) -> dict[str, int]:
        """When each key began its last call, in seconds since the epoch."""
        return {str(key): int(at or 0) // 1000 for key, at in await self.store.fetch(statements.LAST_USES)}

    async def spent(self, what: What, entity: str, start: int, end: int | None) -> int:
        """What a key, a project or all of them have cost from one instant to another, in seconds."""
        upto = end if end is not None else int(time.time()) + DAY
        total = 0
        for width, first, last in spans(start, upto):
            if width:
                values: tuple[Value, ...] = (width, first, last)
            else:
                values = (first * 1000, last * 1000)
            entities = (entity,) if what != "organization" else ()
            ((cost,),) = await self.store.fetch(_SPENT[what, width != 0], *values, *entities)
            total += int(cost or 0)
        return total

    # -- upkeep --

    async def add_days(self, days: Iterable[int]) -> None:
        """Make places for the records of these days, counted since the epoch, but not of those that clocks make up."""
        last = int(time.time()) // DAY + 2
        for day in set(days) - self._placed:
            self._placed.add(day)
            if 0 <= day <= last:
                await self.store.add_day(day * _DAY_MS)

    async def keep_days(self) -> None:
        """Make places for the records of today and tomorrow, before they come: to be called once in a while."""
        self._placed.clear()  # some that could not be made before may be by now
        today = int(time.time()) // DAY
        await self.add_days((today, today + 1))

    async def prune(self, before: int) -> int:
        """Delete the records of the days before this instant, in seconds; sums stay. Returns how many they were."""
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
        """Make the sums again, day by day, of the records that there are. Returns the number of days."""
        days = 0
        async for start, end in self._days():
            async with self.store.transaction() as session:
                await session.execute(statements.DROP_ROLLUPS, start, end)
                for width in WIDTHS:
                    await session.execute(statements.ROLL_UP_TIME, start * 1000, end * 1000, width)
            days += 1
        return days

    async def check(self) -> list["Difference"]:
        """The days whose sums are not those of their records."""
        found: list[Difference] = []
        async for start, end in self._days():
            async with self.store.transaction() as session:  # or a batch may come between
                (records,) = await session.fetch(statements.TOTALS_OF_RECORDS, start * 1000, end * 1000)
                for width in WIDTHS:
                    (sums,) = await session.fetch(statements.TOTALS_OF_ROLLUPS, width, start, end)
                    if tuple(sums) != tuple(records):
                        found.append(Difference(start, width, tuple(records), tuple(sums)))
        return found

    async def contents(self) -> "Contents":
        """What there is of single requests."""
        ((count, _, _),) = await self.store.fetch(statements.TOTALS_OF_RECORDS, 0, 2**62)
        ((oldest, newest),) = await self.store.fetch(statements.OLDEST_AND_NEWEST)
        return Contents(int(count or 0), *(None if at is None else int(at) // 1000 for at in (oldest, newest)))

    async def keep_newest(self, most: int) -> None:
        """Delete all records but the newest ones: for a store in memory, which has no room for more."""
        rows = await self.store.fetch(statements.OLDEST_KEPT, most - 1)
        if rows:
            while await self.store.execute(statements.PRUNE, rows[0][0], _SLICE):
                pass

    async def _days(self) -> AsyncIterator[tuple[int, int]]:
        """Those whose records are all there."""
        ((pruned_before,),) = await self.store.fetch(statements.PRUNED_BEFORE)
        ((oldest, newest),) = await self.store.fetch(statements.OLDEST_AND_NEWEST)
        if oldest is None or newest is None:
            return
        first = max(int(oldest), int(pruned_before or 0)) // 1000 // DAY * DAY
        for start in range(first, int(newest) // 1000 + 1, DAY):
            yield start, start + DAY


@dataclass(frozen=True, slots=True)
class Contents:
    """How many records there are, and when the oldest and the newest began, in seconds."""

    records: int
    oldest: int | None
    newest: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A day, and the width of sums that do not fit: requests, cost and tokens of records and of their sums."""

    day: int
    width: int
    records: Row
    sums: Row


def spans(start: int, end: int, widths: Sequence[int] = (DAY, HOUR)) -> Iterator[tuple[int, int, int]]:
    """A time in parts that sums are there for, each with their width, and those of width 0 for which records must do.

    Calendars of zones may begin their days at any quarter of an hour.
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


def _row(record: Record, batch: Value) -> Row:
    cost, tokens = record.cost, _tokens(record.tokens)
    if max(tokens) > _MOST_TOKENS:
        tokens = tuple(min(count, _MOST_TOKENS) for count in tokens)
    return (
        *_before(record),
        batch,
        *_facts(record),
        int(record.start.stream),
        *_result(record),
        *tokens,
        None if cost is None else min(cost, _MOST_COST),
        record.price,
        _details(record),
    )


def _details(record: Record) -> str | None:
    """What is never summed up, nor looked for: without what is nothing."""
    details: dict[str, object] = {}
    if record.attempts:
        details["attempts"] = [_attempt(each) for each in record.attempts]
    if record.repairs:
        details["repairs"] = record.repairs
    if record.dropped:
        details["dropped"] = record.dropped
    return orjson.dumps(details).decode() if details else None


def _attempt(attempt: AttemptRecord) -> dict[str, object]:
    known: dict[str, object] = {
        "provider": attempt.provider,
        "model": attempt.model,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
    }
    if attempt.status is not None:
        known["status"] = attempt.status
    if attempt.code is not None:
        known["code"] = attempt.code
    if attempt.tokens is not None:
        counts = zip(TOKENS, _tokens(attempt.tokens), strict=True)
        known["tokens"] = {name: min(count, _MOST_TOKENS) for name, count in counts if count}
    if attempt.cost is not None:
        known["cost"] = min(attempt.cost, _MOST_COST)
    return known
