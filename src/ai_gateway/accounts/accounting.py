"""Hold, settle, record: what a call may cost is held before it is made, what it did cost counted after it.

Every call that may go on to an upstream begins with a start and ends with one record, also if its caller disconnects.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import cast, override

import structlog

from ai_gateway.accounts.bounds import Bound, whole_bound
from ai_gateway.accounts.call_ids import CallIds
from ai_gateway.accounts.counters.base import Counters, CountersError, Granted, Refused, Unknown
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.holds import Held, Plan
from ai_gateway.accounts.limits import CurrentLimits, Scope
from ai_gateway.accounts.policy import Policy
from ai_gateway.accounts.price import Price
from ai_gateway.accounts.prices import Prices
from ai_gateway.accounts.records import CallLog, Start
from ai_gateway.accounts.refusals import limited, model_not_allowed, unpriced
from ai_gateway.accounts.reservation import CallReservation, CountedHold, estimated_tokens
from ai_gateway.accounts.seeding import LONGEST_SUM_S, Seeding, Spent
from ai_gateway.accounts.targets import Target, names_of
from ai_gateway.contract.call import Call, Trace
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.tokens import quickly
from ai_gateway.errors import RETRY_HINT, Forbidden, Unavailable
from ai_gateway.observability.metrics import Event, Timing, count, time_of
from ai_gateway.observability.trace_names import Step

_MAY_CALL = frozenset({"all", "model.request", "api.model.request"})
_RETRY_S = 1.0
_MAX_PLANS = 1_024  # names of models come from callers
# In place of a limit, where what is in flight already has to be counted.
_NO_LIMIT = 2**62
_NO_COUNTERS = Unavailable(
    "A spend limit holds for this key, and the gateway's replicas have nothing that counts for all of them: its "
    "operator has to set VALKEY_URL.",
    headers={RETRY_HINT: "false"},
)
_log = structlog.get_logger(__name__)


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
        self._seeding = Seeding(spent)
        self._own = MemoryCounters()
        self._hold_times, self._settle_times = (time_of(Timing.COUNTERS, step) for step in ("hold", "settle"))
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._ids = CallIds()
        self._settling: set[asyncio.Task[None]] = set()
        self._retrying: set[asyncio.Task[None]] = set()
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

    async def reserve(  # noqa: PLR0913, PLR0917 - see `reserve_at_once`
        self, call: Call, operation: str, model: str, bound: Bound, targets: Sequence[Target], stream: bool
    ) -> None:
        """Let the call go on, with what it may take held for it. Raises Forbidden, RateLimited or Unavailable.

        `model` is what its caller calls it by, and `bound` the most that it may use at any of the `targets`.
        """
        waiting = self.reserve_at_once(call, operation, model, bound, targets, stream)
        if waiting is not None:
            await waiting

    def reserve_at_once(  # noqa: C901, PLR0913, PLR0917 - in one go, as each call pays for it
        self, call: Call, operation: str, model: str, bound: Bound, targets: Sequence[Target], stream: bool
    ) -> Awaitable[None] | None:
        """The same, without waiting if it need not. Else returns what has to be awaited."""
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
        now = time.time()
        provider = first.provider.name
        price = self.prices.find(provider, first.model, now)
        cost = price.bound(most_input, output, tier, searches) if price is not None else None
        if len(targets) > 1:
            cost = self.prices.most(targets, most_input, output, tier, searches, now)
        if (turn := call.round) is not None and cost is not None:
            cost += turn.tools_bound
        at_ms = int(now * 1000)
        identifier = self._ids.next(at_ms // 1000)
        scopes: tuple[Scope, ...] = caller.scopes  # type: ignore[assignment] # private to accounts
        limits = self._limits
        state = limits.state if limits is not None else caller.limits_state
        if limits is not None and state != caller.limits_state:  # there was a change since the caller was let in
            scopes = limits.scopes_now(caller)
        held: Held | None = None
        answer: Granted | None = None
        holds: tuple[object, ...] = ()
        if scopes:
            plan = self._plan(model, targets, scopes, now)
            if cost is None and plan.money_of is not None and self.policy.unpriced == "refuse":
                raise unpriced(plan.money_of, model)
            held = plan.held(estimated_tokens(call.size + call.recalled) + (bound.output or 0), cost or 0)
            answer = self._hold_at_once(identifier, held, model, now)
            if answer is not None:
                holds = (answer.at, *held.rows())
        # fmt: off
        start = quickly(Start, (
            at_ms, identifier, call.request_id, caller.project_id, caller.key_id, call.wire.name, operation, model,
            stream, provider, first.model, cost, most_input, output, holds, (), turn.number if turn is not None else 0,
        ))
        # fmt: on
        if held is not None and answer is None:
            return self._reserve_later(call, targets, start, price, held, state)
        self._begin(call, targets, start, price, held, answer, state)
        return None

    def _hold_at_once(self, identifier: str, held: Held, model: str, now: float) -> Granted | None:
        """None if that would have to wait. Raises RateLimited."""
        if not held.holds:
            return Granted(now, (), ())
        if self._catching or self._away or self.counters.waits or self.policy.divided:
            return None
        began = time.perf_counter()
        try:
            answer = self.counters.reserve_at_once(identifier, held.holds)
        except CountersError:  # which is what it comes to once more
            return None
        spent = time.perf_counter() - began
        if isinstance(answer, Granted):
            self._hold_times.add_later(spent)
            return answer
        if isinstance(answer, Refused):
            self._hold_times.add_later(spent)
            raise limited(held, answer, model, now)
        return None

    async def _reserve_later(  # noqa: PLR0913, PLR0917 - called at one place
        self, call: Call, targets: Sequence[Target], start: Start, price: Price | None, held: Held, state: int
    ) -> None:
        held, answer = await self._hold(start.id, held, start.model)
        start = start._replace(holds=(answer.at, *held.rows()))
        self._begin(call, targets, start, price, held, answer, state)

    def _begin(  # noqa: PLR0913, PLR0917 - called for each call
        self,
        call: Call,
        targets: Sequence[Target],
        start: Start,
        price: Price | None,
        held: Held | None,
        answer: Granted | None,
        state: int,
    ) -> None:
        """`state` is that of the limits by which it was let in."""
        call.reservation = self._open[start[1]] = CallReservation(self, call, targets, start, price, held, answer)
        if call.trace is None:
            self.log.started(start)
        else:
            _journal(call.trace, self.log.started, start)
        if (limits := self._limits) is not None and state != limits.state:
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
        self._seeding.close()
        for task in (*self._retrying, *self._catching):
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

    async def _hold(self, identifier: str, held: Held, model: str) -> tuple[Held, Granted]:
        now = time.time()
        if self._catching:  # calls that began before a limit was set count before this one
            await asyncio.wait(self._catching, timeout=LONGEST_SUM_S)
        if self.policy.divided:
            held = self._divided(held)
        began = time.perf_counter()
        try:
            answer = await self.counters.reserve(identifier, held.holds)
            if isinstance(answer, Unknown):
                answer = await self._seeding.reserve(self.counters, identifier, held, answer)
            self._hold_times.add_later(time.perf_counter() - began)
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
            self._in_background(self._catch_up_again(limits), self._retrying)

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
            answer = await self._seeding.reserve(self.counters, identifier, held, answer)
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
            await counters.settle(identifier, held.holds, amounts, at)
            self._settle_times.add_later(time.perf_counter() - began)
        except CountersError:
            self._later(counters, identifier, held, amounts, at)
        except asyncio.CancelledError:
            self._later(counters, identifier, held, amounts, at)
            raise

    def settle_at_once(self, identifier: str, held: Held, amounts: Sequence[int], at: float) -> bool:
        """The same without waiting. Returns whether that was possible."""
        counters = self._own if held.is_share else self.counters
        began = time.perf_counter()
        try:
            if not counters.settle_at_once(identifier, held.holds, amounts, at):
                return False
        except CountersError:
            self._later(counters, identifier, held, amounts, at)
            return True
        self._settle_times.add_later(time.perf_counter() - began)
        return True

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
