"""What happened, counted by kind: the hooks that metrics read. The counts are those of this process since it began."""

from collections import Counter
from enum import StrEnum


class Event(StrEnum):
    """What is counted, each with its labels. No label is chosen by a caller or an upstream: counts must not grow."""

    REPAIR = "repair"
    """provider, rule: applied to a reply or chunk."""
    DROPPED = "dropped"
    """provider, field: had no effect in a request. Fields that no contract names are one, `other`."""
    RETRY = "retry"
    """provider: asked because a try before it had failed, there or elsewhere."""
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
    COUNTERS_AWAY = "counters_away"
    """Limits that could not be counted: the stated policy decided."""
    SPEND_ALERT = "spend_alert"
    """what became of it, `reached`, `delivered` or `undeliverable`, and of which channel, `webhook` or `email`."""
    LOST_CALL = "lost_call"
    """A call whose process was killed: charged by its bound."""
    RECORD_DROPPED = "record_dropped"
    """A record of a call that had no room to wait for the store, or that no store takes."""
    LEDGER_AWAY = "ledger_away"
    """The store could not take records, which wait in the journal."""
    LOG_DROPPED = "log_dropped"
    """A record that could not be written: the other end of standard error was full or gone."""


_COUNTS: dict[Event, Counter[tuple[str, ...]]] = {event: Counter() for event in Event}


def count(event: Event, *labels: str, times: int = 1) -> None:
    """It happened once more, or so many times."""
    _COUNTS[event][labels] += times


def counted(event: Event) -> dict[tuple[str, ...], int]:
    """How often so far, by labels."""
    return dict(_COUNTS[event])
