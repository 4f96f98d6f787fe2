"""The cells: what is sent, how many at a time, and by what its cost is counted."""

from dataclasses import dataclass
from typing import Final

EVENTS: Final = 50


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of load. `events` makes it a stream of so many, with `gap_ms` between two; `body` is a size in bytes.

    `direct` measures the upstream without anything in front of it as well, `unchecked` the gateway without
    conformance; `portable` says that the cost beside the relay's is much the same on every machine.
    """

    name: str
    title: str
    concurrency: int
    events: int | None = None
    gap_ms: int = 0
    body: int = 0
    direct: bool = False
    unchecked: bool = False
    portable: bool = False

    @property
    def counted(self) -> int:
        """How many units one request is: its events, if it is a stream."""
        return self.events or 1

    @property
    def unit(self) -> str:
        """What CPU time is given for."""
        return "request" if self.events is None else "event"


CELLS: Final = (
    Cell("whole-1", "whole reply, c=1", 1, direct=True),
    Cell("whole-16", "whole reply, c=16", 16, unchecked=True, portable=True),
    Cell("whole-64", "whole reply, c=64", 64),
    Cell("burst-16", f"burst stream of {EVENTS} events, c=16", 16, events=EVENTS, unchecked=True),
    # Far enough apart for a wake-up each, as the events of real models are.
    Cell("paced-64", f"64 paced streams, an event each {20} ms", 64, events=EVENTS, gap_ms=20),
    Cell("body-100k", "100 KB body, c=16", 16, body=100_000, portable=True),
    Cell("body-5m", "5 MB body, c=1", 1, body=5_000_000),
)


def cell(name: str) -> Cell:
    """The cell of this name."""
    return next(each for each in CELLS if each.name == name)
