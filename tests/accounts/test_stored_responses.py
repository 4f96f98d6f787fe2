"""Stored responses in each store: found by their owner, deleted in time, the oldest first."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ai_gateway.accounts.responses import _DROP_OLDEST, _TOTALS, StoredResponses
from ai_gateway.accounts.store.base import Store
from ai_gateway.accounts.store.postgres import PostgresStore
from ai_gateway.accounts.store.sqlite import SqliteStore
from tests.support.servers import Server, migrated_database

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        made = PostgresStore(await migrated_database(server))
    else:
        made = SqliteStore(tmp_path / "s.db" if request.param == "sqlite" else None)
    await made.open()
    yield made
    await made.aclose()


async def put(kept: StoredResponses, name: str, owner: str = "a", previous: str | None = None, size: int = 2) -> None:
    await kept.put(name, owner, previous=previous, status="completed", items="[]", body="x" * size)


async def test_a_chain_ends_where_one_is_not_there(store: Store) -> None:
    kept = StoredResponses(lambda: store, 1, 2**20)
    await put(kept, "1")
    await put(kept, "2", previous="1")
    await put(kept, "3", previous="2")
    assert [each.id for each in await kept.chain("3", "a")] == ["1", "2", "3"]
    assert await kept.chain("3", "b") == []
    assert await kept.delete("1", "b") is False
    assert await kept.delete("1", "a") is True
    rest = await kept.chain("3", "a")
    assert [each.id for each in rest] == ["2", "3"]
    assert rest[0].previous == "1"  # which tells that it is not whole


async def test_the_oldest_go_first_when_there_is_too_much(store: Store) -> None:
    kept = StoredResponses(lambda: store, 1, 1_000)
    for at in range(8):
        await put(kept, f"{at}", size=300)
    found = [at for at in range(8) if await kept.get(f"{at}", "a") is not None]
    assert found
    assert found == list(range(8))[-len(found) :]
    assert len(found) <= 4


async def test_every_key_keeps_its_newest_when_there_is_too_much(store: Store) -> None:
    everything = StoredResponses(lambda: store, 1, 2**20)
    names = [f"{owner}{at}" for at in range(6) for owner in "abc"]
    for name in names:
        await put(everything, name, owner=name[0], size=300)
    await put(everything, "little", owner="d", size=300)
    kept = StoredResponses(lambda: store, 1, 2_500)
    await put(kept, "last", owner="c")  # so that it has the most, by a few bytes
    found = [name for name in names if await kept.get(name, name[0]) is not None]
    assert found == [f"{owner}{at}" for at in (4, 5) for owner in "abc"]
    assert await kept.get("little", "d") is not None
    assert await kept.get("last", "c") is not None


async def test_what_is_kept_long_enough_is_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = StoredResponses(lambda: store, 1, 2**20)
    await put(kept, "1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_401)
    assert await kept.get("1", "a") is None
    assert await kept.chain("1", "a") == []


async def test_what_has_ended_stays_so(store: Store) -> None:
    kept = StoredResponses(lambda: store, 1, 2**20)
    await kept.put("1", "a", previous=None, status="queued", items="[]", body="{}")
    found = await kept.get("1", "a")
    assert found is not None
    assert found.runs
    assert found.lease
    assert await kept.renew("1")
    assert await kept.end("1", "cancelled", "c")
    assert not await kept.end("1", "completed", "d")
    assert not await kept.renew("1")
    found = await kept.get("1", "a")
    assert found is not None
    assert (found.status, found.lease, found.body) == ("cancelled", None, "c")


@pytest.mark.parametrize(("statement", "values"), [(_TOTALS, ()), (_DROP_OLDEST, (1_000,))])
async def test_what_each_owner_keeps_is_read_from_an_index(
    store: Store, statement: str, values: tuple[int, ...]
) -> None:
    kept = StoredResponses(lambda: store, 1, 2**30)
    await put(kept, "1")
    if isinstance(store, PostgresStore):
        async with store.transaction() as session:
            await session.execute("SET LOCAL enable_seqscan = off")  # which it prefers for a table of one page
            plan = await session.fetch(f"EXPLAIN {statement}", *values)
        assert "Index Only Scan using responses_by_owner" in str(plan)
    else:
        plan = await store.fetch(f"EXPLAIN QUERY PLAN {statement}", *values)
        assert "USING COVERING INDEX responses_by_owner" in str(plan)
