"""A deadline that moves with every event, without a timer for each."""

import asyncio
from contextlib import suppress

import pytest

from ai_gateway.providers.http.stream import TimerDeadline

_TICK_S = 0.02


async def _run(moves: list[float], *, rest: float) -> float:
    """When the block ended, in ticks from its start: at each tick the deadline is moved to so many ticks from then."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as clock:
            deadline = TimerDeadline(clock)
            for move in moves:
                deadline.at(loop.time() + move * _TICK_S)
                await asyncio.sleep(_TICK_S)
            await asyncio.sleep(rest * _TICK_S)
    return (loop.time() - began) / _TICK_S


@pytest.mark.parametrize(
    ("moves", "at_least"),
    [
        ([3], 3),  # once, and it rings
        ([40, 40, 40, 40, 40], 44),  # put off at each tick: it rings so long after the last
        ([1000, 2], 3),  # an earlier one counts from when it is said
        ([40, 1000, 1000, 3], 6),  # later and earlier again
    ],
)
async def test_it_rings_when_it_was_last_said_to(moves: list[float], at_least: float) -> None:
    assert at_least - 0.2 <= await _run(moves, rest=1000) < 500  # far from any other, however busy the machine is


async def test_what_ends_in_time_leaves_no_timer_behind() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as clock:
        deadline = TimerDeadline(clock)
        deadline.at(loop.time() + _TICK_S)
        deadline.stop()
        await asyncio.sleep(3 * _TICK_S)
    assert not clock.expired()
