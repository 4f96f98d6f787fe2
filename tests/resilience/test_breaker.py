"""The breaker against a model of it, in any order of calls and any passing of time."""

from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from ai_gateway.errors import UpstreamUnavailable
from ai_gateway.resilience.breaker import Breaker, BreakerPolicy, Permit


class Model(RuleBasedStateMachine):
    """What the breaker promises, said the long way: a list of what happened, looked at as a whole."""

    permits: Bundle[Any] = Bundle("permits")

    @initialize(threshold=st.integers(0, 3), window=st.sampled_from([5.0, 30.0]), pause=st.sampled_from([2.0, 15.0]))
    def begin(self, threshold: int, window: float, pause: float) -> None:
        self.now = 1000.0
        self.policy = BreakerPolicy(threshold, window, pause)
        self.breaker = Breaker("lab", self.policy, lambda: self.now)
        self.failures: list[float] = []  # since the last success or opening
        self.opened_at: float | None = None
        self.probe: object = None

    @property
    def expected(self) -> str:
        if self.opened_at is None:
            return "closed"
        return "open" if self.now - self.opened_at < self.policy.pause else "half-open"

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 7.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=permits)
    def call(self) -> Any:
        refused = self.expected == "open" or (self.expected == "half-open" and self.probe is not None)
        if refused:
            with pytest.raises(UpstreamUnavailable) as caught:
                self.breaker.admit()
            wait = int(caught.value.headers["retry-after"])
            assert 1 <= wait <= self.policy.pause + 1
            return None
        permit = self.breaker.admit()
        if self.expected == "half-open":
            self.probe = permit
        return permit

    @rule(permit=consumes(permits))
    def success(self, permit: Permit | None) -> None:
        if permit is not None:
            permit.succeeded()
            permit.failed()  # a second outcome counts for nothing
            self.failures, self.opened_at, self.probe = [], None, None

    @rule(permit=consumes(permits))
    def failure(self, permit: Permit | None) -> None:
        if permit is None:
            return
        permit.failed()
        permit.succeeded()
        if self.opened_at is None:
            self.failures.append(self.now)
            last = self.failures[-self.policy.threshold :] if self.policy.threshold else []
            if last and len(last) == self.policy.threshold and self.now - last[0] <= self.policy.window:
                self.opened_at = self.now
        elif permit is self.probe:
            self.opened_at, self.probe = self.now, None

    @rule(permit=consumes(permits))
    def caller_leaves(self, permit: Permit | None) -> None:
        if permit is not None:
            permit.release()
            self.probe = None if permit is self.probe else self.probe

    @invariant()
    def the_state_is_as_promised(self) -> None:
        if hasattr(self, "breaker"):
            assert self.breaker.state == self.expected


TestBreaker = Model.TestCase
pytest.mark.slow(TestBreaker)
TestBreaker.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_a_success_in_between_keeps_it_closed() -> None:
    breaker = Breaker("lab", BreakerPolicy(threshold=2), lambda: 0.0)
    for _ in range(5):
        breaker.admit().failed()
        breaker.admit().succeeded()
    assert breaker.state == "closed"


def test_failures_in_a_row_open_it_and_it_says_when_to_come_back() -> None:
    now = [0.0]
    breaker = Breaker("lab", BreakerPolicy(threshold=3, window=10, pause=7.5), lambda: now[0])
    for _ in range(3):
        breaker.admit().failed()
    with pytest.raises(UpstreamUnavailable, match="'lab'") as caught:
        breaker.admit()
    assert (caught.value.status, caught.value.headers["retry-after"]) == (503, "8")
    now[0] = 7.5
    probe = breaker.admit()
    with pytest.raises(UpstreamUnavailable):
        breaker.admit()
    probe.succeeded()
    assert breaker.state == "closed"
