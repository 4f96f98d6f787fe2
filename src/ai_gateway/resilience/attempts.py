"""Attempts: the same upstream again, the next one of a route, or none while all of them fail.

Everything here happens before the first byte of the reply. A stream counts as answered with its first item; what
becomes of it later is its reader's to see.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.expiry import Expiry
from ai_gateway.contract.tracebacks import forget_frames
from ai_gateway.errors import (
    GatewayError,
    Overloaded,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from ai_gateway.observability.metrics import Event, count
from ai_gateway.providers.base import Provider
from ai_gateway.resilience.breaker import Breaker, BreakerPolicy, Permit, State
from ai_gateway.resilience.bulkhead import Bulkhead
from ai_gateway.resilience.peek import peek
from ai_gateway.resilience.retry import RetryPolicy

_WAIT_HEADERS = ("retry-after", "retry-after-ms")
_SLACK_S = 0.25  # the provider's own clock knows better what it waited for
_MOST_BREAKERS = 10_000
_chance = random.Random()  # noqa: S311 - spreads load, guards nothing
_log = structlog.get_logger(__name__)


class Target(Protocol):
    """A provider to call, and the model's name there."""

    @property
    def provider(self) -> Provider: ...
    @property
    def model(self) -> str: ...


class Resilience:
    """How upstreams are called: the retry policy, and a breaker and a bulkhead for each. Lives as long as the gateway.

    `share` says how many requests may be in flight at a provider.
    """

    def __init__(
        self,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        breaker: BreakerPolicy = BreakerPolicy(),  # noqa: B008 - frozen
        *,
        per_model: bool = False,
        share: Callable[[str], int] = lambda _: sys.maxsize,
    ) -> None:
        self.retry = retry
        self._share = share
        self._bulkheads: dict[str, Bulkhead] = {}
        self._policy = breaker
        self._per_model = per_model
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def adopt(self, other: "Resilience", *, without: Collection[str] = ()) -> None:
        """Go by the other's policies from now on.

        Breakers forget what they know if theirs has changed, and those of providers that are gone in any case.
        """
        self.retry = other.retry
        self._share = other._share
        for name, bulkhead in self._bulkheads.items():
            bulkhead.most = self._share(name)
            if name in without:
                bulkhead.answered = bulkhead.failed = None
        for key in [key for key in self._breakers if key[0] in without]:
            del self._breakers[key]
        if (self._policy, self._per_model) != (other._policy, other._per_model):
            self._policy, self._per_model = other._policy, other._per_model
            self._breakers.clear()

    async def reply[T: Target, Reply](
        self, call: Call, targets: Sequence[T], send: Callable[[Attempt, T], Awaitable[Reply]]
    ) -> Reply:
        """The first reply that a target gives. Raises what the last attempt raised."""
        attempts = _Attempts(self, call, targets)
        try:
            while True:
                if attempts.pause:
                    await asyncio.sleep(attempts.pause)
                attempt, target = attempts.begin()
                try:
                    work = send(attempt, target)
                    reply = await (attempts.in_time(work) if attempts.is_limited else work)
                except GatewayError as error:
                    attempts.failed(error)
                    forget_frames(error)
                else:
                    attempts.answered()
                    return reply
        except BaseException:
            attempts.end()
            raise

    async def stream[T: Target, Item](
        self, call: Call, targets: Sequence[T], send: Callable[[Attempt, T], AsyncGenerator[Item]]
    ) -> tuple[Item | None, AsyncGenerator[Item]]:
        """The first stream that gives an item: that item, and what follows it. Raises what the last attempt raised."""
        attempts = _Attempts(self, call, targets)
        try:
            while True:
                if attempts.pause:
                    await asyncio.sleep(attempts.pause)
                attempt, target = attempts.begin()
                try:
                    items = send(attempt, target)
                    first = await attempts.begun_in_time(items, target)
                except GatewayError as error:
                    attempts.failed(error)
                    forget_frames(error)
                else:
                    attempts.answered()
                    return first, items
        except BaseException:
            attempts.end()
            raise

    def bulkhead(self, provider: str) -> Bulkhead:
        """The one that bounds what is in flight at this provider."""
        bulkhead = self._bulkheads.get(provider)
        if bulkhead is None:
            bulkhead = self._bulkheads[provider] = Bulkhead(provider, self._share(provider))
        return bulkhead

    def hold(self, call: Call, provider: str) -> None:
        """Have the call hold one of the provider's places until it ends. Raises Overloaded."""
        bulkhead = self.bulkhead(provider)
        bulkhead.enter()
        call.leaving.append(bulkhead.leave)

    def breaker(self, provider: str, model: str) -> Breaker:
        """The one that guards this provider, or this model of it."""
        key = (provider, model if self._per_model else "")
        breaker = self._breakers.get(key)
        if breaker is None:
            while len(self._breakers) >= _MOST_BREAKERS:  # callers choose models: the oldest is forgotten
                del self._breakers[next(iter(self._breakers))]
            breaker = self._breakers[key] = Breaker(provider, self._policy, time.monotonic)
        return breaker

    def last_attempts(self, provider: str) -> tuple[Notes | None, Notes | None]:
        """The last attempt that a provider answered, and the last one that failed."""
        bulkhead = self._bulkheads.get(provider)
        return (None, None) if bulkhead is None else (bulkhead.answered, bulkhead.failed)

    def state(self, provider: str) -> State:
        """The worst state of a provider's breakers."""
        states = {breaker.state for (name, _), breaker in self._breakers.items() if name == provider}
        return "open" if "open" in states else "half-open" if "half-open" in states else "closed"


