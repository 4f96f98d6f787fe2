"""What providers list: fetched together, rarely, by one task each, and never waited for for long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import override

import anyio

from ai_gateway.contract.call import Attempt
from ai_gateway.errors import UpstreamUnreachable
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.routing.provider_models import Catalogue
from gateway_contract.openai import models
from tests.support.clock import Clock

TTL_S = 60.0


class Listing(Provider):
    """Lists one model, another each time; or fails, or is silent until `released`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, SAME_WIRE)
        self.calls = 0
        self.broken = False
        self.called = anyio.Event()
        self.released = anyio.Event()
        self.released.set()

    def hold(self) -> None:
        """Answer nothing until `released` is set."""
        self.called, self.released = anyio.Event(), anyio.Event()

    @override
    async def list_models(self, attempt: Attempt) -> models.ListModelsResponse:
        self.calls += 1
        call = self.calls
        self.called.set()
        await self.released.wait()
        if self.broken:
            raise UpstreamUnreachable("no")
        model = models.Model(id=f"m{call}", object="model", created=1, owned_by="x")
        return models.ListModelsResponse(object="list", data=[model])


@asynccontextmanager
async def catalogue(
    *providers: Provider, clock: Clock | None = None, fetch_timeout_s: float = 30.0
) -> AsyncIterator[Catalogue]:
    made = Catalogue(providers, TTL_S, fetch_timeout_s=fetch_timeout_s, clock=clock or Clock())
    try:
        yield made
    finally:
        await made.aclose()


def listed(made: Catalogue) -> list[list[str] | None]:
    """The ids of every provider's models, as far as is known."""
    return [None if cached.listed is None else list(cached.listed) for cached in made.cached]


async def test_many_callers_at_once_fetch_a_list_once() -> None:
    provider = Listing("slow")
    provider.hold()
    async with catalogue(provider) as made:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(made.ensure_loaded)
            await provider.called.wait()
            provider.released.set()
        assert (provider.calls, listed(made)) == (1, [["m1"]])
        assert made.find("m1") == (provider, "m1")


async def test_a_caller_that_disconnects_does_not_end_the_fetch_for_the_others() -> None:
    provider = Listing("slow")
    provider.hold()
    async with catalogue(provider) as made:
        async with anyio.create_task_group() as group:
            group.start_soon(made.ensure_loaded)
            await provider.called.wait()
            group.cancel_scope.cancel()
        assert listed(made) == [None]
        provider.released.set()
        await made.ensure_loaded()
        assert (provider.calls, listed(made)) == (1, [["m1"]])


async def test_a_provider_that_hangs_costs_one_caller_the_timeout_and_the_next_ones_nothing() -> None:
    hanging, quick = Listing("hanging"), Listing("quick")
    hanging.hold()
    async with catalogue(hanging, quick, fetch_timeout_s=0.1) as made:
        await made.ensure_loaded()
        assert [cached.state for cached in made.cached] == ["unreachable", "ready"]
        for _ in range(10):
            await made.ensure_loaded(renew=True)
        assert (hanging.calls, quick.calls) == (1, 1)


async def test_a_check_waits_as_long_as_it_may_for_a_fetch_that_runs_already() -> None:
    hanging = Listing("hanging")
    hanging.hold()
    async with catalogue(hanging, fetch_timeout_s=30.0) as made:
        made.refresh()
        await hanging.called.wait()
        with anyio.fail_after(10):
            await made.check(0.1)
        (cached,) = made.cached
        assert (cached.state, hanging.calls) == ("unreachable", 1)
        hanging.released.set()  # what it was fetched for is not lost
        await made.ensure_loaded(renew=True)
        assert listed(made) == [["m1"]]


async def test_one_list_is_renewed_by_its_providers_name_when_it_is_stale() -> None:
    one, other = Listing("one"), Listing("other")
    async with catalogue(one, other) as made:
        made.renew("one")
        made.renew("one")
        made.renew("nobody")
        await one.called.wait()
        await anyio.wait_all_tasks_blocked()
        made.renew("one")
        await anyio.wait_all_tasks_blocked()
        assert (one.calls, other.calls, listed(made)) == (1, 0, [["m1"], None])


async def test_a_list_is_fetched_again_when_it_is_as_old_as_is_allowed_and_not_before() -> None:
    provider, clock = Listing("p"), Clock()
    async with catalogue(provider, clock=clock) as made:
        await made.ensure_loaded(renew=True)
        clock.now += TTL_S - 0.1
        await made.ensure_loaded(renew=True)
        assert provider.calls == 1
        clock.now += 0.1
        await made.ensure_loaded(renew=True)
        assert (provider.calls, listed(made)) == (2, [["m2"]])


async def test_a_failed_fetch_is_tried_again_sooner_than_a_list_is_renewed() -> None:
    provider, clock = Listing("p"), Clock()
    provider.broken = True
    async with catalogue(provider, clock=clock) as made:
        await made.ensure_loaded()
        provider.broken = False
        clock.now += 29.9
        await made.ensure_loaded(renew=True)
        assert provider.calls == 1
        clock.now += 0.1
        await made.ensure_loaded(renew=True)
        assert (provider.calls, listed(made)) == (2, [["m2"]])


async def test_an_outdated_list_holds_while_it_is_renewed_and_nobody_waits_for_that() -> None:
    provider, clock = Listing("slow"), Clock()
    async with catalogue(provider, clock=clock) as made:
        await made.ensure_loaded()
        clock.now += TTL_S
        provider.hold()
        await made.ensure_loaded()
        await provider.called.wait()
        assert listed(made) == [["m1"]]
        provider.released.set()
        await made.ensure_loaded(renew=True)
        assert listed(made) == [["m2"]]


async def test_a_list_stays_when_its_provider_cannot_be_asked_again() -> None:
    provider, clock = Listing("p"), Clock()
    async with catalogue(provider, clock=clock) as made:
        await made.ensure_loaded()
        provider.broken = True
        clock.now += TTL_S
        await made.ensure_loaded(renew=True)
        assert (made.cached[0].state, listed(made)) == ("unreachable", [["m1"]])
        provider.broken = False
        clock.now += TTL_S
        await made.ensure_loaded(renew=True)
        assert (made.cached[0].state, listed(made)) == ("ready", [["m3"]])


async def test_a_provider_that_offers_no_list_is_ready_and_has_nothing() -> None:
    async with catalogue(Provider("bare", SAME_WIRE)) as made:
        await made.ensure_loaded()
        assert [(cached.state, cached.listed) for cached in made.cached] == [("ready", {})]


async def test_closing_ends_what_is_being_fetched() -> None:
    provider = Listing("slow")
    provider.hold()
    made = Catalogue([provider])
    made.refresh()
    await provider.called.wait()
    with anyio.fail_after(30):
        await made.aclose()
    assert (made.cached[0].refreshing, made.cached[0].listed) == (None, None)
