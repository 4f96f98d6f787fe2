"""The durations in Ollama's responses: measured, and left out if zero (ollama's docs/api.md, "Durations")."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

type Nanoseconds = Callable[[], int]

_SECOND = 1_000_000_000


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 as Go's time.RFC3339Nano: in UTC, with up to nine decimals and no trailing zeros."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    digits = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}Z"


class Stopwatch:
    """One request's times: its arrival, the call of the provider, the first output."""

    def __init__(self, ticks: Nanoseconds = time.perf_counter_ns, wall: Nanoseconds = time.time_ns) -> None:
        self._ticks = ticks
        self._wall = wall
        self._began = ticks()
        self._called: int | None = None
        self._first_output: int | None = None

    def now(self) -> str:
        """The current time."""
        return timestamp(self._wall())

    def provider_called(self) -> None:
        """Note the time of the call."""
        self._called = self._ticks()

    def output_received(self) -> None:
        """Note the time of the first output; later calls have no effect."""
        if self._first_output is None:
            self._first_output = self._ticks()

    def measures(self, prompt: int, answer: int) -> dict[str, int]:
        """The measures of a last line, in nanoseconds and tokens, without zeros.

        `load_duration` is the gateway's own time before the call. Without streaming the end of prompt evaluation is
        unknown, so all of the provider's time is `eval_duration`.
        """
        ended = self._ticks()
        called = self._began if self._called is None else self._called
        first_output = called if self._first_output is None else self._first_output
        measures = {
            "total_duration": ended - self._began,
            "load_duration": called - self._began,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": first_output - called,
            "eval_count": answer,
            "eval_duration": ended - first_output,
        }
        return {name: value for name, value in measures.items() if value > 0}
