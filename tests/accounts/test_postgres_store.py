"""The store in PostgreSQL: what the embedded one does, and what a server between replicas can do wrong."""

import asyncio
import pkgutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

import ai_gateway.accounts
from ai_gateway.accounts.directory import Actor, Directory
from ai_gateway.accounts.entities import Project
from ai_gateway.accounts.journal import Journal
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.ledger_rows import DAY, HOUR, WIDTHS
from ai_gateway.accounts.ledger_statements import PLACE_OF_ID, ROLL_UP_TIME
from ai_gateway.accounts.records import Record
from ai_gateway.accounts.shipper import Shipper
from ai_gateway.accounts.store.base import Store, StoreError
from ai_gateway.accounts.store.postgres import PostgresStore
from ai_gateway.accounts.store.schema import VERSION
from ai_gateway.accounts.store.sqlite import SqliteStore
from tests.accounts.calls import NOW_MS, ended, started
from tests.accounts.test_ledger import calls, summed, sums
from tests.support.gateway import run_cli
from tests.support.servers import Server, new_database, running_postgres

CLI = Actor(None, "test")
DAY_MS = DAY * 1000
TODAY = int(time.time()) // DAY
OTHERS = "records_of_other_days"


@asynccontextmanager
async def opened(*urls: str, timeout_s: float = 5.0) -> AsyncIterator[list[PostgresStore]]:
    """Stores at these addresses, with their schema."""
    stores = [PostgresStore(url, timeout_s) for url in urls]
    try:
        for store in stores:
            await store.migrate()
            await store.open()
        yield stores
    finally:
        for store in stores:
            await store.aclose()