class _Attempts[T: Target]:
    """What has been attempted for one call. Each attempt has notes of its own, which end up as the call's last ones."""

    __slots__ = (
        "_at", "_bulkhead", "_call", "_deadline", "_failed", "_made", "_notes", "_permit", "_resilience", "_targets",
        "_wait", "is_limited", "pause",
    )  # fmt: skip

    def __init__(self, resilience: Resilience, call: Call, targets: Sequence[T]) -> None:
        self._resilience = resilience
        self._call = call
        self._targets = targets
        self._at = 0
        self._made = 0
        self._failed = 0
        self.is_limited = False
        """Whether this attempt has only what is left of the time; the first is bounded by its provider."""
        self.pause = 0.0
        """Seconds that the last failure takes before the next attempt."""
        self._permit: Permit | None = None
        self._notes: Notes
        self._wait: Mapping[str, str] | None = None
        self._deadline = time.monotonic() + targets[0].provider.deadline_s
        self._bulkhead: Bulkhead | None = None

    def begin(self) -> tuple[Attempt, T]:
        """The next attempt and its target. Raises UpstreamUnavailable if no target may be called."""
        while True:
            target = self._targets[self._at]
            provider = target.provider
            try:
                if self._bulkhead is None or self._bulkhead.provider != provider.name:
                    self._enter(provider.name)
                if provider.is_remote:
                    self._permit = self._resilience.breaker(provider.name, target.model).admit()
                break
            except (Overloaded, UpstreamUnavailable) as error:
                notes = self._note(target)
                notes.failure, notes.ended = error, notes.started  # so that nobody takes it for one that was sent
                self._move_on(error)
        self._made += 1
        if self._made > 1:
            count(Event.RETRY, target.provider.name)
        return Attempt(self._call, self._note(target), self._deadline), target

    def _enter(self, provider: str) -> None:
        """Hold a place at this provider and at no other; it is given back when the request ends."""
        leaving = self._call.leaving
        if self._bulkhead is not None:
            self._bulkhead.leave()
            leaving.remove(self._bulkhead.leave)
            self._bulkhead = None
        bulkhead = self._resilience.bulkhead(provider)
        bulkhead.enter()
        self._bulkhead = bulkhead
        leaving.append(bulkhead.leave)

    def _note(self, target: T) -> Notes:
        call = self._call
        self._notes = notes = Notes(target.provider.name, None, self._made, target.model, time.time())
        call.attempts.append(notes)
        if call.trace is not None:
            notes.trace = call.trace.attempted(notes)
        return notes

    async def in_time[Value](self, work: Awaitable[Value]) -> Value:
        """The work within what is left of the time. Raises UpstreamTimeout."""
        try:
            with Expiry(self._deadline - time.monotonic()):
                return await work
        except TimeoutError:
            raise UpstreamTimeout.of(self._targets[self._at].provider.name) from None

    async def begun_in_time[Item](self, items: AsyncGenerator[Item], target: T) -> Item | None:
        """The first item, likewise. Its upstream's chunks that say nothing are no item, however many arrive."""
        if self.is_limited:
            return await self.in_time(peek(items))
        if not target.provider.is_remote:
            return await peek(items)
        try:
            with Expiry(target.provider.deadline_s + _SLACK_S):
                return await peek(items)
        except TimeoutError:
            raise UpstreamTimeout.of(target.provider.name) from None

    def failed(self, error: GatewayError) -> None:
        """Go on to the next attempt. Raises the error if the caller has to act on it, or if there is none left."""
        self._notes.failure = error
        self._notes.ended = time.time()
        if not isinstance(error, UpstreamError):  # no upstream was called
            self._made -= 1
            self._notes.attempts = self._made
        elif self._bulkhead is not None and not isinstance(error, UpstreamRefused):  # that was the caller's mistake
            self._bulkhead.failed = self._notes
        self._report_to_breaker(error)
        provider = self._targets[self._at].provider
        if len(self._targets) > 1:  # somebody else may answer at once, which no pause can beat
            self._log(provider, error, None)
            self._move_on(error)
            return
        pause = self._pause_after(provider, error)
        if pause is None:
            raise error
        self._log(provider, error, pause)
        self.pause = pause

    def _pause_after(self, provider: Provider, error: GatewayError) -> float | None:
        self._failed += 1
        self.is_limited = True
        if not provider.is_remote:
            return None
        left = self._deadline - time.monotonic()
        return self._resilience.retry.pause(self._failed, error, left, _chance.random(), now=time.time())

    def answered(self) -> None:
        """The reply, or the first item of the stream, is there."""
        self._notes.answered = time.time()
        if self._bulkhead is not None:
            self._bulkhead.answered = self._notes
        if self._permit is not None:
            self._permit.succeeded()

    def end(self) -> None:
        """Without an answer: a caller that disconnected says nothing about the upstream."""
        if self._permit is not None:
            self._permit.release()

    def _report_to_breaker(self, error: GatewayError) -> None:
        if self._permit is None:
            return
        if error.outage:
            self._permit.failed()
        elif error.healthy:
            self._permit.succeeded()
        else:
            self._permit.release()

    def _move_on(self, error: GatewayError) -> None:
        """To the next target. Raises the error if no other target could do better, or if this was the last."""
        if not error.failover:
            raise error
        if error.status == 429:
            self._wait = {name: error.headers[name] for name in _WAIT_HEADERS if name in error.headers}
        self._at += 1
        if self._at < len(self._targets):
            count(Event.FAILOVER, self._targets[self._at - 1].provider.name)
            return
        if len(self._targets) == 1:
            raise error
        note = f"All {len(self._targets)} targets of this model were tried; this was the last."
        raise error.with_note(note, self._wait or {}) from error

    def _log(self, provider: Provider, error: GatewayError, pause: float | None) -> None:
        _log.warning(
            "attempt failed",
            request_id=self._call.request_id,
            attempt=self._made,
            targets=len(self._targets),
            provider=provider.name,
            code=error.code,
            reason=error.message,
            detail=error.detail,
            again_in_s=None if pause is None else round(pause, 3),
        )
