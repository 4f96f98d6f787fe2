"""Twice as much takes twice as long: how that is measured, and when it is not true."""

import gc
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from ai_gateway.errors import GatewayError

MAX_TIMES = 2.3
CHEAP_S = 0.02
SIZES = (2_000,)
TRIES = 15

type Work = Callable[[], object]


def cost(prepare: Callable[[int], Work], size: int) -> float:
    """CPU seconds for this size, without its preparation."""
    work = prepare(size)
    gc.disable()
    try:
        began = time.process_time()
        with suppress(GatewayError):  # refusing is an answer too
            work()
        return time.process_time() - began
    finally:
        gc.enable()


def assert_linear(
    prepare: Callable[[int], Work], what: str, sizes: tuple[int, ...] = SIZES, cheap_s: float = CHEAP_S
) -> None:
    """Twice the size may cost so many times as much, at the first size that costs enough to tell."""
    once = 0.0
    for size in sizes:
        once = cost(prepare, size)
        if once >= cheap_s:
            break
    else:
        return
    least = math.inf
    for _ in range(TRIES):
        # Compared are neighbours: how fast the machine is changes from second to second with what its others do.
        least = min(least, times(prepare, size, 2))
        if least <= MAX_TIMES:
            sys.stdout.write(f"{what}: {size:,} take {once:.3f} s, twice as much {least:.2f} times that\n")
            return
    # Where a cache just holds the one and not the other, doubling twice tells a line from a square all the same.
    if all(times(prepare, size, 4) > MAX_TIMES**2 for _ in range(TRIES)):
        pytest.fail(f"{what}: {size:,} take {once:.3f} s, and twice as much {least:.1f} times that")


def times(prepare: Callable[[int], Work], size: int, more: int) -> float:
    """How many times as much the larger one costs as the smaller, measured before it and after it."""
    before, much, after = (cost(prepare, each) for each in (size, more * size, size))
    return much / min(before, after)