def statements() -> dict[str, str]:
    """Every constant of the accounts that is SQL, except for what one engine alone runs."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(ai_gateway.accounts.__path__, "ai_gateway.accounts."):
        if ".store." not in module.name and ".counters." not in module.name:
            for name, text in vars(import_module(module.name)).items():
                if isinstance(text, str) and text.startswith(("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ")):
                    found[f"{module.name}.{name}"] = text
    return found


async def test_every_statement_is_one_that_postgresql_understands(postgres: Server) -> None:
    found = statements()
    url = await new_database(postgres)
    async with opened(url):
        connection = await asyncpg.connect(url)
        for name, statement in found.items():
            try:
                await connection.prepare(statement)
            except asyncpg.PostgresError as error:
                pytest.fail(f"{name}: {error}")
        await connection.close()
    assert len(found) > 30


async def test_the_ledger_has_the_same_sums_as_in_the_embedded_store(postgres: Server, tmp_path: Path) -> None:
    batches = [calls(40), calls(50)[30:], [*calls(3), ended(started("x", at=NOW_MS + 10**7, key_id=None), cost=None)]]
    async with opened(await new_database(postgres)) as (store,):
        ledger = Ledger(store)
        embedded = Ledger(SqliteStore(None))
        await embedded.store.open()
        for batch in [*batches, batches[0]]:
            await ledger.append(batch)
            await embedded.append(batch)
        for width in WIDTHS:
            expected = summed([record for batch in batches for record in batch], width)
            assert await sums(ledger, width) == await sums(embedded, width) == expected
        assert await ledger.check() == []
        assert await ledger.last_uses() == await embedded.last_uses()
        start = NOW_MS // 1000
        for window in ((start - 5, start + 10**5), (0, None), (start, start + 1)):
            for what, entity in (("organization", ""), ("project", "default"), ("key", "key_1")):
                assert await ledger.spent(what, entity, *window) == await embedded.spent(what, entity, *window)  # type: ignore[arg-type]
        await store.execute("UPDATE rollups SET requests = requests + $1", 1)
        assert len(await ledger.check()) > 0
        await ledger.rebuild()
        assert await ledger.check() == []
        assert await ledger.prune(start + 10**6) == await embedded.prune(start + 10**6) == 51
        await embedded.store.aclose()


async def test_each_day_is_a_partition_and_old_ones_are_dropped_while_their_sums_stay(postgres: Server) -> None:
    url = await new_database(postgres)
    async with opened(url) as (store,):
        ledger = Ledger(store)
        await ledger.keep_days()
        assert await partitions(url) == {name_of(TODAY): 0, name_of(TODAY + 1): 0, OTHERS: 0}
        # A journal that is shipped days later, one of a clock that is a year ahead, and one of 1970.
        days = {0: 5, -1: 4, -9: 3, -20: 2, 365: 2, -TODAY: 1}
        known = {day: of_day(TODAY + day, count) for day, count in days.items()}
        for batch in (*known.values(), known[-9], [*known[0], *known[-1]]):
            await ledger.append(batch)
        expected = {name_of(TODAY + day): count for day, count in days.items() if day < 2}
        assert await partitions(url) == {**expected, name_of(TODAY + 1): 0, OTHERS: 2}
        before = await sums(ledger, HOUR)
        assert before == summed([each for batch in known.values() for each in batch], HOUR)
        assert await ledger.prune((TODAY - 8) * DAY + 3600) == 6
        assert await ledger.prune((TODAY - 8) * DAY + 3600) == 0
        for day in (-TODAY, -20, -9):
            del expected[name_of(TODAY + day)]
        assert await partitions(url) == {**expected, name_of(TODAY + 1): 0, OTHERS: 2}
        for batch in known.values():  # the journals are read again
            await ledger.append(batch)
        assert await sums(ledger, HOUR) == before
        assert await ledger.check() == []
        assert await partitions(url) == {**expected, name_of(TODAY + 1): 0, OTHERS: 2}
        await ledger.prune((TODAY + 400) * DAY)
        assert await partitions(url) == {OTHERS: 0}
        assert await sums(ledger, HOUR) == before


@pytest.mark.slow
async def test_the_command_prunes_by_partitions(postgres: Server) -> None:
    url = await new_database(postgres)
    async with opened(url) as (store,):
        await Ledger(store).append([*of_day(TODAY, 3), *of_day(TODAY - 40, 4)])
    pruned = await asyncio.to_thread(run_cli, "store", "prune", "--older-than", "30d", STORE_URL=url)
    assert pruned.stdout.startswith("4 records were deleted."), pruned.stderr
    assert await partitions(url) == {name_of(TODAY): 3, OTHERS: 0}


async def test_replicas_that_begin_a_day_at_once_make_one_partition_and_lose_nothing(postgres: Server) -> None:
    url = await new_database(postgres)
    async with opened(*[url] * 4) as stores:
        batches = [[*of_day(TODAY, 20, f"{n}"), *of_day(TODAY - 1, 20, f"{n}-")] for n in range(4)]
        await asyncio.gather(
            *(Ledger(store).append(batch) for _ in range(3) for store, batch in zip(stores, batches, strict=True))
        )
        assert await partitions(url) == {name_of(TODAY): 80, name_of(TODAY - 1): 80, OTHERS: 0}
        known = [record for batch in batches for record in batch]
        assert await sums(Ledger(stores[0]), DAY) == summed(known, DAY)
        # While one writes, others drop: whoever comes too late finds that there is nothing left to drop.
        pruned = await asyncio.gather(
            *(Ledger(store).prune(TODAY * DAY) for store in stores),
            *(Ledger(stores[0]).append(batches[0]) for _ in "ab"),
        )
        assert sum(count for count in pruned if count) == 80
        assert await partitions(url) == {name_of(TODAY): 80, OTHERS: 0}
        assert await sums(Ledger(stores[0]), DAY) == summed(known, DAY)


async def test_a_day_without_a_partition_gets_one_later_with_what_is_there_of_it(postgres: Server) -> None:
    url = await new_database(postgres)
    async with opened(url) as (store,):
        reader = await asyncpg.connect(url)
        async with reader.transaction():  # as a backup does for hours
            await reader.fetch("SELECT COUNT(*) FROM records")
            ledger = Ledger(store)
            await ledger.append(of_day(TODAY, 7))
            assert await partitions(url) == {OTHERS: 7}
            with pytest.raises(StoreError, match="lock timeout"):
                await store.execute("SET lock_timeout = '10ms'; ALTER TABLE records ADD COLUMN one BIGINT")
        await reader.close()
        await ledger.keep_days()
        await ledger.append(of_day(TODAY, 9, "more-"))
        assert await partitions(url) == {name_of(TODAY): 16, name_of(TODAY + 1): 0, OTHERS: 0}
        assert await ledger.check() == []


async def test_records_of_a_day_are_looked_for_in_its_partition_only(postgres: Server) -> None:
    """Or it would take locks on those of all days, which are more than a server has."""
    url = await new_database(postgres)
    async with opened(url) as (store,):
        ledger = Ledger(store)
        for day in range(10):
            await ledger.append(of_day(TODAY - day, 1))
        connection = await asyncpg.connect(url)
        at = (TODAY * DAY_MS, TODAY * DAY_MS + 1)
        for statement, more in {ROLL_UP_TIME: DAY, PLACE_OF_ID: "id"}.items():
            rows = await connection.fetch("EXPLAIN " + statement, *at, more)
            scanned = {line.split()[0] for (row,) in rows for line in row.split(" on ")[1:] if "records" in line}
            assert scanned == {name_of(TODAY)}
        await connection.close()


def name_of(day: int) -> str:
    return f"records_{datetime.fromtimestamp(day * DAY, UTC):%Y%m%d}"


def of_day(day: int, count: int, name: str = "") -> list[Record]:
    """Calls that began in that day, from its first millisecond to its last."""
    step = (DAY_MS - 1) // max(count - 1, 1)
    return [ended(started(f"{name}{day}-{number}", at=day * DAY_MS + number * step)) for number in range(count)]


async def partitions(url: str) -> dict[str, int]:
    """Those of the records, and how many are in each."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            """SELECT inhrelid::regclass::text, (SELECT COUNT(*) FROM records WHERE records.tableoid = inhrelid)
            FROM pg_inherits WHERE inhparent = 'records'::regclass"""
        )
        return {str(name): int(count) for name, count in rows}
    finally:
        await connection.close()


async def test_batches_of_many_writers_neither_deadlock_nor_double(postgres: Server) -> None:
    url = await new_database(postgres)
    async with opened(*[url] * 4) as stores:
        batches = [calls(60)[at : at + 30] for at in (0, 10, 20, 30)]
        await asyncio.gather(
            *(Ledger(store).append(batch) for _ in range(3) for store, batch in zip(stores, batches, strict=True))
        )
        for width in WIDTHS:
            assert await sums(Ledger(stores[0]), width) == summed(calls(60), width)


async def test_what_one_replica_changes_another_knows_within_seconds(postgres: Server) -> None:
    url = await new_database(postgres)
    async with opened(url, url) as stores:
        one, other = (Directory(store) for store in stores)
        await asyncio.gather(one.start(), other.start())
        try:
            names = [f"p{number}" for number in range(20)]

            async def add(directory: Directory, name: str) -> None:
                async with directory.change(CLI) as change:
                    change.put(Project(id=f"proj_{name}", name=name, created_at=change.now))
                    change.audit("project.created", f"proj_{name}", id=f"proj_{name}")

            await asyncio.gather(
                *(add(directory, name) for name in names[:10] for directory in [one]),
                *(add(directory, name) for name in names[10:] for directory in [other]),
            )
            began = time.monotonic()
            while len(list(one.all(Project))) + len(list(other.all(Project))) < 42:
                assert time.monotonic() - began < 60, "the other replica did not learn of it"
                await asyncio.sleep(0.05)
            ((audited,),) = await one.store.fetch("SELECT COUNT(*) FROM audit")
            assert audited == 20
        finally:
            await one.aclose()
            await other.aclose()


async def test_what_fails_in_a_transaction_undoes_it_and_the_next_one_begins(postgres: Server) -> None:
    async with opened(await new_database(postgres)) as (store,):

        async def fail(statement: str) -> None:
            async with store.transaction() as session:
                await session.execute("UPDATE meta SET value = 7")
                await session.execute(statement)
                raise KeyError

        with pytest.raises(KeyError):
            await fail("SELECT 1")
        with pytest.raises(StoreError):
            await fail("SELECT nothing")
        assert await store.fetch("SELECT COUNT(*) FROM meta WHERE value = 7") == [(0,)]
        assert await store.execute("UPDATE meta SET value = $1 WHERE name = 'revision'", 9) == 1
        assert await store.fetch("SELECT value FROM meta WHERE name = $1", "revision") == [(9,)]


async def test_texts_that_postgresql_cannot_store_are_stored_as_far_as_it_can(postgres: Server, tmp_path: Path) -> None:
    async with opened(await new_database(postgres)) as (store,):
        journal = Journal(tmp_path)
        shipper = Shipper(journal, Ledger(store))
        shipper.start()
        for number, model in enumerate(["a\0b", "half \ud800", "Grüße", "x" * 100_000]):
            record = ended(started(f"call-{number}", at=NOW_MS + number, model=model))
            journal.started(record.start)
            journal.ended(record)
        await shipper.aclose()
        rows = await store.fetch("SELECT model FROM records ORDER BY at")
        assert [row[0] for row in rows] == ["a\ufffdb", "half ?", "Grüße", "x" * 100_000]
        assert shipper.refused == 0


async def test_a_schema_that_is_too_old_or_lacks_a_column_is_told(postgres: Server) -> None:
    url = await new_database(postgres)
    store = PostgresStore(url)
    try:
        with pytest.raises(StoreError, match=r"version 0, this gateway needs .*ai-gateway store migrate"):
            await store.open()
        assert await store.migrate() == list(range(1, VERSION + 1))
        assert await store.migrate() == []
        await store.open()
        await store.execute("UPDATE meta SET value = value + 1 WHERE name = 'schema'")
        assert await store.problem() is None, "code of one version runs on the schema of the next"
        await store.execute("UPDATE meta SET value = value + 1 WHERE name = 'schema'")
        assert "use a newer gateway" in str(await store.problem())
        await store.execute("UPDATE meta SET value = $1 WHERE name = 'schema'", VERSION)
        await store.execute("ALTER TABLE records DROP COLUMN wire")
        assert "lacks records.wire" in str(await store.problem())
    finally:
        await store.aclose()


async def test_the_embedded_store_is_asked_the_same(tmp_path: Path) -> None:
    store: Store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    assert await store.problem() is None
    await store.execute("ALTER TABLE records DROP COLUMN wire")
    assert "lacks records.wire" in str(await store.problem())
    await store.aclose()


async def test_two_replicas_may_migrate_at_once(postgres: Server) -> None:
    url = await new_database(postgres)
    reached = await asyncio.gather(*(PostgresStore(url).migrate() for _ in range(4)))
    assert sorted(map(len, reached)) == [0, 0, 0, VERSION]


@pytest.mark.slow
async def test_a_server_that_is_frozen_or_gone_hangs_nobody_and_is_used_again_when_it_is_back() -> None:
    with running_postgres() as server:
        async with opened(await new_database(server), timeout_s=1) as (store,):
            with server.frozen():
                began = time.monotonic()
                results = await asyncio.gather(
                    *(store.fetch("SELECT value FROM meta") for _ in range(10)), append(store, 1),
                    return_exceptions=True,
                )  # fmt: skip
                assert all(isinstance(result, StoreError) for result in results), results
                assert time.monotonic() - began < 10  # one after the other, it would be 11
            await soon(lambda: append(store, 2))
            server.kill()
            with pytest.raises(StoreError):
                await append(store, 3)
            server.start()
            await soon(lambda: append(store, 4))
            await soon(lambda: store.fetch("SELECT value FROM meta"))
            with server.frozen():
                closing = asyncio.create_task(store.aclose())
                await asyncio.wait_for(closing, 30)


async def append(store: Store, number: int) -> None:
    await Ledger(store).append([ended(started(f"call-{number}", at=NOW_MS + number))])


async def soon(work: Callable[[], Awaitable[object]]) -> None:
    """Have it done as soon as the store is back."""
    async with asyncio.timeout(60):
        while True:
            with suppress(StoreError):
                await work()
                return
            await asyncio.sleep(0.05)
