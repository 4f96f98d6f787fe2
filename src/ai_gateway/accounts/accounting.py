"""Hold, settle, record: what a call may cost is held before it is made, what it did cost counted after it.

Every call that may go on to an upstream begins with a start and ends with one record, also if its caller disconnects.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, cast, override

import structlog

from ai_gateway.accounts.bounds import Bound, whole_bound
from ai_gateway.accounts.call_ids import CallIds
from ai_gateway.accounts.counters.base import Answer, Counters, CountersError, Granted, Refused, Unknown
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.holds import Held, Plan
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.policy import Policy
from ai_gateway.accounts.prices import Prices
from ai_gateway.accounts.records import CallLog, Start
from ai_gateway.accounts.refusals import limit_headers, limited, model_not_allowed, unpriced
from ai_gateway.accounts.reservation import CallReservation, CountedHold, estimated_tokens
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.accounts.targets import Target, names_of
from ai_gateway.accounts.windows import Window
from ai_gateway.contract.call import Call, Caller, Trace
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.tokens import quickly
from ai_gateway.errors import RETRY_HINT, Forbidden, Unavailable
from ai_gateway.observability.metrics import Event, Timing, count, time_of
from ai_gateway.observability.trace_names import Step

type Spent = Callable[[Scope, Window], Awaitable[int]]
"""What the ledger has of an entity's costs in a window, in 1e-12 USD."""

_MAY_CALL = frozenset({"all", "model.request", "api.model.request"})
_RETRY_S = 1.0
_MAX_PLANS = 1_024  # names of models come from callers
_LONGEST_SUM_S = 2.0
# When a counter of money begins, other workers may still be about to learn of the limit, and to ship what has ended. By
# the last of these looks the ledger has all of it.
_LOOKS_S = (1.0, 2.0, 4.0)
# In place of a limit, where what is in flight already has to be counted.
_NO_LIMIT = 2**62
_NO_COUNTERS = Unavailable(
    "A spend limit holds for this key, and the gateway's replicas have nothing that counts for all of them: its "
    "operator has to set VALKEY_URL.",
    headers={RETRY_HINT: "false"},
)
_log = structlog.get_logger(__name__)


class CurrentLimits(Protocol):
    """What limits callers by now. `state` is another number after each change."""

    state: int

    def scopes_now(self, caller: Caller) -> tuple[Scope, ...]:
        """What limits a caller who may have been let in before a change."""


