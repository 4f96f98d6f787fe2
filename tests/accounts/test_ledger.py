"""The ledger: each call once, and sums that are those of the records, whatever comes twice, late or not at all."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import override

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.accounts.calls import StoredCall
from ai_gateway.accounts.journal import Journal
from ai_gateway.accounts.latency import BOUNDS_MS, CLASSES
from ai_gateway.accounts.ledger import Ledger, spans
from ai_gateway.accounts.ledger_rows import DAY, HOUR, TOKENS, WIDTHS
from ai_gateway.accounts.ledger_statements import PRUNED_BEFORE, ROLL_UP_TIME
from ai_gateway.accounts.records import Record, Start
from ai_gateway.accounts.shipper import Holder, Shipper
from ai_gateway.accounts.store.base import Change, DuplicateRow, Store
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.contract.tokens import Tokens
from ai_gateway.observability.trace_names import Attributes, Step
from tests.accounts.calls import NOW_MS, ended, started
from tests.accounts.conftest import Stores

MIDNIGHT = NOW_MS // 1000 // DAY * DAY

HOLDS_THE_STORE = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("COMMIT")
"""


@asynccontextmanager
async def ledger_on(store: Store) -> AsyncIterator[Ledger]:
    await store.open()
    try:
        yield Ledger(store)
    finally:
        await store.aclose()


def ledger_in(path: Path | None) -> AbstractAsyncContextManager[Ledger]:
    return ledger_on(SqliteStore(path / "gateway.db" if path is not None else None))


def calls(count: int, **facts: object) -> list[Record]:
    return [ended(started(f"call-{number}", at=NOW_MS + number, **facts)) for number in range(count)]


async def sums(ledger: Ledger, width: int) -> dict[tuple[object, ...], tuple[object, ...]]:
    """What stands for each combination of dimensions."""
    rows = await ledger.store.fetch("SELECT * FROM rollups WHERE width = $1", width)
    return {tuple(row[1:9]): tuple(row[9:]) for row in rows}


