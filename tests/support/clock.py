"""Time that passes when a test says so."""

from collections.abc import Callable
from contextlib import suppress


class _Alarm:
    def __init__(self, alarms: list["_Alarm"], when: float, callback: Callable[[], None]) -> None:
        self._alarms = alarms
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        with suppress(ValueError):
            self._alarms.remove(self)


class StoppedClock:
    """Time that passes when the test says so, for whoever asks an event loop for no more than the time and an alarm."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.alarms: list[_Alarm] = []
        self.set = 0
        """How many alarms there were so far."""

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> _Alarm:
        self.set += 1
        alarm = _Alarm(self.alarms, when, callback)
        self.alarms.append(alarm)
        return alarm

    def advance(self, seconds: float) -> None:
        """Let that much time pass, and every alarm in it ring."""
        end = self.now + seconds
        while due := [alarm for alarm in self.alarms if alarm.when <= end]:
            first = min(due, key=lambda alarm: alarm.when)
            first.cancel()
            self.now = max(self.now, first.when)
            first.callback()
        self.now = end


class Clock:
    """What is given a clock reads `now`, which stands still."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
