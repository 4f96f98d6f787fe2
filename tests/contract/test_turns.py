"""Turns: no caller starves another, and no place is lost or given twice."""

import asyncio
import random
from collections import Counter

import pytest

from ai_gateway.contract.turns import NoPlace, Turns

FOREVER_S = 600.0


async def queue(turns: Turns, order: list[str], *callers: str) -> list[asyncio.Task[None]]:
    """Have them wait in this order; each notes itself in `order` when it has a place, and keeps it."""

    async def wait(caller: str) -> None:
        await turns.take(caller, FOREVER_S)
        order.append(caller)

    tasks = [asyncio.create_task(wait(caller)) for caller in callers]
    await asyncio.sleep(0)
    return tasks


async def settle() -> None:
    """Let those who have got a place note it."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_free_place_goes_to_whoever_holds_the_fewest_and_then_in_turn() -> None:
    turns, order = Turns(3), list[str]()
    tasks = await queue(turns, order, *"aaaaaabcbc")
    assert order == ["a", "a", "a"]
    for caller in "aaabc":
        turns.release(caller)
        await settle()
    assert "".join(order[3:]) == "bcabc"
    for task in tasks:
        task.cancel()


async def test_one_alone_may_have_all_places_but_where_its_work_may_never_end() -> None:
    for turns, most in ((Turns(4), 4), (Turns(4, most_of_one=3), 3)):
        order = list[str]()
        tasks = await queue(turns, order, *"aaaaa")
        assert len(order) == most
        tasks += await queue(turns, order, "b")
        assert ("b" in order) == (most < 4)
        for task in tasks:
            task.cancel()


async def test_who_gets_no_place_in_time_is_told_and_forgotten() -> None:
    turns = Turns(1)
    await turns.take("a", 0)
    for caller in "ab":
        with pytest.raises(NoPlace):
            await turns.take(caller, 0.01)
    turns.release("a")
    await turns.take("b", 0)
    assert turns._held == Counter("b")
    assert not turns._waiting


async def test_the_place_of_one_cancelled_goes_to_the_next() -> None:
    turns, order = Turns(1), list[str]()
    await turns.take("a", 0)
    tasks = await queue(turns, order, "b", "c", "d")
    tasks[0].cancel()  # while it waits
    await settle()
    turns.release("a")
    tasks[1].cancel()  # when it has a place, and does not know it yet
    await settle()
    assert order == ["d"]
    assert turns._held == Counter("d")


@pytest.mark.parametrize("most_of_one", [None, 2])
async def test_no_place_is_lost_or_given_twice_whatever_happens(most_of_one: int | None) -> None:
    turns, chance = Turns(3, most_of_one), random.Random(7)
    inside: Counter[str] = Counter()

    async def work(caller: str) -> None:
        async with turns.place(caller if caller != "c" else None, chance.choice((0, 0.001, FOREVER_S))):
            inside[caller] += 1
            assert inside.total() <= 3
            assert max(inside.values()) <= (most_of_one or 3)
            try:
                await asyncio.sleep(chance.choice((0, 0, 0.001)))
            finally:
                inside[caller] -= 1

    tasks = []
    for _ in range(500):
        tasks.append(asyncio.create_task(work(chance.choice("aaaabc"))))
        if chance.random() < 0.2:
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
    async with asyncio.timeout(60):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [one for one in ended if isinstance(one, AssertionError)]
    assert ended.count(None) > 100
    assert (turns._free, turns._held, turns._waiting) == (3, Counter(), {})
