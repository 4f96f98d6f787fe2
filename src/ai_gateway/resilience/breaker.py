"""Circuit breaker: stop calling an upstream that only fails, and find out cheaply when it has recovered.

closed --(threshold failures within the window, no success between)--> open --(pause over)--> half open
half open: one call goes through as a probe. It succeeds: closed. It fails: open again. It is released: the next call
is the probe.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ai_gateway.errors import UpstreamUnavailable
from ai_gateway.observability.metrics import Event, count

type State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Failures that open it, the seconds they must fall into, and the seconds it stays open. 0 failures: never."""

    threshold: int = 20
    window: float = 30.0
    pause: float = 15.0


class Breaker:
    """The circuit breaker of one upstream, or of one of its models. `clock` gives monotonic seconds."""

    def __init__(self, provider: str, policy: BreakerPolicy, clock: Callable[[], float]) -> None:
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=max(policy.threshold, 1))
        self._opened: float | None = None
        self._probe: Permit | None = None

    @property
    def state(self) -> State:
        if self._opened is None:
            return "closed"
        return "open" if self._seconds_left(self._opened) > 0 else "half-open"

    def admit(self) -> "Permit":
        """Let a call through; its outcome must be reported to the permit. Raises UpstreamUnavailable."""
        permit = Permit(self)
        if self._opened is None:
            return permit
        seconds_left = self._seconds_left(self._opened)
        if seconds_left > 0 or self._probe is not None:
            count(Event.BREAKER_REFUSED, self._provider)
            raise UpstreamUnavailable(
                f"Provider '{self._provider}' fails at the moment and is not called: try again later.",
                headers={"retry-after": str(max(1, math.ceil(seconds_left)))},
            )
        self._probe = permit
        return permit

    def _seconds_left(self, opened: float) -> float:
        return self._policy.pause - (self._clock() - opened)

    def succeeded(self) -> None:
        """The upstream answered, if only with a refusal: its failures are forgotten."""
        self._probe = None
        self._opened = None
        if self._failures:
            self._failures.clear()

    def failed(self, permit: "Permit") -> None:
        """The upstream could not be reached, failed, or broke off."""
        now = self._clock()
        if self._opened is not None:  # calls admitted before it opened report nothing new
            if permit is self._probe:
                self._probe = None
                self._open(now)
            return
        self._failures.append(now)
        if len(self._failures) == self._policy.threshold and now - self._failures[0] <= self._policy.window:
            self._open(now)

    def _open(self, now: float) -> None:
        self._opened = now
        count(Event.BREAKER_OPENED, self._provider)

    def release(self, permit: "Permit") -> None:
        """The call ended without an outcome of the upstream's: its client disconnected."""
        if permit is self._probe:
            self._probe = None


class Permit:
    """One admitted call. The first reported outcome counts."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: Breaker) -> None:
        self._breaker: Breaker | None = breaker

    def succeeded(self) -> None:
        """See Breaker."""
        if self._breaker is not None:
            self._breaker.succeeded()
        self._breaker = None

    def failed(self) -> None:
        """See Breaker."""
        if self._breaker is not None:
            self._breaker.failed(self)
        self._breaker = None

    def release(self) -> None:
        """See Breaker. Always called at the end; it has no effect after another outcome."""
        if self._breaker is not None:
            self._breaker.release(self)
        self._breaker = None
