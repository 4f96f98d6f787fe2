"""A timer whose deadlines can be moved away at no cost."""

import asyncio
import math
from collections.abc import Callable
from typing import cast

import pytest

from ai_gateway.server.lazy_timer import LazyTimer
from tests.support.served import WoundLoop

pytestmark = pytest.mark.anyio


def timer_of(loop: WoundLoop, check: Callable[[], float] = lambda: math.inf) -> LazyTimer:
    return LazyTimer(cast("asyncio.AbstractEventLoop", loop), check)


async def test_later_deadlines_leave_the_timer_as_it_is() -> None:
    loop = WoundLoop()
    timer = timer_of(loop)
    for when in (5_000.0, 5_000.0, 9_000.0, math.inf):
        timer.run_by(when)
    assert loop.set() == [5_000.0]


async def test_an_earlier_deadline_sets_it_anew() -> None:
    loop = WoundLoop()
    timer = timer_of(loop)
    timer.run_by(5_000.0)
    timer.run_by(3_000.0)
    assert loop.set() == [3_000.0]


async def test_what_fires_too_early_fires_again_when_the_check_says() -> None:
    loop = WoundLoop()
    checked: list[float] = []

    def check() -> float:
        checked.append(loop.now)
        return 1_008.0 if loop.now < 1_008 else math.inf

    timer_of(loop, check).run_by(1_005.0)
    loop.wind(100)
    assert checked == [1_005.0, 1_008.0]
    assert loop.set() == []


async def test_once_cancelled_it_never_runs_again() -> None:
    loop = WoundLoop()
    timer = timer_of(loop)
    timer.run_by(5_000.0)
    timer.cancel()
    timer.run_by(2_000.0)
    assert loop.set() == []
