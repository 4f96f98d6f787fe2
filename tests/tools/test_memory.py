"""The tool `memory`: what a model saves is found again, in bounds, and never under another key."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pydantic import JsonValue

from ai_gateway.accounts.memories import Memories, Owner, Quota, Subject, delete_memories, page_of_memories
from ai_gateway.accounts.store.base import Store
from ai_gateway.accounts.store.postgres import PostgresStore
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.contract.call import ANONYMOUS, Caller
from ai_gateway.errors import InvalidRequest
from ai_gateway.tools.memory import MemoryTool
from ai_gateway.tools.tool import Result, Use
from tests.support.servers import Server, migrated_database

QUOTA = Quota(entries=20, size=2_000, entry_size=400)
ALICE, BOB = Caller(key_id="key_alice", project_id="default"), Caller(key_id="key_bob", project_id="default")


@pytest.fixture(scope="module")
def shared_database(postgres: Server) -> str:
    """One for all tests: each has the memories of the one before it deleted, which takes a tenth of a new one."""
    return asyncio.run(migrated_database(postgres))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes stores of one database, one for each replica."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "gateway.db")
    url: str = request.getfixturevalue("shared_database")
    return lambda: PostgresStore(url)


async def empty(store: Store) -> Store:
    """The store, opened and without memories."""
    await store.open()
    await store.execute("DELETE FROM memories")
    return store


@pytest.fixture
async def store(stores: Callable[[], Store]) -> AsyncIterator[Store]:
    made = await empty(stores())
    yield made
    await made.aclose()


@pytest.fixture
def tool(store: Store) -> MemoryTool:
    memories = Memories(store, QUOTA)
    return MemoryTool(lambda: memories, lambda project_id: project_id != "forgetful")


async def called(
    tool: MemoryTool,
    name: str,
    caller: Caller = ALICE,
    options: Mapping[str, JsonValue] | None = None,
    /,
    **arguments: object,
) -> Result:
    functions = {each.name: each for each in await tool.functions(caller, options or {})}
    given: dict[str, JsonValue] = arguments  # type: ignore[assignment]
    return await functions[name].run(Use(caller, "call", "session", given, options or {}, 30))


async def contents(
    tool: MemoryTool, name: str = "memory_list", caller: Caller = ALICE, /, **arguments: object
) -> list[str]:
    result = await called(tool, name, caller, **arguments)
    assert not result.failed, result.text
    return [each["content"] for each in json.loads(result.text)["memories"]]


async def test_what_is_saved_is_found_listed_replaced_and_deleted(tool: MemoryTool) -> None:
    saved = json.loads((await called(tool, "memory_save", content="Her name is Ada Lovelace.")).text)["saved"]
    await called(tool, "memory_save", content="She likes tea.")
    assert await contents(tool, "memory_search", query="name ada") == ["Her name is Ada Lovelace."]
    assert await contents(tool, limit=1) == ["She likes tea."]
    await called(tool, "memory_save", content="Her name is Grace.", id=saved)
    assert await contents(tool, "memory_search", query="lovelace") == []
    assert sorted(await contents(tool)) == ["Her name is Grace.", "She likes tea."]
    assert not (await called(tool, "memory_delete", id=saved)).failed
    assert (await called(tool, "memory_delete", id=saved)).failed
    assert await contents(tool) == ["She likes tea."]


@pytest.mark.parametrize(
    ("content", "query"),
    [
        ("東京に住んでいます", "東京"),
        ("東京に住んでいます", "住んで"),
        ("She lives in Zürich", "ZÜRICH"),
        ("Straße 5", "STRASSE"),
        ('He said "no"', '"no"'),
        ("100% of c++ OR a*", "c++ OR"),
        ("it's NEAR(x)", "NEAR(x"),
        ("a_b", "_"),
        ("x", "x"),
        ("co\u0302te", "côte"),
        ("привет мир", "МИР"),
        ("back\\slash", "k\\s"),
        ("emoji 🎉 party", "🎉"),
    ],
)
async def test_words_of_every_script_are_found_and_nothing_of_a_query_is_a_command(
    tool: MemoryTool, content: str, query: str
) -> None:
    await called(tool, "memory_save", content=content)
    await called(tool, "memory_save", content="something else entirely")
    assert await contents(tool, "memory_search", query=query) == [content]


async def test_the_best_match_comes_first(tool: MemoryTool) -> None:
    for content in ("green tea", "green tea with milk at five", "coffee with milk"):
        await called(tool, "memory_save", content=content)
    assert (await contents(tool, "memory_search", query="milk tea five"))[0] == "green tea with milk at five"
    assert len(await contents(tool, "memory_search", query="milk tea", limit=2)) == 2


async def test_no_other_key_project_or_user_sees_it(tool: MemoryTool) -> None:
    saved = json.loads((await called(tool, "memory_save", content="alice's secret")).text)["saved"]
    moved = Caller(key_id="key_alice", project_id="other")
    local = Caller(key_id=None, trusted=True)
    others: list[tuple[Caller, dict[str, JsonValue]]] = [
        (BOB, {}),
        (moved, {}),
        (local, {}),
        (ALICE, {"subject": "u1"}),
        (BOB, {"subject": "key_alice"}),
    ]
    for caller, options in others:
        for result in (
            await called(tool, "memory_list", caller, options),
            await called(tool, "memory_search", caller, options, query="secret alice"),
        ):
            assert json.loads(result.text) == {"memories": []}
        assert (await called(tool, "memory_delete", caller, options, id=saved)).failed
        assert (await called(tool, "memory_save", caller, options, id=saved, content="overwritten")).failed
    assert await contents(tool) == ["alice's secret"]


async def test_an_end_user_has_memories_of_its_own(tool: MemoryTool) -> None:
    for user in ("u1", "u2"):
        await called(tool, "memory_save", ALICE, {"subject": user}, content=f"I am {user}")
    found = await called(tool, "memory_list", ALICE, {"subject": "u1"})
    assert [each["content"] for each in json.loads(found.text)["memories"]] == ["I am u1"]


async def test_quotas_hold_for_all_users_of_a_key_and_not_for_other_keys(tool: MemoryTool) -> None:
    for number in range(20):
        saved = await called(tool, "memory_save", ALICE, {"subject": f"u{number}"}, content=f"fact {number}")
        assert not saved.failed
    refused = await called(tool, "memory_save", content="one too many")
    assert refused.failed
    assert "as many as may be" in refused.text
    replaced = json.loads((await called(tool, "memory_list", ALICE, {"subject": "u3"})).text)["memories"][0]["id"]
    assert not (await called(tool, "memory_save", ALICE, {"subject": "u3"}, content="new", id=replaced)).failed
    assert not (await called(tool, "memory_save", BOB, content="mine")).failed


async def test_quotas_of_bytes_count_what_is_replaced(tool: MemoryTool) -> None:
    refused = await called(tool, "memory_save", content="ü" * 201)
    assert refused.failed
    assert "402" in refused.text
    ids = [
        json.loads((await called(tool, "memory_save", content=str(number) * 400)).text)["saved"] for number in range(5)
    ]
    assert (await called(tool, "memory_save", content="x")).failed
    assert not (await called(tool, "memory_save", content="y" * 400, id=ids[0])).failed
    assert not (await called(tool, "memory_save", content="short", id=ids[1])).failed
    assert not (await called(tool, "memory_save", content="x")).failed


async def test_quotas_hold_when_many_save_at_once(tool: MemoryTool) -> None:
    saved = await asyncio.gather(*(called(tool, "memory_save", content=f"fact {n}") for n in range(40)))
    assert sum(not each.failed for each in saved) == 20
    assert len(await contents(tool, limit=50)) == 20


async def test_quotas_hold_when_replicas_save_at_once(stores: Callable[[], Store]) -> None:
    made = [await empty(stores()) for _ in range(3)]
    replicas = [Memories(each, QUOTA) for each in made]

    async def save(number: int) -> bool:
        tool = MemoryTool(lambda: replicas[number % 3], lambda _: True)
        user = {"subject": f"u{number % 4}"}
        return not (await called(tool, "memory_save", ALICE, user, content=f"fact {number}")).failed

    try:
        saved = await asyncio.gather(*(save(number) for number in range(60)))
        assert sum(saved) == 20
        rows, _ = await page_of_memories(made[0], Subject(key_id=ALICE.key_id or ""), "", 100)
        assert len(rows) == 20
    finally:
        for each in made:
            await each.aclose()


@pytest.mark.parametrize("content", ["a\0b", "half \ud800 of", "\0", "\ud83d\ude00"])
async def test_texts_that_no_store_can_keep_are_kept_without_what_is_wrong(tool: MemoryTool, content: str) -> None:
    assert not (await called(tool, "memory_save", content=content)).failed
    assert len(await contents(tool)) == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("memory_save", {}),
        ("memory_save", {"content": " "}),
        ("memory_save", {"content": 5}),
        ("memory_save", {"content": "x", "id": "mem_unknown"}),
        ("memory_save", {"content": "x", "id": ["a"]}),
        ("memory_search", {}),
        ("memory_search", {"query": "x", "limit": 0}),
        ("memory_list", {"limit": "all"}),
        ("memory_list", {"limit": True}),
        ("memory_delete", {}),
        ("memory_delete", {"id": "mem_unknown"}),
        ("memory_delete", {"id": "\ud800\0"}),
    ],
)
async def test_what_a_model_gets_wrong_is_a_failed_result(
    tool: MemoryTool, name: str, arguments: dict[str, object]
) -> None:
    assert (await called(tool, name, **arguments)).failed
    assert await contents(tool) == []


async def test_a_request_may_narrow_it_to_reading(tool: MemoryTool) -> None:
    names = [each.name for each in await tool.functions(ALICE, {"read_only": True})]
    assert names == ["memory_search", "memory_list"]


@pytest.mark.parametrize(
    "options",
    [
        {"subject": ""},
        {"subject": "a\0"},
        {"subject": "x" * 257},
        {"subject": 1},
        {"read_only": "yes"},
        {"keys": "all"},
    ],
)
async def test_options_that_are_wrong_are_refused(tool: MemoryTool, options: dict[str, JsonValue]) -> None:
    with pytest.raises(InvalidRequest):
        await tool.functions(ALICE, options)


async def test_callers_that_cannot_be_told_apart_and_projects_that_keep_nothing_have_none(tool: MemoryTool) -> None:
    for caller in (ANONYMOUS, Caller(key_id="key", project_id="forgetful")):
        with pytest.raises(InvalidRequest):
            await tool.functions(caller, {})
    (save, *_) = await tool.functions(ALICE, {})
    late = Caller(key_id="key_alice", project_id="forgetful")  # of whom an administrator has just said so
    assert (await save.run(Use(late, "c", "s", {"content": "x"}, {}, 30))).failed


async def test_without_a_store_it_is_refused_and_a_store_that_is_away_is_a_failed_result(store: Store) -> None:
    with pytest.raises(InvalidRequest):
        await MemoryTool(lambda: None, lambda _: True).functions(ALICE, {})
    memories = Memories(store, QUOTA)
    tool = MemoryTool(lambda: memories, lambda _: True)
    await store.aclose()
    result = await called(tool, "memory_list")
    assert result.failed
    assert "go on without them" in result.text


async def test_administrators_read_and_delete_by_subject(tool: MemoryTool, store: Store) -> None:
    for caller, user in ((ALICE, "u1"), (ALICE, "u2"), (BOB, "u1")):
        await called(tool, "memory_save", caller, {"subject": user}, content=f"{caller.key_id} {user}")
    page, more = await page_of_memories(store, Subject(user_id="u1"), "", 1)
    assert more
    rest, more = await page_of_memories(store, Subject(user_id="u1"), page[-1].id, 10)
    assert not more
    assert {each.content for each in (*page, *rest)} == {"key_alice u1", "key_bob u1"}
    async with store.transaction() as session:
        assert await delete_memories(session, Subject(key_id="key_alice")) == 2
    left, _ = await page_of_memories(store, Subject(), "", 10)
    assert [each.content for each in left] == ["key_bob u1"]
    assert json.loads((await called(tool, "memory_search", BOB, {"subject": "u1"}, query="bob")).text)["memories"]
    assert json.loads((await called(tool, "memory_search", ALICE, {"subject": "u1"}, query="alice")).text) == {
        "memories": []
    }


WORDS = ("tea", "Tea", "milk", "東京", "a", 'q"x', "%", "OR", "straße")
OWNERS = tuple(Owner(key, project, user) for key in ("k1", "k2", "") for project in ("p1", "p2") for user in ("", "k1"))


class Remembering(RuleBasedStateMachine):
    """Several owners on one store, beside a list for each of what has to be there."""

    store: Store
    loop: asyncio.AbstractEventLoop

    @initialize()
    def empty(self) -> None:
        self.kept: dict[Owner, dict[str, str]] = {owner: {} for owner in OWNERS}
        self.memories = Memories(self.store, Quota(entries=4, size=60, entry_size=30))
        self.loop.run_until_complete(self._clear())

    async def _clear(self) -> None:
        async with self.store.transaction() as session:
            await delete_memories(session, Subject())

    @rule(owner=st.sampled_from(OWNERS), words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), data=st.data())
    def save(self, owner: Owner, words: list[str], data: st.DataObject) -> None:
        content = " ".join(words)
        everything = [identifier for kept in self.kept.values() for identifier in kept]
        replaced = data.draw(st.sampled_from([None, "mem_unknown", *everything]))
        family = [
            self.kept[each] for each in OWNERS if (each.key_id, each.project_id) == (owner.key_id, owner.project_id)
        ]
        others = [
            (i, text) for kept in family for i, text in kept.items() if i != replaced or i not in self.kept[owner]
        ]
        size = len(content.encode())
        fits = size <= 30 and len(others) < 4 and sum(len(text.encode()) for _, text in others) + size <= 60
        known = replaced is None or replaced in self.kept[owner]
        try:
            saved = self.loop.run_until_complete(self.memories.save(owner, content, replaced))
        except ValueError:
            assert not fits
            return
        assert (saved is not None) == known
        if saved is not None:
            assert fits
            self.kept[owner][saved.id] = content

    @rule(owner=st.sampled_from(OWNERS), data=st.data())
    def delete(self, owner: Owner, data: st.DataObject) -> None:
        everything = [identifier for kept in self.kept.values() for identifier in kept]
        identifier = data.draw(st.sampled_from(["mem_unknown", *everything]))
        deleted = self.loop.run_until_complete(self.memories.delete(owner, identifier))
        assert deleted == (self.kept[owner].pop(identifier, None) is not None)

    @rule(owner=st.sampled_from(OWNERS), words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
    def search(self, owner: Owner, words: list[str]) -> None:
        found = self.loop.run_until_complete(self.memories.search(owner, " ".join(words), 50))
        folded = [word.casefold() for word in words]
        expected = {
            identifier
            for identifier, text in self.kept[owner].items()
            if any(word in text.casefold() for word in folded)
        }
        assert {each.id for each in found} == expected
        assert len(found) == len(expected)

    @rule(subject=st.builds(Subject, *(st.sampled_from(("", name)) for name in ("k1", "p1", "k1"))))
    def delete_subject(self, subject: Subject) -> None:
        async def deleted() -> int:
            async with self.store.transaction() as session:
                return await delete_memories(session, subject)

        gone = 0
        for owner, kept in self.kept.items():
            if (
                subject.key_id in {"", owner.key_id}
                and subject.project_id in {"", owner.project_id}
                and subject.user_id in {"", owner.user_id}
            ):
                gone += len(kept)
                kept.clear()
        assert self.loop.run_until_complete(deleted()) == gone

    @invariant()
    def everybody_has_what_they_saved(self) -> None:
        for owner, kept in getattr(self, "kept", {}).items():
            found = self.loop.run_until_complete(self.memories.newest(owner, 50))
            assert {each.id: each.content for each in found} == kept


@pytest.mark.slow
def test_nobody_ever_has_what_another_has_saved(stores: Callable[[], Store]) -> None:
    with asyncio.Runner() as runner:
        Remembering.loop = runner.get_loop()
        Remembering.store = runner.run(empty(stores()))
        bounds = settings(max_examples=15, stateful_step_count=20, deadline=None)
        run_state_machine_as_test(Remembering, settings=bounds)
        runner.run(Remembering.store.aclose())
