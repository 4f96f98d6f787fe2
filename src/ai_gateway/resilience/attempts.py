"""Attempts: retries at the same upstream, failover to the next target of a route, and circuit breakers.

All retries happen before the first byte of the reply. A stream counts as answered with its first item; a later
failure is reported by the reader of the stream.
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
_SLACK_S = 0.25  # the provider's own timeout fires first, since its error names the phase
_MAX_BREAKERS = 10_000
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

    `limit_of` gives the maximum of requests in flight at a provider.
    """

    def __init__(
        self,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        breaker: BreakerPolicy = BreakerPolicy(),  # noqa: B008 - frozen
        *,
        per_model: bool = False,
        limit_of: Callable[[str], int] = lambda _: sys.maxsize,
    ) -> None:
        self.retry = retry
        self._limit_of = limit_of
        self._bulkheads: dict[str, Bulkhead] = {}
        self._policy = breaker
        self._per_model = per_model
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def adopt(self, other: "Resilience", *, removed: Collection[str] = ()) -> None:
        """Use the other's policies from now on.

        All breakers are reset if their policy has changed; those of removed providers are in any case.
        """
        self.retry = other.retry
        self._limit_of = other._limit_of
        for name, bulkhead in self._bulkheads.items():
            bulkhead.limit = self._limit_of(name)
            if name in removed:
                bulkhead.answered = bulkhead.failed = None
        for key in [key for key in self._breakers if key[0] in removed]:
            del self._breakers[key]
        if (self._policy, self._per_model) != (other._policy, other._per_model):
            self._policy, self._per_model = other._policy, other._per_model
            self._breakers.clear()

    async def reply[T: Target, Reply](
        self, call: Call, targets: Sequence[T], send: Callable[[Attempt, T], Awaitable[Reply]]
    ) -> Reply:
        """The first reply of a target. Raises the error of the last attempt."""
        attempts = _Attempts(self, call, targets)
        try:
            while True:
                if attempts.pause:
                    await asyncio.sleep(attempts.pause)
                attempt, target = attempts.begin()
                try:
                    work = send(attempt, target)
                    reply = await (attempts.within_deadline(work) if attempts.is_limited else work)
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
        """The first stream that yields an item: this item, and the rest. Raises the error of the last attempt."""
        attempts = _Attempts(self, call, targets)
        try:
            while True:
                if attempts.pause:
                    await asyncio.sleep(attempts.pause)
                attempt, target = attempts.begin()
                try:
                    items = send(attempt, target)
                    first = await attempts.first_item(items, target)
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
        """The limit of requests in flight at this provider."""
        bulkhead = self._bulkheads.get(provider)
        if bulkhead is None:
            bulkhead = self._bulkheads[provider] = Bulkhead(provider, self._limit_of(provider))
        return bulkhead

    def hold(self, call: Call, provider: str) -> None:
        """Take one of the provider's permits for the call until it ends. Raises Overloaded."""
        bulkhead = self.bulkhead(provider)
        bulkhead.acquire()
        call.at_end.append(bulkhead.release)

    def breaker(self, provider: str, model: str) -> Breaker:
        """The breaker of this provider, or of this model of it."""
        key = (provider, model if self._per_model else "")
        breaker = self._breakers.get(key)
        if breaker is None:
            while len(self._breakers) >= _MAX_BREAKERS:  # callers choose models: the oldest is dropped
                del self._breakers[next(iter(self._breakers))]
            breaker = self._breakers[key] = Breaker(provider, self._policy, time.monotonic)
        return breaker

    def last_attempts(self, provider: str) -> tuple[Notes | None, Notes | None]:
        """The last successful attempt at a provider, and the last failed one."""
        bulkhead = self._bulkheads.get(provider)
        return (None, None) if bulkhead is None else (bulkhead.answered, bulkhead.failed)

    def state(self, provider: str) -> State:
        """The worst state of a provider's breakers."""
        states = {breaker.state for (name, _), breaker in self._breakers.items() if name == provider}
        return "open" if "open" in states else "half-open" if "half-open" in states else "closed"


