"""A store whose file somebody removes or replaces while gateways use it: told, and nothing is lost with it."""

import asyncio
import os
from pathlib import Path

import pytest

from ai_gateway.accounts.store.base import StoreError
from ai_gateway.accounts.store.sqlite import SqliteStore
from tests.accounts.test_transactions import _names, _put
from tests.support.administration import ADMIN_KEY
from tests.support.client import CHAT, body_of, eventually, get, post
from tests.support.gateway import LiveGateway, run_cli, running_gateway

CALLER = "sk-caller-0123456789"


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_read_or_written_in_a_file_that_nobody_else_sees(tmp_path: Path, *, replaced: bool) -> None:
    path, aside = tmp_path / "gateway.db", tmp_path / "aside.db"
    store = SqliteStore(path)
    await store.open()
    await _put(store, "before")
    os.rename(path, aside)
    if replaced:
        path.touch()
    for work in (_put(store, "lost"), _names(store), store.execute("DELETE FROM meta"), store.problem()):
        with pytest.raises(StoreError, match="restart the gateway"):
            await work
    os.rename(aside, path)
    assert await _names(store) == {"before"}
    await _put(store, "after")
    assert await _names(store) == {"before", "after"}
    await store.aclose()


async def test_a_transaction_that_is_open_meanwhile_is_undone(tmp_path: Path) -> None:
    path, aside = tmp_path / "gateway.db", tmp_path / "aside.db"
    store = SqliteStore(path)
    await store.open()

    async def half() -> None:
        async with store.transaction() as session:
            await session.execute("INSERT INTO meta (name, value) VALUES ($1, 1)", "half")
            os.rename(path, aside)

    with pytest.raises(StoreError, match="restart the gateway"):
        await half()
    os.rename(aside, path)
    assert await _names(store) == set()
    await store.aclose()


def test_a_store_in_memory_is_no_file() -> None:
    async def works() -> None:
        store = SqliteStore(None)
        await store.open()
        await _put(store, "one")
        assert await _names(store) == {"one"}
        await store.aclose()

    asyncio.run(works())


def _calls(live: LiveGateway, times: int) -> None:
    for _ in range(times):
        assert post(live, "/v1/chat/completions", body_of(CHAT, "custom-chat"), key=CALLER).status_code == 200


@pytest.mark.live
def test_a_gateway_says_so_and_its_records_are_in_the_next_store(tmp_path: Path) -> None:
    env = {"ADMIN_API_KEY": ADMIN_KEY, "ALLOWED_API_KEYS": CALLER, "GATEWAY_DATA_DIR": str(tmp_path / "data")}
    path = tmp_path / "data" / "gateway.db"

    def recorded(live: LiveGateway) -> int:
        reply = get(live, "/v1/gateway/requests", key=ADMIN_KEY)
        return len(reply.json()["data"]) if reply.status_code == 200 else -1

    with running_gateway(**env) as live:
        _calls(live, 2)
        eventually(lambda: recorded(live) == 2)
        for file in path.parent.glob("gateway.db*"):
            file.unlink()
        eventually(lambda: get(live, "/health", key=ADMIN_KEY).json()["status"] == "degraded")
        _calls(live, 3)
        eventually(lambda: "the file was removed or replaced: restart the gateway" in live.log())
        assert run_cli("keys", "create", "alice", **env).returncode == 0  # makes a file of this name again
        assert get(live, "/health", key=ADMIN_KEY).json()["status"] == "degraded"
    with running_gateway(**env) as live:
        eventually(lambda: recorded(live) >= 3)  # and those that the journal still had beside them