class Accounting(Observer):
    """Stands between the gateway and its accounts.

    `log` is where starts and records go; it and the counters are replaced before the first call, once it is known what
    there is.
    """

    def __init__(
        self,
        counters: Counters,
        prices: Prices,
        log: CallLog,
        spent: Spent,
        policy: Policy = Policy(),  # noqa: B008 - frozen
    ) -> None:
        self.prices = prices
        self.policy = policy
        self.counters = counters
        self.log = log
        self._spent = spent
        self._own = MemoryCounters()
        self._hold_times, self._settle_times = (time_of(Timing.COUNTERS, step) for step in ("hold", "settle"))
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._ids = CallIds()
        self._settling: set[asyncio.Task[None]] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._open: dict[str, CallReservation] = {}
        self._limits: CurrentLimits | None = None
        self._catching: set[asyncio.Task[None]] = set()
        self._catching_up = asyncio.Lock()
        self._away = False

    def start(self, owner: str) -> None:
        """Begin to number calls. To be called in each process, or two workers would give out the same ids.

        `owner` names the process, and is part of the ids.
        """
        self._ids = CallIds(owner)

    async def reserve(  # noqa: C901, PLR0913, PLR0917 - in one go, as each call pays for it
        self, call: Call, operation: str, model: str, bound: Bound, targets: Sequence[Target], stream: bool
    ) -> None:
        """Let the call go on, with what it may take held for it. Raises Forbidden, RateLimited or Unavailable.

        `model` is what its caller calls it by, and `bound` the most that it may use at any of the `targets`.
        """
        caller = call.caller
        if caller.may and _MAY_CALL.isdisjoint(caller.may):
            raise Forbidden("You have insufficient permissions for this operation. Missing scopes: model.request.")
        if self.log.refuses:
            raise Unavailable(
                "The gateway cannot keep records of calls at the moment: send the request again in a while.",
                headers={"retry-after": "5"},
            )
        first = targets[0]
        if bound.is_open or call.unknown is not None:
            bound = whole_bound(bound, call.unknown, self.policy.input_tokens)
        most_input, output, choices, tier, searches, _ = bound
        if output is None:
            output = self.policy.output_tokens * choices
        at = now = time.time()
        provider = first.provider.name
        price = self.prices.find(provider, first.model, now)
        cost = price.bound(most_input, output, tier, searches) if price is not None else None
        if len(targets) > 1:
            cost = self._highest_cost(targets, bound, output, now)
        if (turn := call.round) is not None and cost is not None:
            cost += turn.tools_bound
        at_ms = int(now * 1000)
        identifier = self._ids.next(at_ms // 1000)
        held: Held | None = None
        headers: dict[str, str] = {}
        scopes: tuple[Scope, ...] = caller.scopes  # type: ignore[assignment] # private to accounts
        limits = self._limits
        state = limits.state if limits is not None else caller.limits_state
        if limits is not None and state != caller.limits_state:  # there was a change since the caller was let in
            scopes = limits.scopes_now(caller)
        if scopes:
            plan = self._plan(model, targets, scopes, now)
            held, answer = await self._hold(identifier, call, model, plan, bound.output or 0, cost, now)
            at, headers = answer.at, limit_headers(held, answer.left, answer.resets)
        start = quickly(
            Start,
            (
                at_ms,
                identifier,
                call.request_id,
                caller.project_id,
                caller.key_id,
                call.wire.name,
                operation,
                model,
                stream,
                provider,
                first.model,
                cost,
                most_input,
                output,
                (at, *held.rows()) if held is not None else (),
                (),
                turn.number if turn is not None else 0,
            ),
        )
        self._open[identifier] = call.reservation = CallReservation(
            self, call, targets, start, price, held, at, headers
        )
        if call.trace is None:
            self.log.started(start)
        else:
            _journal(call.trace, self.log.started, start)
        if limits is not None and state != limits.state:
            self.limits_changed(limits)

    @override
    def ended(self, outcome: Outcome) -> None:
        call = outcome.call
        reservation = call.reservation if call is not None else None
        if call is None or not isinstance(reservation, CallReservation):
            return
        self._open.pop(reservation.start.id, None)
        if call.trace is None:
            self.log.ended(reservation.record(outcome))
        else:
            _journal(call.trace, self.log.ended, reservation.record(outcome))

    async def aclose(self) -> None:
        """Wait for what is being settled."""
        for task in (*self._following, *self._catching):
            task.cancel()
        if self._settling:
            await asyncio.wait(self._settling, timeout=_RETRY_S)

    # -- before the call --

    def _plan(self, model: str, targets: Sequence[Target], scopes: tuple[Scope, ...], now: float) -> Plan:
        """What the caller has to hold for such a call. Raises ModelNotAllowed."""
        if len(targets) == 1:
            key: tuple[object, ...] = (scopes, model, targets[0].provider.name, targets[0].model)
        else:
            key = (scopes, model, *[(target.provider.name, target.model) for target in targets])
        plan = self._plans.get(key)
        if plan is not None and plan.is_good(now):
            return plan
        names = names_of(targets)
        for scope in scopes:
            if not scope.allows(model, names):
                raise model_not_allowed(scope, model)
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        plan = self._plans[key] = Plan(scopes, {model}.union(*names), now)
        return plan

    async def _hold(  # noqa: C901, PLR0913, PLR0917 - called at one place, for each call of a caller with limits
        self, identifier: str, call: Call, model: str, plan: Plan, output: int, cost: int | None, now: float
    ) -> tuple[Held, Granted]:
        if cost is None and plan.money_of is not None and self.policy.unpriced == "refuse":
            raise unpriced(plan.money_of, model)
        held = plan.held(estimated_tokens(call.size + call.recalled) + output, cost or 0)
        if not held.holds:
            return held, Granted(now, (), ())
        if self._catching:  # calls that began before a limit was set count before this one
            await asyncio.wait(self._catching, timeout=_LONGEST_SUM_S)
        if self.policy.divided:
            held = self._divided(held)
        began = time.perf_counter()
        try:
            answer = self.counters.reserve_at_once(identifier, held.holds)
            if answer is None:
                answer = await self.counters.reserve(identifier, held.holds)
            if isinstance(answer, Unknown):
                answer = await self._seed_and_reserve(identifier, held, answer)
            self._hold_times.add(time.perf_counter() - began)
            if self._away:
                self._log_counters_state(None)
        except CountersError as error:
            held, answer = await self._hold_alone(identifier, held, error)
        if isinstance(answer, Refused):
            raise limited(held, answer, model, now)
        return held, answer

    def _divided(self, held: Held) -> Held:
        if held.has_money:
            raise _NO_COUNTERS
        return held.divided_by(self.policy.replicas)

    async def _hold_alone(self, identifier: str, held: Held, reason: CountersError) -> tuple[Held, Granted | Refused]:
        """By the policy for an outage."""
        count(Event.UNCOUNTED_CALLS)
        self._log_counters_state(str(reason))
        if held.has_money and self.policy.outage == "closed":
            raise Unavailable(
                "The gateway cannot count what may be spent at the moment: send the request again in a while.",
                headers={"retry-after": "5"},
            ) from reason
        held = held.share_of(self.policy.replicas)
        return held, cast("Granted | Refused", await self._own.reserve(identifier, held.holds))

    async def _seed_and_reserve(self, identifier: str, held: Held, answer: Answer) -> Granted | Refused:
        """Begin counters of money with what the ledger has, and hold."""
        counters = self.counters
        while isinstance(answer, Unknown):
            for counter in answer.counters:
                scope, window = held.windows[counter]
                try:
                    async with asyncio.timeout(_LONGEST_SUM_S):
                        spent = await self._spent(scope, window)
                except (StoreError, TimeoutError) as error:
                    raise CountersError(f"what was spent before is not known: {error}") from error
                await counters.seed(counter, spent, window.end or 0)
                self._in_background(self._follow(counter, scope, window), self._following)
            answer = await counters.reserve(identifier, held.holds)
        return answer

    async def _follow(self, counter: str, scope: Scope, window: Window) -> None:
        """Have a counter that was just begun know what has come to the ledger since: it never has used less."""
        for pause_s in _LOOKS_S:
            await asyncio.sleep(pause_s)
            with suppress(StoreError, CountersError):  # then it is as it was when it began
                await self.counters.seed(counter, await self._spent(scope, window), window.end or 0)

    @property
    def counters_away(self) -> bool:
        """Whether the last call that was to be counted could not be."""
        return self._away

    def _log_counters_state(self, problem: str | None) -> None:
        """Say once that counters are away, and that they are back."""
        if problem is not None and not self._away:
            _log.error("counters away", error=problem)
        elif problem is None and self._away:
            _log.warning("counters are back")
        self._away = problem is not None

    def _highest_cost(self, targets: Sequence[Target], bound: Bound, output: int, now: float) -> int | None:
        """The most that the call can cost at any of its targets; None if one has no price."""
        most = 0
        for target in targets:
            price = self.prices.find(target.provider.name, target.model, now)
            if price is None:
                return None
            most = max(most, price.bound(bound.input, output, bound.service_tier, bound.searches))
        return most

    # -- while it runs --

    def limits_changed(self, limits: CurrentLimits) -> None:
        """Hold for the calls in flight what they take of limits that were set since they began."""
        self._limits = limits
        if self._open:
            self._in_background(self._catch_up(limits), self._catching)

    async def _catch_up(self, limits: CurrentLimits) -> None:
        known: dict[tuple[str | None, str, str], Sequence[Scope]] = {}
        failed = False
        async with self._catching_up:
            for reservation in list(self._open.values()):
                caller = reservation.caller
                of = caller.key_id, caller.project_id, caller.name
                if of not in known:
                    known[of] = limits.scopes_now(caller)
                if known[of] != caller.scopes and not reservation.is_settled:
                    try:
                        await self._hold_later(reservation, known[of])
                    except CountersError as error:
                        self._log_counters_state(str(error))
                        failed = True
        if failed:
            self._in_background(self._catch_up_again(limits), self._following)

    async def _catch_up_again(self, limits: CurrentLimits) -> None:
        await asyncio.sleep(_RETRY_S)
        if limits is self._limits:
            self.limits_changed(limits)

    async def _hold_later(self, reservation: CallReservation, scopes: Sequence[Scope]) -> None:
        """Hold for a call in flight what it takes of these limits, even if there is no room. Raises CountersError."""
        held = reservation.missing_holds(scopes, _NO_LIMIT)
        if self.policy.divided:
            held = held.without_money()
        if not held.holds:
            return
        identifier = self._ids.another(reservation.start.id)
        answer = await self.counters.reserve(identifier, held.holds)
        if isinstance(answer, Unknown):
            answer = await self._seed_and_reserve(identifier, held, answer)
        if not isinstance(answer, Granted):
            return
        if reservation.is_settled:  # it has ended meanwhile: the ledger has what it cost
            await self.settle(identifier, held, [0] * len(held.holds), answer.at)
            return
        reservation.later = (*reservation.later, CountedHold(identifier, held, answer.at))
        later = [(each.id, each.at, *each.held.rows()) for each in reservation.later]
        reservation.start = reservation.start._replace(later_holds=later)
        self.log.started(reservation.start)  # once more, so that a recovery releases these as well

    # -- after it --

    async def settle(self, identifier: str, held: Held, amounts: Sequence[int], at: float) -> None:
        """Settle at once or, while the counters are away, as soon as they are back."""
        counters = self._own if held.is_share else self.counters
        began = time.perf_counter()
        try:
            if not counters.settle_at_once(identifier, held.holds, amounts, at):
                await counters.settle(identifier, held.holds, amounts, at)
            self._settle_times.add(time.perf_counter() - began)
        except CountersError:
            self._later(counters, identifier, held, amounts, at)
        except asyncio.CancelledError:
            self._later(counters, identifier, held, amounts, at)
            raise

    def soon(self, work: Awaitable[None]) -> None:
        """Run something in the background."""
        self._in_background(work, self._settling)

    @staticmethod
    def _in_background(work: Awaitable[None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _later(self, counters: Counters, identifier: str, held: Held, amounts: Sequence[int], at: float) -> None:
        async def again() -> None:
            while True:
                try:
                    await counters.settle(identifier, held.holds, amounts, at)
                except CountersError:
                    await asyncio.sleep(_RETRY_S)
                else:
                    return

        self.soon(again())


def _journal[Line](trace: Trace, write: Callable[[Line], None], line: Line) -> None:
    with trace.step(Step.JOURNAL, {}):
        write(line)
