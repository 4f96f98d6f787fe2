"""The copy of what administrators have made: whatever fails after a change, what is stored is done, and is known."""

from collections.abc import Sequence
from pathlib import Path
from typing import override

import pytest

from ai_gateway.accounts.directory import Actor, Directory
from ai_gateway.accounts.entities import Project
from ai_gateway.accounts.store.base import Row, StoreError, Value
from ai_gateway.accounts.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


class Unreadable(SqliteStore):
    """Whose connection to read by may be lost, while the other one writes."""

    is_lost = False

    @override
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        if self.is_lost:
            raise StoreError("the connection was lost")
        return await super().fetch(statement, *values)


async def test_a_change_that_is_stored_is_told_as_done_and_known_at_once(tmp_path: Path) -> None:
    store = Unreadable(tmp_path / "gateway.db")
    changes: list[None] = []
    directory = Directory(store, lambda: changes.append(None))
    await directory.start()
    before = len(changes)
    store.is_lost = True
    async with directory.change(Actor(None, "somebody")) as change:
        change.put(Project(id="proj_1", name="made", created_at=1))
    known = directory.get(Project, "proj_1")
    assert known is not None
    assert (known.name, len(changes)) == ("made", before + 1)
    async with directory.change(Actor(None, "somebody")) as change:
        change.delete(Project, "proj_1")
        change.put(Project(id="proj_2", name="next", created_at=2))
    assert directory.get(Project, "proj_1") is None
    store.is_lost = False
    other = Directory(SqliteStore(tmp_path / "gateway.db"))
    await other.start()
    for each in (directory, other):
        await each.refresh()
        assert {project.id for project in each.all(Project)} == {"default", "proj_2"}
        await each.aclose()


async def test_what_could_not_be_stored_is_told_and_not_known(tmp_path: Path) -> None:
    store = Unreadable(tmp_path / "gateway.db")
    directory = Directory(store)
    await directory.start()

    async def fail() -> None:
        async with directory.change(Actor(None, "somebody")) as change:
            change.put(Project(id="proj_1", name="never", created_at=1))
            raise StoreError("away")

    with pytest.raises(StoreError):
        await fail()
    assert directory.get(Project, "proj_1") is None
    await directory.aclose()
