"""Projects that a configuration names: found by id or name, and made once where there is none."""

from collections.abc import AsyncIterator

import pytest

from ai_gateway.accounts.directory import Actor, Directory
from ai_gateway.accounts.entities import DEFAULT_PROJECT, Project
from ai_gateway.accounts.keys import ConfiguredKey, KeyRing
from ai_gateway.accounts.projects import make_missing, project_called
from tests.accounts.conftest import Stores

SOMEBODY = Actor(None, "test")


@pytest.fixture
async def two_workers(stores: Stores) -> AsyncIterator[tuple[Directory, Directory]]:
    both = Directory(stores()), Directory(stores())
    for directory in both:
        await directory.start()
    yield both
    for directory in both:
        await directory.aclose()


async def test_a_project_is_made_once_whoever_is_first(two_workers: tuple[Directory, Directory]) -> None:
    one, two = two_workers
    await make_missing(one, ["team", DEFAULT_PROJECT, "team"])
    await make_missing(two, ["team", "other"])
    await one.refresh()
    assert sorted(project.name or "" for project in one.all(Project)) == ["Default", "other", "team"]
    assert project_called(one, "team") == project_called(two, "team")


async def test_an_active_project_counts_before_an_archived_one_of_its_name(
    two_workers: tuple[Directory, Directory],
) -> None:
    directory, _ = two_workers
    async with directory.change(SOMEBODY) as change:
        change.put(Project(id="proj_1", name="team", created_at=1, archived_at=2))
        change.put(Project(id="proj_2", name="team", created_at=3))
        change.put(Project(id="proj_3", name="team", created_at=4))
        change.put(Project(id="proj_4", name="over", created_at=4, archived_at=5))
    found = {name: project_called(directory, name) for name in ("team", "proj_1", "over", "nothing")}
    assert {name: project and project.id for name, project in found.items()} == {
        "team": "proj_2", "proj_1": "proj_1", "over": "proj_4", "nothing": None,
    }  # fmt: skip
    await make_missing(directory, ["over"])
    assert len(list(directory.all(Project))) == 5


async def test_a_key_of_the_configuration_is_in_the_project_that_it_names(
    two_workers: tuple[Directory, Directory],
) -> None:
    directory, _ = two_workers
    ring = KeyRing([ConfiguredKey(name="keys.alice", key="sk-of-alice", project="team")], directory)
    directory.on_change = ring.forget
    await make_missing(directory, ["team"])
    project = project_called(directory, "team")
    assert project is not None
    caller = ring.find("sk-of-alice")
    assert caller is not None
    assert caller.project_id == project.id
    async with directory.change(SOMEBODY) as change:
        change.put(Project(id=project.id, name="team", created_at=project.created_at, archived_at=9))
    assert ring.find("sk-of-alice") is None