class _Attempts[T: Target]:
    """The attempts of one call. Each has its own notes; the last ones are those of the call."""

    __slots__ = (
        "_at",
        "_bulkhead",
        "_call",
        "_deadline",
        "_failed",
        "_made",
        "_notes",
        "_permit",
        "_resilience",
        "_retry_headers",
        "_targets",
        "is_limited",
        "pause",
    )  # fmt: skip

    def __init__(self, resilience: Resilience, call: Call, targets: Sequence[T]) -> None:
        self._resilience = resilience
        self._call = call
        self._targets = targets
        self._at = 0
        self._made = 0
        self._failed = 0
        self.is_limited = False
        """Whether this attempt is limited by the call's deadline; the first one is limited by its provider."""
        self.pause = 0.0
        """Seconds to wait before the next attempt, after the last failure."""
        self._permit: Permit | None = None
        self._notes: Notes
        self._retry_headers: Mapping[str, str] | None = None
        self._deadline = time.monotonic() + targets[0].provider.deadline_s
        self._bulkhead: Bulkhead | None = None

    def begin(self) -> tuple[Attempt, T]:
        """The next attempt and its target. Raises UpstreamUnavailable if no target may be called."""
        while True:
            target = self._targets[self._at]
            provider = target.provider
            try:
                if self._bulkhead is None or self._bulkhead.provider != provider.name:
                    self._take_permit(provider.name)
                if provider.is_remote:
                    self._permit = self._resilience.breaker(provider.name, target.model).admit()
                break
            except (Overloaded, UpstreamUnavailable) as error:
                notes = self._note(target)
                notes.failure, notes.ended = error, notes.started  # so that it does not count as a sent request
                self._fail_over(error)
        self._made += 1
        if self._made > 1:
            count(Event.RETRY, target.provider.name)
        return Attempt(self._call, self._note(target), self._deadline), target

    def _take_permit(self, provider: str) -> None:
        """Take a permit of this provider, and release the previous one's. It is released when the request ends."""
        at_end = self._call.at_end
        if self._bulkhead is not None:
            self._bulkhead.release()
            at_end.remove(self._bulkhead.release)
            self._bulkhead = None
        bulkhead = self._resilience.bulkhead(provider)
        bulkhead.acquire()
        self._bulkhead = bulkhead
        at_end.append(bulkhead.release)

    def _note(self, target: T) -> Notes:
        call = self._call
        self._notes = notes = Notes(target.provider.name, None, self._made, target.model, time.time())
        call.attempts.append(notes)
        if call.trace is not None:
            notes.trace = call.trace.attempted(notes)
        return notes

    async def within_deadline[Value](self, work: Awaitable[Value]) -> Value:
        """The result before the call's deadline. Raises UpstreamTimeout."""
        try:
            with Expiry(self._deadline - time.monotonic()):
                return await work
        except TimeoutError:
            raise UpstreamTimeout.of(self._targets[self._at].provider.name) from None

    async def first_item[Item](self, items: AsyncGenerator[Item], target: T) -> Item | None:
        """The first item before the deadline, however many empty chunks arrive earlier. Raises UpstreamTimeout."""
        if self.is_limited:
            return await self.within_deadline(peek(items))
        if not target.provider.is_remote:
            return await peek(items)
        try:
            with Expiry(target.provider.deadline_s + _SLACK_S):
                return await peek(items)
        except TimeoutError:
            raise UpstreamTimeout.of(target.provider.name) from None

    def failed(self, error: GatewayError) -> None:
        """Prepare the next attempt. Raises the error if retrying cannot help, or if no attempt is left."""
        self._notes.failure = error
        self._notes.ended = time.time()
        if not isinstance(error, UpstreamError):  # no upstream was called
            self._made -= 1
            self._notes.attempts = self._made
        elif self._bulkhead is not None and not isinstance(error, UpstreamRefused):  # that was the caller's mistake
            self._bulkhead.failed = self._notes
        self._report_to_breaker(error)
        provider = self._targets[self._at].provider
        if len(self._targets) > 1:  # failing over at once is faster than any retry of the same upstream
            self._log(provider, error, None)
            self._fail_over(error)
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
        remaining = self._deadline - time.monotonic()
        return self._resilience.retry.pause(self._failed, error, remaining, _chance.random(), now=time.time())

    def answered(self) -> None:
        """The attempt has succeeded: the reply has arrived, or the first item of the stream."""
        self._notes.answered = time.time()
        if self._bulkhead is not None:
            self._bulkhead.answered = self._notes
        if self._permit is not None:
            self._permit.succeeded()

    def end(self) -> None:
        """The call ended without a reply: a client's disconnect says nothing about the upstream."""
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

    def _fail_over(self, error: GatewayError) -> None:
        """Fail over to the next target. Raises the error if no other one could do better, or if this was the last."""
        if not error.failover:
            raise error
        if error.status == 429:
            self._retry_headers = {name: error.headers[name] for name in _WAIT_HEADERS if name in error.headers}
        self._at += 1
        if self._at < len(self._targets):
            count(Event.FAILOVER, self._targets[self._at - 1].provider.name)
            return
        if len(self._targets) == 1:
            raise error
        note = f"All {len(self._targets)} targets of this model were tried; this was the last."
        raise error.with_note(note, self._retry_headers or {}) from error

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
