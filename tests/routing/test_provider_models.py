"""What providers say they have: asked together, rarely, by one task each, and never waited for for long."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import override

import anyio
import pytest

from ai_gateway.contract.call import Attempt
from ai_gateway.errors import UpstreamUnreachable
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.routing.provider_models import FETCH_TIMEOUT_S, Catalogue
from gateway_contract.openai import models

pytestmark = pytest.mark.anyio


def holder(made: Catalogue, model: str) -> Provider | None:
    """Who has the model, under its own name."""
    found = made.find(model)
    assert found is None or found[1] == model
    return found[0] if found else None


class Slow(Provider):
    """Lists one model after a while; or fails, or hangs, as long as it is told to."""

    def __init__(self, name: str, delay: float = 0.0) -> None:
        super().__init__(name, SAME_WIRE)
        self.delay = delay
        self.asked = 0
        self.broken = False

    @override
    async def list_models(self, attempt: Attempt) -> models.ListModelsResponse:
        self.asked += 1
        await anyio.sleep(self.delay)
        if self.broken:
            raise UpstreamUnreachable("no")
        model = models.Model(id=f"m{self.asked}", object="model", created=1, owned_by="x")
        return models.ListModelsResponse(object="list", data=[model])


@asynccontextmanager
async def catalogue(*providers: Provider, ttl_s: float = 60.0) -> AsyncIterator[Catalogue]:
    made = Catalogue(providers, ttl_s)
    try:
        yield made
    finally:
        await made.aclose()


async def test_many_callers_at_once_ask_a_provider_once() -> None:
    slow = Slow("slow", 0.1)
    async with catalogue(slow) as made:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(made.ensure_loaded)
        assert (slow.asked, holder(made, "m1")) == (1, slow)


async def test_a_caller_who_leaves_does_not_end_the_asking_for_the_others() -> None:
    slow = Slow("slow", 0.2)
    async with catalogue(slow) as made:
        with anyio.move_on_after(0.05):
            await made.ensure_loaded()
        assert holder(made, "m1") is None
        await made.ensure_loaded()
        assert (slow.asked, holder(made, "m1")) == (1, slow)


async def test_a_provider_that_hangs_costs_one_caller_a_moment_and_the_next_ones_nothing() -> None:
    hanging, quick = Slow("hanging", 3600), Slow("quick")
    async with catalogue(hanging, quick) as made:
        started = time.monotonic()
        await made.ensure_loaded()
        assert FETCH_TIMEOUT_S - 0.5 < time.monotonic() - started < FETCH_TIMEOUT_S + 2
        assert [cached.state for cached in made.cached] == ["unreachable", "ready"]
        started = time.monotonic()
        for _ in range(10):
            await made.ensure_loaded(renew=True)
        assert time.monotonic() - started < 0.5
        assert (hanging.asked, quick.asked) == (1, 1)


async def test_an_outdated_answer_holds_while_it_is_renewed() -> None:
    slow = Slow("slow")
    async with catalogue(slow, ttl_s=0.05) as made:
        await made.ensure_loaded()
        await anyio.sleep(0.1)
        slow.delay = 0.2
        started = time.monotonic()
        await made.ensure_loaded()
        assert time.monotonic() - started < 0.1, "nobody waits for a renewal"
        assert holder(made, "m1") is slow
        await anyio.sleep(0.3)
        assert (holder(made, "m1"), holder(made, "m2")) == (None, slow)


async def test_what_a_provider_said_stays_when_it_cannot_be_asked_again() -> None:
    provider = Slow("p")
    async with catalogue(provider, ttl_s=0.05) as made:
        await made.ensure_loaded()
        provider.broken = True
        await anyio.sleep(0.1)
        await made.ensure_loaded(renew=True)
        assert (made.cached[0].state, holder(made, "m1")) == ("unreachable", provider)
        provider.broken = False
        await anyio.sleep(0.1)
        await made.ensure_loaded(renew=True)
        assert (made.cached[0].state, holder(made, "m3")) == ("ready", provider)


async def test_a_provider_that_offers_no_list_is_ready_and_has_nothing() -> None:
    async with catalogue(Provider("bare", SAME_WIRE)) as made:
        await made.ensure_loaded()
        assert [(cached.state, cached.listed) for cached in made.cached] == [("ready", {})]


async def test_closing_ends_what_is_being_asked() -> None:
    slow = Slow("slow", 3600)
    made = Catalogue([slow])
    made.refresh()
    await anyio.sleep(0.01)
    with anyio.fail_after(1):
        await made.aclose()
    assert made.cached[0].refreshing is None
