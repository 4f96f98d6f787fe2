"""Windows of money: calendars of zones, against a reference that looks for every change of day by itself."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, strategies as st

from ai_gateway.accounts.entities import Interval
from ai_gateway.accounts.windows import window_at

# Changes of clocks at midnight, at 2 and by half an hour; zones far from UTC on both sides.
ZONES = ("UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Kiritimati")
_INTERVALS: tuple[Interval, ...] = ("day", "week", "month")
_instants = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)).map(lambda at: at.replace(tzinfo=UTC).timestamp())  # noqa: DTZ001 - made aware here


def _local(at: float, zone: str) -> date:
    return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone)).date()


def _same(interval: Interval) -> Callable[[date, date], bool]:
    """Whether two days are in the same interval, by what calendars say of a day."""
    if interval == "day":
        return lambda one, other: one == other
    if interval == "week":
        return lambda one, other: one.isocalendar()[:2] == other.isocalendar()[:2]
    return lambda one, other: (one.year, one.month) == (other.year, other.month)


@given(at=_instants, zone=st.sampled_from(ZONES), interval=st.sampled_from(_INTERVALS))
@example(at=datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC).timestamp(), zone="Europe/Berlin", interval="day")
@example(at=datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp(), zone="Europe/Berlin", interval="day")
@example(at=datetime(2026, 9, 6, 4, 0, tzinfo=UTC).timestamp(), zone="America/Santiago", interval="day")
@example(at=datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp(), zone="UTC", interval="week")
@example(at=datetime(2024, 12, 31, 10, 0, tzinfo=UTC).timestamp(), zone="Pacific/Kiritimati", interval="month")
def test_a_window_is_the_instants_of_one_interval_of_the_calendar(at: float, zone: str, interval: Interval) -> None:
    window = window_at(interval, zone, at)
    assert window.end is not None
    same, here = _same(interval), _local(at, zone)
    assert window.start <= at < window.end
    assert same(here, _local(window.start, zone))
    assert same(here, _local(window.end - 1, zone))
    assert not same(here, _local(window.start - 1, zone))
    assert not same(here, _local(window.end, zone))


@given(at=_instants, zone=st.sampled_from(ZONES), interval=st.sampled_from(_INTERVALS))
def test_windows_follow_each_other_without_a_gap(at: float, zone: str, interval: Interval) -> None:
    window = window_at(interval, zone, at)
    assert window.end is not None
    following = window_at(interval, zone, window.end)
    assert following.start == window.end
    assert window_at(interval, zone, window.start - 1).end == window.start


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
def test_a_day_has_as_many_hours_as_its_clocks_show(day: date, hours: int) -> None:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    window = window_at("day", "Europe/Berlin", noon)
    assert window.end is not None
    assert timedelta(seconds=window.end - window.start) == timedelta(hours=hours)


def test_a_total_never_ends() -> None:
    assert window_at("total", "Europe/Berlin", 1e9) == (0, None)
