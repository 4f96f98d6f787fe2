"""The feed of the model list between a host that fails in every way and a store on disk."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from ai_gateway.routing.model_list.feed import ListFeed, ListStatus
from ai_gateway.routing.model_list.parse import ModelList
from ai_gateway.routing.model_list.store import ListStore
from tests.support.clock import Clock
from tests.support.list_host import FAULTS, ListHost, hang, item
from tests.support.upstream import Upstream, running_upstream

LIST = [item("first", "/openai"), item("second", "/groq"), item("broken", "/openai", prompt_price_1k=-1)]
ONE_HOUR = 3600.0


class Bench:
    """A host, and feeds of its list whose clock stands still."""

    def __init__(self, source: ListHost, host: Upstream, place: Path) -> None:
        self.source, self.host = source, host
        self.url = f"{host.url}/models.json?signature=canary"
        self.store = ListStore(place / "list.json", self.url)
        self.clock = Clock(time.time())
        self.adopted: list[list[str]] = []
        self.timeout_s = 30.0

    @asynccontextmanager
    async def feed(self, store: ListStore | None = None) -> AsyncIterator[ListFeed]:
        made = ListFeed(
            self.url,
            self.adopt,
            refresh_s=ONE_HOUR,
            store=store or self.store,
            fetch_timeout_s=self.timeout_s,
            clock=self.clock,
        )
        await made.start()
        try:
            await until(lambda: made.status.state == "fresh" or made.status.problem is not None)
            yield made
        finally:
            await made.aclose()

    def adopt(self, models: ModelList) -> None:
        self.adopted.append([entry.id for entry in models.entries])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    source = ListHost(LIST)
    with running_upstream(source.behave) as host:
        yield Bench(source, host, tmp_path)


async def until(happened: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not happened():  # noqa: ASYNC110 - neither a feed nor a host tells of what it does
            await anyio.sleep(0.01)


async def becomes(feed: ListFeed, state: str) -> ListStatus:
    """Fetch now, and wait for the state that comes of it."""
    feed.refresh()
    await until(lambda: feed.status.state == state)
    return feed.status


async def test_a_list_is_fresh_from_the_start_and_its_age_counts_from_the_fetch(bench: Bench) -> None:
    async with bench.feed() as feed:
        status = feed.status
        assert (status.state, status.age_s, status.problem) == ("fresh", 0.0, None)
        assert [entry.id for entry in status.models.entries] == ["first", "second"]
        assert len(status.models.problems) == 1
        bench.clock.now += 77
        assert feed.status.age_s == 77
    assert bench.adopted == [["first", "second"]]


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.slow) if fault == "hang" else fault for fault in FAULTS]
)
async def test_a_failed_refresh_keeps_the_last_valid_list_and_a_later_one_repairs_it(bench: Bench, fault: str) -> None:
    bench.timeout_s = 3.0 if fault == "hang" else 30.0
    async with bench.feed() as feed:
        bench.source.act = FAULTS[fault]
        bench.clock.now += 5
        status = await becomes(feed, "stale")
        assert status.problem
        assert "canary" not in status.problem
        assert status.age_s == 5
        assert [entry.id for entry in status.models.entries] == ["first", "second"]
        bench.source.document, bench.source.act = {"models": [item("newer", "/openai")]}, bench.source.good
        status = await becomes(feed, "fresh")
        assert (status.problem, status.age_s) == (None, 0.0)
    assert bench.adopted == [["first", "second"], ["newer"]]
    assert "/elsewhere" not in {seen.path for seen in bench.host.requests}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_host_that_is_down_at_the_start_leaves_the_copy_on_disk(bench: Bench, fault: str) -> None:
    async with bench.feed():
        pass
    bench.source.act = FAULTS[fault]
    bench.timeout_s = 0.2 if fault == "hang" else 30.0
    bench.clock.now += 60
    async with bench.feed() as feed:
        assert (feed.status.state, feed.status.age_s) == ("stale", 60)
        assert bench.adopted == [["first", "second"]] * 2


@pytest.mark.slow
async def test_a_host_that_hangs_delays_the_start_for_a_moment_only(bench: Bench) -> None:
    bench.source.act = hang
    started = ListFeed(bench.url, bench.adopt, refresh_s=ONE_HOUR, fetch_timeout_s=ONE_HOUR)
    with anyio.fail_after(60):
        await started.start()
    assert (started.status.state, started.status.age_s) == ("loading", None)
    with anyio.fail_after(60):
        await started.aclose()


async def test_a_copy_on_disk_is_for_its_address_alone(bench: Bench, tmp_path: Path) -> None:
    async with bench.feed():
        pass
    assert ListStore(tmp_path / "list.json", bench.url).load() is not None
    assert ListStore(tmp_path / "list.json", f"{bench.url}&other").load() is None
    assert "canary" not in (tmp_path / "list.json").read_text("utf-8")


@pytest.mark.parametrize("content", [b"garbage", b"{}\n[]", json.dumps({"format": 1}).encode() + b"\n[]"])
async def test_a_damaged_copy_is_as_good_as_none(bench: Bench, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.json").write_bytes(content)
    bench.source.act = FAULTS["refuse"]
    async with bench.feed() as feed:
        status = feed.status
    assert (status.state, status.age_s, status.models.entries) == ("missing", None, ())


async def test_an_unchanged_list_is_adopted_once(bench: Bench) -> None:
    async with bench.feed() as feed:
        for fetched in (2, 3):
            feed.refresh()
            await until(lambda: len(bench.host.requests) == fetched)  # noqa: B023 - it is awaited here
        await becomes(feed, "fresh")
    assert bench.adopted == [["first", "second"]]


async def test_a_disk_that_cannot_be_written_to_costs_nothing_but_the_copy(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with bench.feed(ListStore(tmp_path / "file" / "list.json", bench.url)) as feed:
        assert feed.status.state == "fresh"


async def test_the_credential_of_the_list_goes_to_its_host_and_no_other_does(bench: Bench) -> None:
    async with bench.feed():
        pass
    with_key = ListFeed(bench.url, bench.adopt, refresh_s=ONE_HOUR, api_key="for-the-list")
    await with_key.start()
    await with_key.aclose()
    first, second = bench.host.requests
    assert not {name for name, _ in first.headers} & {"authorization", "cookie", "x-api-key", "proxy-authorization"}
    assert second.header("authorization") == "Bearer for-the-list"
