"""The times that replies on Ollama's wire carry: measured, and left out where nothing was."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

type Nanoseconds = Callable[[], int]

_SECOND = 1_000_000_000


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 as Go writes it: in UTC, with up to nine digits after the point and no zeros at their end."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    digits = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}Z"


class Stopwatch:
    """One request's times: when it came, when the provider was called, when it first said something."""

    def __init__(self, ticks: Nanoseconds = time.perf_counter_ns, wall: Nanoseconds = time.time_ns) -> None:
        self._ticks = ticks
        self._wall = wall
        self._began = ticks()
        self._called: int | None = None
        self._spoke: int | None = None

    def now(self) -> str:
        """The time of day."""
        return timestamp(self._wall())

    def calls(self) -> None:
        """The provider is called now."""
        self._called = self._ticks()

    def speaks(self) -> None:
        """The provider says something; only the first time counts."""
        if self._spoke is None:
            self._spoke = self._ticks()

    def measures(self, prompt: int, answer: int) -> dict[str, int]:
        """What a last line holds, in nanoseconds and tokens, without what is zero or was not seen.

        `load_duration` is what the gateway took before it called. Of a reply that came whole nobody can tell where
        reading the prompt ended, so all of it is `eval_duration`.
        """
        ended = self._ticks()
        called = self._began if self._called is None else self._called
        spoke = called if self._spoke is None else self._spoke
        found = {
            "total_duration": ended - self._began,
            "load_duration": called - self._began,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": spoke - called,
            "eval_count": answer,
            "eval_duration": ended - spoke,
        }
        return {name: value for name, value in found.items() if value > 0}
