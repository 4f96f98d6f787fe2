"""The generator of records makes a ledger whose sums are right, and its questions have answers."""

from pathlib import Path

import pytest

from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.store.sqlite import SqliteStore
from scripts.fill_ledger import fill, measure

pytestmark = pytest.mark.slow

COUNT, END = 20_000, 1_790_000_000


async def test_a_small_ledger_is_filled_and_asked(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    ledger = Ledger(store)
    await fill(ledger, COUNT, END)
    assert (await ledger.contents()).records == COUNT
    assert await ledger.check() == []
    assert all(seconds >= 0 for seconds in (await measure(ledger, END)).values())
    await store.aclose()