def summed(records: Iterable[Record], width: int) -> dict[tuple[object, ...], tuple[object, ...]]:
    """What has to stand there."""
    found: dict[tuple[object, ...], Counter[int]] = {}
    for record in {(each.start.at, each.start.id): each for each in reversed(list(records))}.values():
        start, tokens = record.start, record.tokens
        of: tuple[object, ...] = (start.at // 1000 // width * width, start.project_id, start.key_id or "", start.model)
        of += (record.upstream_model, record.provider, start.operation, record.service_tier or "")
        failed, lost = record.end in {"failed", "broken"}, record.end == "lost"
        counts = [1, failed, lost, record.basis == "estimated", record.cost is None]
        counts += [tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h]
        counts += [tokens.input_audio, tokens.input_image, tokens.reasoning, tokens.output_audio, tokens.output_image]
        total = found.setdefault(of, Counter())
        for place, count in enumerate(
            [*counts, record.cost or 0, tokens.searches, tokens.searches > 0, record.search_cost]
        ):
            total[place] += int(count)
    return {of: tuple(total[place] for place in range(19)) for of, total in found.items()}


async def times(ledger: Ledger, width: int) -> dict[tuple[object, ...], dict[int, int]]:
    """The counts of durations that stand for each combination of dimensions, without those that are 0."""
    rows = await ledger.store.fetch("SELECT * FROM latencies WHERE width = $1", width)
    return {tuple(row[1:9]): {place: int(count or 0) for place, count in enumerate(row[9:]) if count} for row in rows}


def timed(records: Iterable[Record], width: int) -> dict[tuple[object, ...], dict[int, int]]:
    """What has to stand there."""
    found: dict[tuple[object, ...], Counter[int]] = {}
    for record in {(each.start.at, each.start.id): each for each in reversed(list(records))}.values():
        start, first = record.start, record.first_byte_ms
        of: tuple[object, ...] = (start.at // 1000 // width * width, start.project_id, start.key_id or "", start.model)
        of += (record.upstream_model, record.provider, start.operation, record.service_tier or "")
        if record.end == "whole":
            counts = found.setdefault(of, Counter())
            counts[sum(bound < record.ended_at - start.at for bound in BOUNDS_MS)] += 1
            if start.stream and first is not None:
                counts[CLASSES + sum(bound < first for bound in BOUNDS_MS)] += 1
    return {of: dict(counts) for of, counts in found.items()}


small = st.integers(0, 9)
amounts = st.integers(0, 10**9)
records = st.builds(
    lambda start, facts: ended(start, **facts),
    st.builds(
        lambda number, seconds, **facts: started(f"call-{number}", at=(MIDNIGHT + seconds) * 1000 + number, **facts),
        small,
        st.integers(-2, 40).map(lambda number: number * 2_400),
        project_id=st.sampled_from(["default", "proj_1"]),
        key_id=st.sampled_from([None, "key_1", "key_2"]),
        model=st.sampled_from(["fast", "slow"]),
        stream=st.booleans(),
        operation=st.sampled_from(["createChatCompletion", "createEmbedding"]),
    ),
    st.fixed_dictionaries(
        {
            "end": st.sampled_from(["whole", "left", "broken", "failed", "lost"]),
            "basis": st.sampled_from(["reported", "estimated", "incomplete"]),
            "cost": st.none() | amounts,
            "service_tier": st.sampled_from([None, "flex"]),
            "provider": st.sampled_from(["openai", "groq"]),
            "tokens": st.builds(Tokens, *[amounts] * 11),
            "search_cost": amounts,
            "first_byte_ms": st.none() | st.sampled_from([0, *BOUNDS_MS, *(bound + 1 for bound in BOUNDS_MS)]),
        }
    ),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(records, max_size=12), max_size=5))
async def test_sums_are_those_of_the_records_whatever_comes_twice(batches: list[list[Record]]) -> None:
    async with ledger_in(None) as ledger:
        for batch in [*batches, *batches[:2]]:
            await ledger.append(batch)
        known = [record for batch in batches for record in batch]
        for width in WIDTHS:
            assert await sums(ledger, width) == summed(known, width)
            assert await times(ledger, width) == timed(known, width)
        assert await ledger.check() == []
        await ledger.store.execute("DELETE FROM rollups WHERE width = $1", HOUR)
        await ledger.store.execute("UPDATE rollups SET requests = requests + 1")
        await ledger.store.execute("UPDATE latencies SET total_0 = total_0 + 1")
        assert bool(await ledger.check()) == bool(known)
        await ledger.rebuild()
        for width in WIDTHS:
            assert await sums(ledger, width) == summed(known, width)
            assert await times(ledger, width) == timed(known, width)


async def test_a_record_is_kept_with_all_that_it_says(stores: Stores) -> None:
    async with ledger_on(stores()) as ledger:
        await ledger.append(calls(1))
        ((count, details),) = await ledger.store.fetch("SELECT COUNT(*), MAX(details) FROM records")
    assert count == 1
    assert '"cache_read":30' in str(details)


async def test_absurd_counts_of_an_upstream_do_not_spoil_the_sums(stores: Stores) -> None:
    absurd = [each._replace(cost=2**62, tokens=Tokens(input=2**63, output=2**62)) for each in calls(20)]
    async with ledger_on(stores()) as ledger:
        await ledger.append(absurd)
        await ledger.append(calls(30)[20:])
        ((requests, tokens),) = await ledger.store.fetch("SELECT requests, input FROM rollups WHERE width = $1", DAY)
    assert requests == 30
    assert tokens == 20 * 10**12 + 10 * 60


async def test_the_last_use_of_a_key_is_its_newest_call(stores: Stores) -> None:
    async with ledger_on(stores()) as ledger:
        await ledger.append([ended(started("b", at=NOW_MS + 9_000)), ended(started("c", at=NOW_MS, key_id=None))])
        await ledger.append([ended(started("a", at=NOW_MS + 2_000)), ended(started("d", key_id="key_2"))])
        assert await ledger.last_uses() == {"key_1": NOW_MS // 1000 + 9, "key_2": NOW_MS // 1000}


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_time_is_made_of_days_hours_and_rests(start: int, length: int) -> None:
    parts = list(spans(start, start + length))
    edge = start
    for width, first, last in parts:
        assert (first, last > first) == (edge, True)
        assert not width or (first % width, last % width) == (0, 0)
        assert width or last - first < 2 * HOUR
        edge = last
    assert edge == start + length
    assert len(parts) <= 7


async def test_what_was_spent_is_exact_in_any_window(stores: Stores) -> None:
    known = [
        ended(started(f"{n}", at=NOW_MS + n * 1_711_000, key_id=f"key_{n % 2}", project_id=f"proj_{n % 3}"), cost=n)
        for n in range(300)
    ]
    start, end = NOW_MS // 1000 + 12_345, NOW_MS // 1000 + 400_321
    within = [each for each in known if start * 1000 <= each.start.at < end * 1000]
    async with ledger_on(stores()) as ledger:
        await ledger.append(known)
        for what, entity, costs in (
            ("organization", "organization", [each.cost for each in within]),
            ("project", "proj_1", [each.cost for each in within if each.start.project_id == "proj_1"]),
            ("key", "key_1", [each.cost for each in within if each.start.key_id == "key_1"]),
        ):
            assert await ledger.spent(what, entity, start, end) == sum(cost or 0 for cost in costs)  # type: ignore[arg-type]
        assert await ledger.spent("organization", "organization", 0, None) == sum(range(300))


async def test_pruned_records_leave_their_sums_and_never_come_back(stores: Stores) -> None:
    old = [ended(started(f"old-{n}", at=(MIDNIGHT - 2 * DAY) * 1000 + n)) for n in range(5_000)]
    async with ledger_on(stores()) as ledger:
        for first in range(0, len(old), 1_000):
            await ledger.append(old[first : first + 1_000])
        await ledger.append(calls(10))
        before = await sums(ledger, HOUR)
        assert await ledger.prune(MIDNIGHT - 3600) == len(old)
        await ledger.append(old[:100])
        assert await ledger.store.fetch("SELECT COUNT(*) FROM records") == [(10,)]
        await ledger.rebuild()
        assert await sums(ledger, HOUR) == before
        assert await ledger.check() == []


async def test_a_store_in_memory_keeps_the_newest() -> None:
    async with ledger_in(None) as ledger:
        await ledger.append(calls(100))
        await ledger.keep_newest(30)
        ((count, oldest),) = await ledger.store.fetch("SELECT COUNT(*), MIN(at) FROM records")
        assert (count, oldest) == (30, NOW_MS + 70)


async def test_statements_use_indexes_where_it_matters(tmp_path: Path) -> None:
    async with ledger_in(tmp_path) as ledger:
        plan = await ledger.store.fetch(f"EXPLAIN QUERY PLAN {ROLL_UP_TIME}", 0, 1, HOUR)
    assert not [row for row in plan if str(row[3]).startswith("SCAN records")]


# -- from the journal to the ledger --


async def test_what_ended_is_in_the_ledger_soon_and_the_journal_empty(stores: Stores, tmp_path: Path) -> None:
    async with ledger_on(stores()) as ledger:
        shipper = Shipper(Journal(tmp_path / "journal"), ledger)
        shipper.start()
        for record in calls(500):
            shipper.journal.started(record.start)
            shipper.journal.ended(record)
        await until(ledger, 500)
        await shipper.aclose()
        assert list((tmp_path / "journal").iterdir()) == []


@dataclass
class Holding(Holder):
    """Counts what it is to give back. The first times it cannot: two for a call, and one for the rest."""

    failures: int = 0
    given_back: list[Start] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)

    @override
    async def release(self, start: Start) -> None:
        self.given_back.append(start)
        self._fail(1)

    @override
    async def settle_rest(self, owner: str, find: Callable[[str], Awaitable[StoredCall | None]]) -> None:
        self._fail(0)
        self.settled.append(owner)

    @override
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        pass

    def _fail(self, at_least: int) -> None:
        if self.failures > at_least:
            self.failures -= 1
            raise ConnectionError("away")


@pytest.mark.slow
async def test_few_records_are_gathered_for_the_most_of_a_second(tmp_path: Path) -> None:
    async with ledger_in(tmp_path) as ledger:
        journal = Journal(tmp_path / "journal")
        shipper = Shipper(journal, ledger)
        batches: Counter[str] = Counter()
        resting = asyncio.Event()  # what ends while others are stored is a batch of its own, however soon
        resting.set()

        @contextmanager
        def counted(step: Step, _: Attributes) -> Iterator[None]:
            batches[step] += 1
            resting.clear()
            yield
            resting.set()

        shipper.traced = counted
        shipper.start()
        began = time.monotonic()
        for record in calls(250):
            await resting.wait()
            journal.started(record.start)
            journal.ended(record)
            await asyncio.sleep(0.01)
        await until(ledger, 250)
        await shipper.aclose()
    assert batches[Step.SHIP] <= (time.monotonic() - began) / 0.8 + 1


async def test_a_dead_workers_journal_is_shipped_and_its_lost_calls_given_back(stores: Stores, tmp_path: Path) -> None:
    dead = Journal(tmp_path / "journal", owner="gone")
    dead.open()
    done, *lost = calls(4)
    for record in (done, *lost):
        dead.started(record.start)
    dead.ended(done)
    dead.close()
    holder = Holding()
    async with ledger_on(stores()) as ledger:
        shipper = Shipper(Journal(tmp_path / "journal"), ledger, holder)
        shipper.start()
        await until(ledger, 4)
        await shipper.aclose()
        assert holder.given_back == [each.start for each in lost]
        assert holder.settled == ["gone"]
        assert shipper.lost == 3
        rows = await ledger.store.fetch("SELECT cost, basis FROM records WHERE ending = 'lost'")
        assert rows == [(5_000, "incomplete")] * 3
    assert list((tmp_path / "journal").iterdir()) == []


async def test_counters_that_are_away_hold_up_neither_records_nor_callers(stores: Stores, tmp_path: Path) -> None:
    dead = Journal(tmp_path / "journal")
    dead.open()
    (lost,) = calls(1)
    dead.started(lost.start)
    dead.close()
    holder = Holding(failures=3)
    async with ledger_on(stores()) as ledger:
        shipper = Shipper(Journal(tmp_path / "journal"), ledger, holder)
        shipper.journal.open()
        for _ in range(5):
            await shipper.ship()
        assert holder.given_back == [lost.start] * 3
        assert len(holder.settled) == 1
        assert shipper.lost == 1
        assert await ledger.store.fetch("SELECT COUNT(*) FROM records") == [(1,)]
        await shipper.aclose()
    assert list((tmp_path / "journal").iterdir()) == []


@pytest.mark.slow
async def test_a_store_that_another_process_has_locked_holds_up_no_call(tmp_path: Path) -> None:
    async with ledger_in(tmp_path) as ledger:
        shipper = Shipper(Journal(tmp_path / "journal"), ledger)
        shipper.start()
        with subprocess.Popen(  # noqa: ASYNC220 - what starts it has nothing else to do
            [sys.executable, "-c", HOLDS_THE_STORE, str(tmp_path / "gateway.db")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert holder.stdout.readline() == "locked\n"
            known = calls(600)
            for record in known:  # for longer than SQLite waits for a lock
                shipper.journal.started(record.start)
                shipper.journal.ended(record)
                await asyncio.sleep(0.01)
            assert await ledger.store.fetch("SELECT COUNT(*) FROM records") == [(0,)]
            holder.stdin.write("\n")
            holder.stdin.flush()
        await until(ledger, 600)
        assert await ledger.check() == []
        await shipper.aclose()


async def test_a_record_that_no_store_takes_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with ledger_in(tmp_path) as ledger:
        shipper = Shipper(Journal(None), ledger)
        for record in (*calls(3), ended(started("bad\ud800"))):
            shipper.journal.started(record.start)
            shipper.journal.ended(record)
        await shipper.ship()
        assert await ledger.store.fetch("SELECT COUNT(*) FROM records") == [(3,)]
        assert shipper.refused == 1
        assert shipper.journal.read(1) is None


async def test_shipping_twice_at_once_loses_nothing(stores: Stores, tmp_path: Path) -> None:
    async with ledger_on(stores()) as ledger:
        shipper = Shipper(Journal(tmp_path / "journal"), ledger)
        shipper.start()
        for record in calls(1_000):
            shipper.journal.started(record.start)
            shipper.journal.ended(record)
        await asyncio.gather(*[shipper.ship() for _ in range(5)])
        await until(ledger, 1_000)
        await shipper.aclose()


async def test_calls_that_end_while_others_are_shipped_wait_for_the_next_pass(tmp_path: Path) -> None:
    """Under load there always are a few more: one by one they would cost as much as all the others."""

    class Busy(Ledger):
        @override
        async def append(self, records: Sequence[Record]) -> None:
            batches.append(len(records))
            for record in islice(meanwhile, 20):
                shipper.journal.started(record.start)
                shipper.journal.ended(record)
            await super().append(records)

    batches: list[int] = []
    known = calls(1_100)
    meanwhile = iter(known[1_000:])
    async with ledger_in(tmp_path) as ledger:
        shipper = Shipper(Journal(tmp_path / "journal"), Busy(ledger.store))
        shipper.journal.open()
        for record in known[:1_000]:
            shipper.journal.started(record.start)
            shipper.journal.ended(record)
        await shipper.ship()
        assert batches == [500, 500]
        assert shipper.journal.waiting == 40
        await shipper.ship()
        assert batches == [500, 500, 40]
        await shipper.ship()
        await shipper.ship()
        assert await ledger.store.fetch("SELECT COUNT(*) FROM records") == [(1_080,)]


async def test_two_workers_and_a_third_that_died_share_one_ledger(stores: Stores, tmp_path: Path) -> None:
    async with ledger_on(stores()) as one, ledger_on(stores()) as other:
        shippers = [Shipper(Journal(tmp_path / "journal"), ledger) for ledger in (one, other)]
        dead = Journal(tmp_path / "journal")
        dead.open()
        for shipper in shippers:
            shipper.start()
        for number, record in enumerate(calls(900)):
            journal = (shippers[0].journal, shippers[1].journal, dead)[number % 3]
            journal.started(record.start)
            journal.ended(record)
        dead.close()
        await until(one, 900)
        assert await one.check() == []
        for shipper in shippers:
            await shipper.aclose()
        total = "SELECT CAST(SUM(requests) AS BIGINT) FROM rollups WHERE width = 86400"
        assert await one.store.fetch(total) == [(900,)]


async def until(ledger: Ledger, count: int) -> None:
    """Wait for so many records, and no more."""
    async with asyncio.timeout(60):
        while await ledger.store.fetch("SELECT COUNT(*) FROM records") != [(count,)]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 27, 28, 29, 28 * 2 + 9])
async def test_any_number_of_records_is_stored_whole_and_in_order(stores: Stores, count: int) -> None:
    """SQLite is given many rows in one statement."""
    async with ledger_on(stores()) as ledger:
        records = [each._replace(cost=number) for number, each in enumerate(calls(count))]
        await ledger.append(records)
        found = await ledger.store.fetch("SELECT at, id, cost, searches FROM records ORDER BY at")
        assert [tuple(row) for row in found] == [(NOW_MS + each, f"call-{each}", each, 0) for each in range(count)]
        assert await ledger.check() == []


FORMS: dict[str, dict[str, object]] = {
    "free": {"tokens": Tokens(60, 20), "attempts": (), "cost": None, "price": None},
    "priced": {"tokens": Tokens(60, 20), "attempts": ()},
    "cached": {"attempts": ()},
    "searching": {"tokens": Tokens(60, 20, searches=2), "attempts": (), "search_cost": 5},
    "repaired": {"tokens": Tokens(60, 20), "attempts": (), "repairs": ("a-rule",)},
    "refused": {"tokens": Tokens(), "attempts": (), "end": "failed", "status": 429, "code": "x", "cost": 0},
}


def mixed(count: int, keys: int, forms: Sequence[str]) -> list[Record]:
    """Calls of so many keys, all with other numbers."""
    made: list[Record] = []
    for number in range(count):
        facts = dict(FORMS[forms[number // keys % len(forms)]])
        start = started(f"call-{number}", at=NOW_MS + number, key_id=f"key_{number % keys}", stream=number % 3 > 0)
        known = ended(start, **facts)
        cost = known.cost if not known.cost else number
        made.append(known._replace(cost=cost, ended_at=start.at + 7 * number, first_byte_ms=5 * number))
    return made


SAID = (
    *("at", "id", "request_id", "project_id", "key_id", "wire", "operation", "model", "stream", "ended_at"),
    *("first_byte_ms", "provider", "upstream_model", "service_tier", "ending", "basis", "status", "code", "cost"),
    *("price", *TOKENS, "details", "searches", "search_cost", "total_bucket", "first_bucket"),
)


SAYS = f"SELECT {', '.join(SAID)} FROM records ORDER BY at"  # noqa: S608 - of constants


def what_it_says(record: Record) -> dict[str, object]:
    """By the names of columns."""
    whole, first = record.end == "whole", record.first_byte_ms
    known = {**record.tokens._asdict(), **record._asdict(), **record.start._asdict(), "ending": record.end}
    known["details"] = '{"repairs":["a-rule"]}' if record.repairs else None
    known["total_bucket"] = sum(each < record.ended_at - record.start.at for each in BOUNDS_MS) if whole else None
    streamed = whole and record.start.stream and first is not None
    known["first_bucket"] = sum(each < (first or 0) for each in BOUNDS_MS) if streamed else None
    known["provider"], known["upstream_model"] = record.provider, record.upstream_model
    return {name: known[name] for name in SAID}


@pytest.mark.parametrize("forms", [["free"], ["priced", "free"], list(FORMS)], ids=" ".join)
@pytest.mark.parametrize(("count", "keys"), [(1, 1), (7, 1), (131, 1), (60, 7), (50, 25)])
async def test_each_column_has_what_the_record_says_however_many_are_alike(
    stores: Stores, count: int, keys: int, forms: Sequence[str]
) -> None:
    """What records of a batch have in common is given to SQLite once."""
    async with ledger_on(stores()) as ledger:
        records = mixed(count, keys, forms)
        await ledger.append(records)
        found = await ledger.store.fetch(SAYS)
        assert [dict(zip(SAID, row, strict=True)) for row in found] == [what_it_says(each) for each in records]
        for width in WIDTHS:
            assert await sums(ledger, width) == summed(records, width)
            assert await times(ledger, width) == timed(records, width)
        assert await ledger.check() == []


async def test_changes_are_made_all_together_and_only_to_what_is_expected(stores: Stores) -> None:
    async with ledger_on(stores()) as ledger:
        store = ledger.store
        use = "INSERT INTO key_uses (key_id, at) VALUES ($1, $2)"
        assert not await store.write(PRUNED_BEFORE, [(7,)], [Change(use, [("a", 1)])])
        changes = [Change(use, [("a", 1)]), Change(use, [("b", 2), ("c", 3)]), Change(use, [])]
        assert await store.write(PRUNED_BEFORE, [(0,)], changes)
        for rows in ([("d", 4), ("b", 5)], [("d", number) for number in range(600)]):
            with pytest.raises(DuplicateRow):
                await store.write(PRUNED_BEFORE, [(0,)], [Change(use, [("e", 6)]), Change(use, rows)])
        assert await ledger.last_uses() == {"a": 0, "b": 0, "c": 0}
        await ledger.prune(NOW_MS // 1000 + DAY)
        await ledger.append(calls(3))  # which it learns of in time
        assert await store.fetch("SELECT COUNT(*) FROM records") == [(0,)]
