"""Whether and when to retry an upstream call. Pure functions: time and chance are arguments.

A call is only retried before any of its reply was sent, and only if another attempt can end differently: the upstream
could not be reached, broke off, or reported a failure. A request that the caller has to correct is never retried.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ai_gateway.errors import GatewayError

# Refusals that may be temporary, retried if the operator lists them.
RETRYABLE_REFUSALS = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to retry, and after which pause. Times are in seconds.

    The pause before retry n is chance times `base` doubled n-1 times, at most `max_pause` (full jitter). An
    upstream's Retry-After takes precedence; one beyond `max_wait` is passed on to the caller at once.
    """

    max_retries: int = 2
    refusals: frozenset[int] = frozenset({408})
    base: float = 0.5
    max_pause: float = 8.0
    max_wait: float = 20.0

    def pause(
        self, failed: int, error: GatewayError, remaining: float, chance: float, *, now: float = 0
    ) -> float | None:
        """Seconds to wait before the next attempt; None to give up.

        `failed` counts the failed attempts, `remaining` is the time until the call's deadline, `chance` is evenly
        distributed from 0 to 1, and `now` is the time in seconds since 1970, for a Retry-After with a date.
        """
        if failed > self.max_retries or not self._is_retryable(error):
            return None
        requested_s = retry_after(error, now)
        if requested_s is not None and requested_s > self.max_wait:
            return None
        pause = min(self.max_pause, self.base * 2 ** (failed - 1)) * chance if requested_s is None else requested_s
        return pause if pause < remaining else None

    def _is_retryable(self, error: GatewayError) -> bool:
        if error.retry_hint is not None:  # OpenAI's SDK obeys it before the status as well: openai/_base_client.py
            return error.retry_hint
        return error.retry or error.refusal in self.refusals


def retry_after(error: GatewayError, now: float) -> float | None:
    """Seconds from `now` (since 1970) that the upstream's headers say to wait; None if they do not."""
    for header, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = error.headers.get(header, "").strip()
        if value.replace(".", "", 1).isascii() and value.replace(".", "", 1).isdecimal():
            return float(value) / unit
        if value.endswith("GMT"):
            return _until(value, now)
    return None


def _until(date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return None
