"""Real faults move the numbers that metrics read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.app.meters import Meters
from ai_gateway.observability.families import BODY_BUDGET, BREAKERS, IN_FLIGHT, REQUESTS, Family
from ai_gateway.observability.metrics import Event, counted
from tests.support.behaviours import MODELS
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
NAMES = iter(f"meter{number}" for number in range(1000))


@dataclass
class Bench:
    """A gateway in this process with one provider of a name of its own, since counts are the process's."""

    name: str
    http: httpx2.AsyncClient
    meters: Meters
    before: dict[Event, dict[tuple[str, ...], int]]

    async def ask(self, model: str, **fields: Any) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
        return await self.http.post(f"/{self.name}/v1/chat/completions", json=body)

    def value(self, family: Family, *labels: str) -> float:
        """How it stands now."""
        return self.meters.own().values[family.name].get(labels, 0)

    @property
    def breaker(self) -> str:
        """Its state."""
        (state,) = (state for state in ("closed", "half-open", "open") if self.value(BREAKERS, self.name, state))
        return state

    @property
    def held(self) -> tuple[float, float]:
        """Requests in flight, and bytes of their bodies."""
        return self.value(IN_FLIGHT), self.value(BODY_BUDGET)

    def counted(self, event: Event) -> dict[tuple[str, ...], int]:
        """Of this gateway alone."""
        before = self.before[event]
        after = counted(event)
        return {
            labels: times - before.get(labels, 0) for labels, times in after.items() if times > before.get(labels, 0)
        }


@pytest.fixture
async def bench(upstream: Upstream, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    name = next(NAMES)
    given: dict[str, Any] = {"log_level": "error", "providers": {name: {"base_url": upstream.url}}}
    application = build(read_configuration(**{**given, **getattr(request, "param", {})}))
    transport = httpx2.ASGITransport(application.asgi, client=("127.0.0.1", 1))
    base = "http://127.0.0.1:9000"
    async with aclosing(application), httpx2.AsyncClient(transport=transport, base_url=base) as http:
        await application.start()
        yield Bench(name, http, application.meters, {event: counted(event) for event in Event})


def settings(**given: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [given], indirect=True)


async def test_what_is_good_moves_nothing(bench: Bench) -> None:
    for stream in (False, True):
        assert (await bench.ask("good", stream=stream)).status_code == 200
    assert {event: bench.counted(event) for event in Event} == {event: {} for event in Event}
    assert bench.breaker == "closed"
    assert bench.held == (0, 0)


@pytest.mark.slow
@settings(breaker_threshold=0)
async def test_retries_count_for_the_provider_that_is_asked_again(bench: Bench) -> None:
    assert (await bench.ask("status-500")).status_code == 502
    assert bench.counted(Event.RETRY) == {(bench.name,): 2}


@pytest.mark.slow
@settings(breaker_threshold=2, breaker_pause_s=1.5, max_retries=0)
async def test_a_breaker_shows_its_state_what_opened_it_and_what_it_refused(bench: Bench) -> None:
    for _ in range(2):
        await bench.ask("close-at-once")
    assert bench.breaker == "open"
    assert [(await bench.ask("good")).status_code for _ in range(3)] == [503] * 3
    assert bench.counted(Event.BREAKER_OPENED) == {(bench.name,): 1}
    assert bench.counted(Event.BREAKER_REFUSED) == {(bench.name,): 3}
    await asyncio.sleep(1.6)
    assert bench.breaker == "half-open"
    assert (await bench.ask("status-500")).status_code == 502
    assert bench.counted(Event.BREAKER_OPENED) == {(bench.name,): 2}
    await asyncio.sleep(1.6)
    assert (await bench.ask("good")).status_code == 200
    assert bench.breaker == "closed"


async def test_streams_that_break_count_by_kind(bench: Bench) -> None:
    for model in ("stream-cut", "stream-unfinished", "stream-broken-json", "stream-error"):
        assert (await bench.ask(model, stream=True)).status_code == 200
    assert bench.counted(Event.BROKEN_STREAM) == {
        (bench.name, "upstream_stream_truncated"): 2,
        (bench.name, "upstream_invalid_response"): 1,
        (bench.name, "upstream_overloaded"): 1,
    }


async def test_what_is_mended_counts(bench: Bench) -> None:
    await bench.ask("sloppy")
    counted = bench.counted(Event.REPAIR)
    assert counted
    assert {provider for provider, _ in counted} == {bench.name}


@settings(unknown_params="drop")
async def test_what_is_dropped_counts(bench: Bench) -> None:
    await bench.ask("good", own_field=1)
    assert bench.counted(Event.DROPPED) == {(bench.name, "other"): 1}


@pytest.mark.slow
@settings(max_in_flight=1, request_max_size=4000, bodies_max_size=4000)
async def test_who_is_turned_away_counts_and_who_is_in_is_seen(bench: Bench, upstream: Upstream) -> None:
    first = asyncio.create_task(bench.ask("paced#counted", stream=True))
    await asyncio.to_thread(upstream.last, "paced#counted")
    assert bench.value(IN_FLIGHT) == 1
    assert bench.value(BODY_BUDGET) > 50
    assert (await bench.ask("good")).status_code == 503
    assert bench.counted(Event.OVERLOAD) == {("requests",): 1}
    assert (await first).status_code == 200
    assert bench.held == (0, 0)


@pytest.mark.slow
@settings(request_max_size=4000, bodies_max_size=4000)
async def test_bodies_that_do_not_fit_count_apart(bench: Bench, upstream: Upstream) -> None:
    first = asyncio.create_task(bench.ask("paced#weighed", stream=True, user="u" * 2000))
    await asyncio.to_thread(upstream.last, "paced#weighed")
    assert (await bench.ask("good", user="u" * 2500)).status_code == 503
    assert bench.counted(Event.OVERLOAD) == {("bodies",): 1}
    assert (await first).status_code == 200


async def test_a_listed_model_has_its_name_though_nobody_has_asked_for_the_list(bench: Bench) -> None:
    def named() -> float:
        text = [line for line in bench.meters.own().values[REQUESTS.name].items() if line[0][2] == bench.name]
        return sum(times for labels, times in text if labels[3] == MODELS[1])

    async with asyncio.timeout(30):
        while not named():
            assert (await bench.ask(MODELS[1])).status_code == 200
    assert (await bench.ask("of-a-caller")).status_code == 200
    labels = {key[3] for key in bench.meters.own().values[REQUESTS.name] if key[2] == bench.name}
    assert labels == {MODELS[1], "other"}
