"""What happened, counted by kind: the hooks that metrics read. The counts are those of this process since it began."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum


class Event(StrEnum):
    """What is counted, each with its labels. No label is chosen by a caller or an upstream: counts must not grow."""

    REPAIR = "repair"
    """provider, rule: applied to a reply or chunk."""
    DROPPED = "dropped"
    """provider, field: had no effect in a request. Fields that no contract names are one, `other`."""
    RETRY = "retry"
    """provider: asked because a try before it had failed, there or elsewhere."""
    FAILOVER = "failover"
    """provider: given up for the next target of a route."""
    BREAKER_OPENED = "breaker_opened"
    """provider: left alone from then on."""
    BREAKER_REFUSED = "breaker_refused"
    """provider: a call that was not made."""
    BROKEN_STREAM = "broken_stream"
    """provider, code: the stream ended in an error event."""
    OVERLOAD = "overload"
    """what there was too much of, `requests`, `bodies`, `replies` or at one `provider`: a request turned away."""
    WRONG_KEY = "wrong_key"
    """An API key that is none of the gateway's."""
    LIMITED = "limited"
    """what there was no room in, `requests`, `tokens`, `parallel` or `money`, of whom, `key`, `project` or
    `organization`: a request turned away."""
    UNCOUNTED_CALLS = "counters_away"
    """Limits that could not be counted: the stated policy decided."""
    SPEND_ALERT = "spend_alert"
    """what became of it, `reached`, `delivered` or `undeliverable`, and of which channel, `webhook` or `email`."""
    LOST_CALL = "lost_call"
    """A call whose process was killed: charged by its bound."""
    RECORD_DROPPED = "record_dropped"
    """A record of a call that had no room to wait for the store, or that no store takes."""
    LEDGER_AWAY = "ledger_away"
    """The store could not take records, which wait in the journal."""
    TOOL_CALL = "tool_call"
    """tool, what became of it: `completed`, `failed` or `refused`, which is what was not run."""
    LOG_DROPPED = "log_dropped"
    """A record that could not be written: the other end of standard error was full or gone."""
    SPAN_DROPPED = "span_dropped"
    """A span of a trace that no collector got: it was away, or did not keep up."""
    BODY_DROPPED = "body_dropped"
    """A record of bodies that was not written: the disk did not keep up, or had no room."""


_COUNTS: dict[Event, Counter[tuple[str, ...]]] = {event: Counter() for event in Event}


def count(event: Event, *labels: str, times: int = 1) -> None:
    """It happened once more, or so many times."""
    _COUNTS[event][labels] += times


def counted(event: Event) -> dict[tuple[str, ...], int]:
    """How often so far, by labels."""
    return dict(_COUNTS[event])


class Timing(StrEnum):
    """What is timed, each with its label if it has one, which nobody outside chooses."""

    LOOP_LAG = "loop_lag"
    """How much later than it should a timer rang."""
    COUNTERS = "counters"
    """step, `hold` or `settle`: of the counters that limits are counted in."""
    LEDGER = "ledger"
    """A batch of usage records on its way to the store."""
    TOOL = "tool"
    """tool: a call of one that runs here."""


class Distribution:
    """How often a value was at most each of some bounds, or beyond all of them, and the sum of all.

    `exemplars` has, for each of these, a request that was so: its id, the value and when, in seconds since the epoch.
    """

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, tuple[str, float, float]] = {}

    def add(self, value: float, request_id: str | None = None, at: float = 0.0) -> None:
        """One more."""
        place = bisect_left(self.bounds, value)
        self.counts[place] += 1
        self.total += value
        if request_id is not None:
            self.exemplars[place] = request_id, value, at

    def add_all(self, values: Sequence[float], names: Sequence[str | None] = (), at: Sequence[float] = ()) -> None:
        """As many more: for many of them, it takes a quarter of what `add` takes for each.

        The last ones become exemplars: `names` are the requests' ids, None for one that cannot, and `at` is when they
        were.
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
        """All of the other one as well, which has the same bounds."""
        self.counts = [own + theirs for own, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        for place, exemplar in other.exemplars.items():
            if place not in self.exemplars or self.exemplars[place][2] < exemplar[2]:
                self.exemplars[place] = exemplar


SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_TIMES: dict[tuple[Timing, str], Distribution] = {}


def timed(timing: Timing, seconds: float, label: str = "") -> None:
    """It took so long once more."""
    time_of(timing, label).add(seconds)


def time_of(timing: Timing, label: str = "") -> Distribution:
    """How long it took so far: to be kept by what adds to it for every call."""
    distribution = _TIMES.get((timing, label))
    if distribution is None:
        distribution = _TIMES[timing, label] = Distribution(SHORT)
    return distribution


def times() -> dict[tuple[Timing, str], Distribution]:
    """How long each took so far, by label."""
    return dict(_TIMES)
