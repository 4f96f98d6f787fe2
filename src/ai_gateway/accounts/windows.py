"""Calendar windows of spend limits: pure functions of zone, interval and instant.

No task resets counters: an instant belongs to a window, and each window has a counter of its own.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ai_gateway.accounts.entities import Interval


class Window(NamedTuple):
    """From `start` to before `end`, in seconds since the epoch; `end` is None for no end."""

    start: int
    end: int | None

    def holds(self, at: float) -> bool:
        """Whether this instant belongs to it."""
        return self.start <= at and (self.end is None or at < self.end)


def window_at(interval: Interval, zone: str, at: float) -> Window:
    """The window of an instant, for an interval in the calendar of an IANA zone.

    A week begins on Monday (ISO 8601). A day begins at its first instant, also if midnight is skipped. Raises
    ZoneInfoNotFoundError.
    """
    if interval == "total":
        return Window(0, None)
    known = _last.get((interval, zone))
    if known is None or not known.holds(at):
        known = _last[interval, zone] = _window(interval, zone, at)
    return known


_last: dict[tuple[Interval, str], Window] = {}


def _window(interval: Interval, zone: str, at: float) -> Window:
    day = datetime.fromtimestamp(at, UTC).astimezone(_zone(zone)).date()
    if interval == "day":
        first, last = day, day + timedelta(days=1)
    elif interval == "week":
        first = day - timedelta(days=day.weekday())
        last = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        last = (first + timedelta(days=31)).replace(day=1)
    return Window(_begins(first, zone), _begins(last, zone))


def _begins(day: date, zone: str) -> int:
    # A skipped midnight is read with the offset before it, which gives the instant of the change; of two midnights it
    # is the first (PEP 495, fold 0).
    return int(datetime(day.year, day.month, day.day, tzinfo=_zone(zone)).timestamp())


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
