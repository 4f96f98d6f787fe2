"""Event counters and timings of this process since its start, which the metrics are made of."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum


class Event(StrEnum):
    """The counted events, with their labels. Callers and upstreams choose no label values."""

    REPAIR = "repair"
    """provider, rule: applied to a reply or chunk."""
    DROPPED = "dropped"
    """provider, field: dropped from a request. Fields outside the contract have the label `other`."""
    RETRY = "retry"
    """provider: called after an earlier attempt failed, there or elsewhere."""
    FAILOVER = "failover"
    """provider: failed, and the next target of a route was tried."""
    BREAKER_OPENED = "breaker_opened"
    """provider: its circuit breaker opened."""
    BREAKER_REFUSED = "breaker_refused"
    """provider: a call that an open circuit breaker refused."""
    BROKEN_STREAM = "broken_stream"
    """provider, code: the stream ended in an error event."""
    OVERLOAD = "overload"
    """limit (`requests`, `bodies`, `replies` or one `provider`): a request refused as overloaded."""
    WRONG_KEY = "wrong_key"
    """An API key that is not one of the gateway's."""
    LIMITED = "limited"
    """limit (`requests`, `tokens`, `parallel` or `money`), scope (`key`, `project` or `organization`): a request
    refused by a limit."""
    UNCOUNTED_CALLS = "counters_away"
    """Limits that could not be counted: the configured policy decided."""
    SPEND_ALERT = "spend_alert"
    """outcome (`reached`, `delivered` or `undeliverable`), channel (`webhook` or `email`): of a spend alert."""
    LOST_CALL = "lost_call"
    """A call whose process was killed: charged at its bound."""
    RECORD_DROPPED = "record_dropped"
    """A usage record that was lost: no space to keep it until the store is available, or no store accepts it."""
    LEDGER_AWAY = "ledger_away"
    """A batch of records that the store did not accept; they stay in the journal."""
    TOOL_CALL = "tool_call"
    """tool, outcome (`completed`, `failed`, or `refused` if it was not run)."""
    LOG_DROPPED = "log_dropped"
    """A log record that could not be written: the reader of standard error was too slow or gone."""
    SPAN_DROPPED = "span_dropped"
    """A span that was not exported: the collector was unavailable or too slow."""
    BODY_DROPPED = "body_dropped"
    """A record of bodies that was not written: the disk was too slow or full."""


_COUNTS: dict[Event, Counter[tuple[str, ...]]] = {event: Counter() for event in Event}


def count(event: Event, *labels: str, times: int = 1) -> None:
    """Count an event, once or so many times."""
    _COUNTS[event][labels] += times


def counted(event: Event) -> dict[tuple[str, ...], int]:
    """The counts so far, by labels."""
    return dict(_COUNTS[event])


class Timing(StrEnum):
    """The timings, each with its label, if any, whose values are a closed set."""

    LOOP_LAG = "loop_lag"
    """The delay of a timer of the event loop."""
    COUNTERS = "counters"
    """step (`hold` or `settle`): of the counters of limits."""
    LEDGER = "ledger"
    """Storing a batch of usage records."""
    TOOL = "tool"
    """tool: one run of a gateway-run tool."""


_TOGETHER = 64


class Distribution:
    """A histogram: counts of values by upper bound, the last one unbounded, and their sum.

    `exemplars` has a recent request for each bucket: its id, the value, and the time in seconds since the epoch.
    """

    __slots__ = ("bounds", "counts", "exemplars", "total", "waiting")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, tuple[str, float, float]] = {}
        self.waiting: list[float] = []

    def add(self, value: float, request_id: str | None = None, at: float = 0.0) -> None:
        """Add a value."""
        place = bisect_left(self.bounds, value)
        self.counts[place] += 1
        self.total += value
        if request_id is not None:
            self.exemplars[place] = request_id, value, at

    def add_later(self, value: float) -> None:
        """Add a value with many others: until `count_waiting`, it is not in the counts."""
        waiting = self.waiting
        waiting.append(value)
        if len(waiting) >= _TOGETHER:
            self.count_waiting()

    def count_waiting(self) -> None:
        """Count what was to be added later."""
        if self.waiting:
            self.add_all(self.waiting)
            self.waiting.clear()

    def add_all(self, values: Sequence[float], names: Sequence[str | None] = (), at: Sequence[float] = ()) -> None:
        """Add many values, in a quarter of the time of calling `add` for each.

        The last ones become exemplars: `names` are request ids, None for one that is too long, and `at` are their
        times.
        """
        bounds, ordered, done, places = self.bounds, sorted(values), 0, set[int]()
        while done < len(ordered):
            place = bisect_left(bounds, ordered[done])
            until = bisect_right(ordered, bounds[place], done) if place < len(bounds) else len(ordered)
            self.counts[place] += until - done
            places.add(place)
            done = until
        self.total += sum(values)
        last = len(names)
        while places and last:
            last -= 1
            place = bisect_left(bounds, values[last])
            if place in places and (name := names[last]) is not None:
                places.remove(place)
                self.exemplars[place] = name, values[last], at[last]

    def merge(self, other: "Distribution") -> None:
        """Add all values of another histogram with the same bounds."""
        self.counts = [own + theirs for own, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        for place, exemplar in other.exemplars.items():
            if place not in self.exemplars or self.exemplars[place][2] < exemplar[2]:
                self.exemplars[place] = exemplar


SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_TIMES: dict[tuple[Timing, str], Distribution] = {}


def timed(timing: Timing, seconds: float, label: str = "") -> None:
    """Add a timing."""
    time_of(timing, label).add(seconds)


def time_of(timing: Timing, label: str = "") -> Distribution:
    """The histogram of a timing, which callers that add often may keep."""
    distribution = _TIMES.get((timing, label))
    if distribution is None:
        distribution = _TIMES[timing, label] = Distribution(SHORT)
    return distribution


def times() -> dict[tuple[Timing, str], Distribution]:
    """All timings so far, by label."""
    for distribution in _TIMES.values():
        distribution.count_waiting()
    return dict(_TIMES)
