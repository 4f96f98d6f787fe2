"""What is held for a call: all of it is settled, whatever happens to whoever does so."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import cast, override

import pytest

from ai_gateway.accounts.counters.base import Granted
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.entities import SpendLimit
from ai_gateway.accounts.holds import Held, Plan
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.prices import Prices
from ai_gateway.accounts.reservation import CallReservation, CountedHold, Settling
from ai_gateway.contract.call import Call
from tests.accounts.calls import started

pytestmark = pytest.mark.anyio

DAY = 86_400


@dataclass
class Slow(Settling):
    """Settles in counters, a while after it was asked to."""

    counted_in: MemoryCounters
    prices: Prices = field(default_factory=Prices)
    tasks: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    @override
    def counters(self) -> MemoryCounters:
        return self.counted_in

    @override
    async def settle(self, identifier: str, held: Held, amounts: Sequence[int], at: float) -> None:
        try:
            await asyncio.sleep(0.01)
        finally:
            await self.counters.settle(identifier, held.holds, amounts, at)

    @override
    def settle_at_once(self, identifier: str, held: Held, amounts: Sequence[int], at: float) -> bool:
        return False

    @override
    def soon(self, work: Awaitable[None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))


def scope(name: str) -> Scope:
    return Scope("project", name, SpendLimit(id=name, threshold_amount=100, interval="day"), budget_keys=(name,))


def reservation(accounting: Settling, at_s: float, held: Held | None = None) -> CallReservation:
    start = started(at=int(at_s * 1000), bound=7)
    counted = Granted(at_s, (), ())
    return CallReservation(accounting, Call("createChatCompletion", "r"), (), start, None, held, counted)


@pytest.mark.parametrize("turns", range(8))
async def test_whoever_is_cancelled_while_settling_leaves_nothing_held(turns: int) -> None:
    counters = MemoryCounters()
    accounting = Slow(counters)
    parts: list[CountedHold] = []
    for number in range(4):
        held = Plan((scope(f"p{number}"),), {"m"}, DAY).held(1, 7)
        await counters.seed(held.holds[0].counter, 0, 0)
        granted = await counters.reserve(f"call.{number}", held.holds)
        parts.append(CountedHold(f"call.{number}", held, cast("Granted", granted).at))
    made = reservation(accounting, DAY)
    made.later = tuple(parts)
    task = asyncio.create_task(made.settle())
    await asyncio.sleep(0.006 * turns)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.settle()
    await asyncio.gather(*accounting.tasks)
    names = [part.held.holds[0].counter for part in parts]
    assert {name: held for name, (_, held) in (await counters.read(names)).items()} == dict.fromkeys(names, 0)


@pytest.mark.parametrize("began", [DAY - 1.0, DAY + 1.0])
async def test_a_limit_that_is_set_later_counts_a_call_in_the_window_in_which_it_began(began: float) -> None:
    """As the ledger does: a call that began before midnight takes nothing of the day after."""
    made = reservation(Slow(MemoryCounters()), began)
    (hold,) = made.missing_holds((scope("p"),), 2**62).holds
    assert hold.counter == f"spend/p/day/UTC/{int(began) // DAY * DAY}"
