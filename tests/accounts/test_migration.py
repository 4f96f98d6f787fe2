"""A store is brought to its next version while gateways of the version before use it."""

import asyncio
import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx2
import pytest

from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.store import postgres as postgres_module, sqlite as sqlite_module
from ai_gateway.accounts.store.base import Store
from ai_gateway.accounts.store.postgres import PostgresStore
from ai_gateway.accounts.store.schema import STEPS, VERSION, OnPostgres
from ai_gateway.accounts.store.sqlite import SqliteStore
from tests.accounts.metered import CENT, Site, all_recorded_once, calling_all, environment, shared
from tests.support.client import NO_CERTIFICATES, TIMEOUT_S
from tests.support.gateway import LiveGateway, running_gateway
from tests.support.servers import running_postgres, running_valkey
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow

# What a next version may do, on every table that is in use. The pause is longer than a gateway waits for an answer.
NEXT_STEP = (
    "ALTER TABLE records ADD COLUMN region TEXT",
    "ALTER TABLE rollups ADD COLUMN seconds BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE entities ADD COLUMN note TEXT",
    "ALTER TABLE key_uses ADD COLUMN region TEXT",
    "CREATE INDEX records_by_region ON records (region, at)",
    "CREATE TABLE regions (name TEXT PRIMARY KEY, at BIGINT NOT NULL DEFAULT 0)",
    OnPostgres("SELECT pg_sleep(6)"),
)


def ready(live: LiveGateway) -> int:
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.get(f"{live.base_url}/ready").status_code


async def test_a_migration_under_load_fails_no_call_and_the_version_before_goes_on_with_the_next_schema(
    shared_upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_upstream.forget()
    with ExitStack() as stack:
        servers = stack.enter_context(running_postgres()), stack.enter_context(running_valkey())
        environments = {
            "embedded": environment(shared_upstream, tmp_path / "embedded"),
            "shared": environment(shared_upstream, tmp_path / "shared", **await shared(*servers)),
        }
        sites = [
            Site.of(name, stack.enter_context(running_gateway(**env)), env.get("STORE_URL", embedded(tmp_path)))
            for name, env in environments.items()
        ]
        loads, over, calling = await calling_all(sites, pause_s=0.03)
        await asyncio.sleep(1)
        for module in (postgres_module, sqlite_module):
            monkeypatch.setattr(module, "STEPS", (*STEPS, NEXT_STEP))
            monkeypatch.setattr(module, "VERSION", VERSION + 1)
        newer: list[Store] = [SqliteStore(embedded(tmp_path)), PostgresStore(str(sites[1].store))]
        assert await newer[1].migrate() == [VERSION + 1]
        for store in newer:
            await store.open()  # which migrates the embedded one
            assert len(await store.fetch("SELECT region, at FROM records LIMIT 1")) == 1
        await asyncio.sleep(1)
        over.set()
        await asyncio.gather(*calling)
        # Gateways of the version before may be started again, too: a rollout that is taken back.
        again = [stack.enter_context(running_gateway(**env)) for env in environments.values()]
        for site, load, live in zip(sites, loads, again, strict=True):
            load.port = live.port
            assert [ready(site.live), ready(live)] == [200, 200], site.name
            assert [await load.call(key) for key in site.keys] == [200, 200]
            assert set(load.statuses.values()) == {200}, site.name
            assert await all_recorded_once(load, site.store, shared_upstream) == dict.fromkeys(load.statuses, CENT)
        for store in newer:
            assert await Ledger(store).check() == []
            await store.aclose()


def embedded(home: Path) -> Path:
    return home / "embedded" / "data" / "gateway.db"


def test_an_embedded_schema_that_lacks_a_column_makes_the_gateway_unready(
    shared_upstream: Upstream, tmp_path: Path
) -> None:
    with running_gateway(**environment(shared_upstream, tmp_path / "embedded")) as live:
        assert ready(live) == 200
        with closing(sqlite3.connect(embedded(tmp_path), isolation_level=None)) as db:
            for statement, status in (
                ("ALTER TABLE audit RENAME COLUMN actor TO someone", 503),
                ("ALTER TABLE audit RENAME COLUMN someone TO actor", 200),
            ):
                db.execute(statement)
                deadline = time.monotonic() + TIMEOUT_S
                while ready(live) != status:
                    assert time.monotonic() < deadline, f"not {status} although a column was renamed"
                    time.sleep(0.1)
        (reported, *_) = live.records("store cannot be used")
        assert "lacks audit.actor" in reported["problem"]
