"""Each engine of the store, for tests of what all of them have to do."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_gateway.accounts.store.base import Store
from ai_gateway.accounts.store.postgres import PostgresStore
from ai_gateway.accounts.store.sqlite import SqliteStore
from tests.support.servers import Server, migrated_database

type Stores = Callable[[], Store]
"""Makes stores of one database, one for each worker."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "gateway.db")
    server: Server = request.getfixturevalue("postgres")
    url = asyncio.run(migrated_database(server))
    return lambda: PostgresStore(url)
