"""Transactions of both engines: whatever stops one, nothing of it is left, and the next one goes on."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from ai_gateway.accounts.store.base import Session, Store, StoreError
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.store.sqlite_thread import DatabaseFile, StoreThread
from tests.accounts.conftest import Stores

pytestmark = pytest.mark.anyio

_PUT = "INSERT INTO meta (name, value) VALUES ($1, 1)"
_NAMES = "SELECT name FROM meta WHERE name NOT IN ('revision', 'pruned_before', 'schema') ORDER BY value, name"
# Only a commit finds that what is referred to is not there.
_LATE = (
    "CREATE TABLE owners (id BIGINT PRIMARY KEY)",
    "CREATE TABLE owned (owner BIGINT REFERENCES owners (id) DEFERRABLE INITIALLY DEFERRED)",
)


async def _put(store: Store, name: str) -> None:
    async with store.transaction() as session:
        await session.execute(_PUT, name)


async def _names(store: Store) -> set[str]:
    return {str(name) for (name,) in await store.fetch(_NAMES)}


async def _goes_on(*workers: Store) -> None:
    """Each of them can write, in a transaction and without, and the others see it."""
    before = await _names(workers[0])
    for number, worker in enumerate(workers):
        await _put(worker, f"whole {number}")
        assert await worker.execute(_PUT, f"single {number}") == 1
    written = {f"{what} {number}" for number in range(len(workers)) for what in ("whole", "single")}
    for worker in workers:
        assert await _names(worker) == before | written


async def test_one_that_is_cancelled_while_it_waits_for_another_process_leaves_nothing_behind(stores: Stores) -> None:
    """The wait goes on in a thread, or in the server, when nobody is interested in it any more."""
    first, second = stores(), stores()
    await first.open()
    await second.open()
    async with first.transaction():
        waiting = asyncio.create_task(_put(second, "late"))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    await _goes_on(second, first)
    assert "late" not in await _names(first)
    await first.aclose()
    await second.aclose()


async def test_one_that_is_cancelled_anywhere_is_there_whole_or_not_at_all(stores: Stores) -> None:
    first, second = stores(), stores()
    await first.open()
    await second.open()

    async def twice(turns: int) -> None:
        async with first.transaction() as session:
            await session.execute(_PUT, f"{turns} a")
            await session.execute(_PUT, f"{turns} b")

    finished = 0
    for turns in range(12):
        task = asyncio.create_task(twice(turns))
        for _ in range(turns):
            await asyncio.sleep(0)
            if turns % 2:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        finished += not task.cancelled()
        await _put(first, f"{turns} next")
        found = {name for name in await _names(first) if name.startswith(f"{turns} ")}
        assert found - {f"{turns} next"} in (set(), {f"{turns} a", f"{turns} b"})
    await _goes_on(first, second)
    await first.aclose()
    await second.aclose()


async def test_one_whose_commit_is_refused_is_undone(stores: Stores) -> None:
    first, second = stores(), stores()
    await first.open()
    await second.open()
    for statement in _LATE:
        await first.execute(statement)

    async def refused(session: Session) -> None:
        await session.execute(_PUT, "refused")
        await session.execute("INSERT INTO owned (owner) VALUES ($1)", 7)

    with pytest.raises((StoreError, ValueError)):
        async with first.transaction() as session:
            await refused(session)
    await _goes_on(first, second)
    assert "refused" not in await _names(second)
    await first.aclose()
    await second.aclose()


@pytest.mark.slow
async def test_many_who_wait_for_another_process_are_told_together_that_the_store_is_busy(tmp_path: Path) -> None:
    """Each for five seconds, one after the other, the last of them would be told after a minute."""
    first, second = (SqliteStore(tmp_path / "gateway.db") for _ in range(2))
    await first.open()
    await second.open()
    async with first.transaction():
        async with asyncio.timeout(40):
            reported = await asyncio.gather(*(_put(second, f"{at}") for at in range(12)), return_exceptions=True)
    assert {type(each) for each in reported} == {StoreError}
    await _goes_on(second, first)
    await first.aclose()
    await second.aclose()


async def test_a_new_store_that_another_process_begins_as_well_is_waited_for(tmp_path: Path) -> None:
    """The workers of a first start meet there: SQLite by itself says at once that it is locked."""
    path = str(tmp_path / "gateway.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    thread = StoreThread(DatabaseFile(path))
    thread.open()
    asyncio.get_running_loop().call_later(0.3, other.close)
    assert await thread(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    await thread.aclose()
