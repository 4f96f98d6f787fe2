"""Whether, and when, to ask an upstream again. Pure: who calls decides what time and chance are.

Only calls of which nothing has been told yet are asked again, and only where a second try can end otherwise: the
upstream could not be reached, broke off, or said that it failed. What the caller has to mend is never repeated.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ai_gateway.errors import GatewayError

# Refusals that may pass by themselves, if the operator wants them repeated.
RETRYABLE_REFUSALS = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently. Times are seconds.

    The pause before retry n is chance times `base` doubled n-1 times, at most `longest_pause` (full jitter); an
    upstream's Retry-After counts instead, and one beyond `longest_wait` is passed on to the caller at once.
    """

    max_retries: int = 2
    refusals: frozenset[int] = frozenset({408})
    base: float = 0.5
    longest_pause: float = 8.0
    longest_wait: float = 20.0

    def pause(self, failed: int, error: GatewayError, left: float, chance: float, *, now: float = 0) -> float | None:
        """Seconds to wait before the next try; None to give up.

        `failed` is how many tries have failed, `left` the time until the call's deadline, `chance` evenly
        distributed from 0 to 1, and `now` the time of day in seconds since 1970, for upstreams that name a time.
        """
        if failed > self.max_retries or not self._worth_it(error):
            return None
        wanted = retry_after(error, now)
        if wanted is not None and wanted > self.longest_wait:
            return None
        pause = min(self.longest_pause, self.base * 2 ** (failed - 1)) * chance if wanted is None else wanted
        return pause if pause < left else None

    def _worth_it(self, error: GatewayError) -> bool:
        if error.retry_hint is not None:  # some upstreams know better than their status
            return error.retry_hint
        return error.retry or error.refusal in self.refusals


def retry_after(error: GatewayError, now: float) -> float | None:
    """Seconds that the upstream asked to wait, from `now` (since 1970) if it named a time; None if it did not say."""
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
