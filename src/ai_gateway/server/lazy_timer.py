"""One timer for the deadlines of a connection, which every request moves and few reach."""

import math
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable


class LazyTimer:
    """Runs `check` at the earliest of the requested times, or before.

    Postponing a deadline costs nothing: the timer stays, fires too early, and `check` returns when it has to run next
    (infinity for never).
    """

    def __init__(self, loop: AbstractEventLoop, check: Callable[[], float]) -> None:
        self._loop = loop
        self._check = check
        self._fires_at = math.inf
        self._handle: TimerHandle | None = None

    def run_by(self, when: float) -> None:
        """Run `check` at this time of the loop's clock, or before."""
        if when >= self._fires_at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = when
        self._handle = self._loop.call_at(when, self._fire)

    def cancel(self) -> None:
        """Never run again."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._fires_at = None, -math.inf
        self._check = _nothing  # breaks the reference cycle

    def _fire(self) -> None:
        self._handle, self._fires_at = None, math.inf
        self.run_by(self._check())


def _nothing() -> float:
    return math.inf
