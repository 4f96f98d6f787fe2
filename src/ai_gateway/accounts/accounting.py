"""Hold, settle, record: what a call may cost is held before it is made, what it did cost counted after it.

Every call that may go on to an upstream begins with a start and ends with one record, whoever left.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast, override

import structlog

from ai_gateway.accounts.bounds import Bound
from ai_gateway.accounts.counters.base import Answer, Counters, CountersError, Granted, Hold, Refused, Unknown
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.holds import Held, Plan
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.prices import Prices
from ai_gateway.accounts.records import CallLog, Start
from ai_gateway.accounts.refusals import limit_headers, limited, model_not_allowed, unpriced
from ai_gateway.accounts.reservation import CallReservation, estimated_tokens
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.accounts.windows import Window
from ai_gateway.contract.call import Call
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.errors import RETRY_HINT, Forbidden, Unavailable
from ai_gateway.observability.metrics import Event, count

type Unpriced = Literal["refuse", "flag", "allow"]
type Outage = Literal["closed", "open"]
type Spent = Callable[[Scope, Window], Awaitable[int]]
"""What the ledger has of an entity's costs in a window, in 1e-12 USD."""

_MAY_CALL = frozenset({"all", "model.request", "api.model.request"})
_RETRY_S = 1.0
_MOST_PLANS = 1_024  # names of models come from callers
_LONGEST_SUM_S = 2.0
_NO_COUNTERS = Unavailable(
    "A spend limit holds for this key, and the gateway's replicas have nothing that counts for all of them: its "
    "operator has to set VALKEY_URL.",
    headers={RETRY_HINT: "false"},
)
_log = structlog.get_logger(__name__)


class Target(Protocol):
    """A provider that may be called, and the model's name there."""

    @property
    def provider(self) -> "Named": ...
    @property
    def model(self) -> str: ...


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str: ...


@dataclass(slots=True)
class Wanted:
    """What a call asks for: the model as it was named, what may be called for it, and what it can take at the most."""

    operation: str
    model: str
    bound: Bound
    targets: Sequence[Target]
    stream: bool

    def names(self) -> Sequence[Collection[str]]:
        """What limits and permissions may call the model of each target."""
        return [(target.model, f"{target.provider.name}/{target.model}") for target in self.targets]


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds where something is not known or out of reach.

    `unpriced` is for models without a price under a limit of money. `outage` is for money while the counters cannot be
    reached: other limits are then counted here, each replica its share. `output_tokens` is the most that a model is
    taken to put out, where neither the request nor anybody else limits it. `divided` says that replicas share a store
    but no counters: each counts its share of a limit, and nobody could count money.
    """

    unpriced: Unpriced = "refuse"
    outage: Outage = "closed"
    replicas: int = 1
    output_tokens: int = 131_072
    divided: bool = False


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
        policy: Policy = Policy(),
    ) -> None:
        self.prices = prices
        self.policy = policy
        self.counters = counters
        self.log = log
        self._spent = spent
        self._own = MemoryCounters()
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._prefix = self._beginning = ""
        self._second = 0
        self._numbers = itertools.count()
        self._settling: set[asyncio.Task[None]] = set()
        self._away = False

        self.start()

    @property
    def is_away(self) -> bool:
        """Whether the counters could not be reached when they were last needed."""
        return self._away

    def start(self) -> None:
        """Begin to number calls. To be called in each process, or two workers would give out the same ids."""
        # Unique, as a UUID for each call would be at some twenty times the cost.
        self._prefix, self._second = secrets.token_hex(8), 0

    def _identifier(self, second: int) -> str:
        if second != self._second:
            self._second, self._beginning = second, f"{second:08x}{self._prefix}"
        return f"{self._beginning}{next(self._numbers):08x}"

    async def reserve(self, call: Call, wanted: "Wanted") -> None:
        """Let the call go on, with what it may take held for it. Raises Forbidden, RateLimited or Unavailable."""
        caller = call.caller
        if caller.may and _MAY_CALL.isdisjoint(caller.may):
            raise Forbidden("You have insufficient permissions for this operation. Missing scopes: model.request.")
        if self.log.refuses:
            raise Unavailable(
                "The gateway cannot keep records of calls at the moment: send the request again in a while.",
                headers={"retry-after": "5"},
            )
        bound, first = wanted.bound, wanted.targets[0]
        now = time.time()
        output = bound.output if bound.output is not None else self.policy.output_tokens * bound.choices
        price = self.prices.find(first.provider.name, first.model, now)
        cost = price.bound(bound.input, output, bound.service_tier) if price is not None else None
        if len(wanted.targets) > 1:
            cost = self._dearest(wanted, output, now)
        at_ms = int(now * 1000)
        identifier = self._identifier(at_ms // 1000)
        held: Held | None = None
        headers: dict[str, str] = {}
        at = now
        if caller.scopes:
            held, answer = await self._hold(identifier, call, wanted, cost, now)
            at, headers = answer.at, limit_headers(held, answer.left, answer.resets)
        start = Start(
            at_ms,
            identifier,
            call.request_id,
            caller.project_id,
            caller.key_id,
            call.wire.name,
            wanted.operation,
            wanted.model,
            wanted.stream,
            first.provider.name,
            first.model,
            cost,
            bound.input,
            output,
            (at, *map(tuple, held.holds)) if held is not None else (),
        )
        call.reservation = CallReservation(self, call, start, price, held, at, headers)
        self.log.started(start)

    async def give_back(self, start: Start) -> None:
        """Settle what was held for a call whose process is gone: it costs what it could have cost at the most.

        Raises CountersError.
        """
        if start.holds:
            at, *holds = start.holds
            read = [Hold(*each) for each in holds]
            amounts = [0 if not hold.money and not hold.unit_s else hold.amount for hold in read]
            await self.counters.settle(start.id, read, amounts, at)

    @override
    def ended(self, outcome: Outcome) -> None:
        call = outcome.call
        reservation = call.reservation if call is not None else None
        if call is None or not isinstance(reservation, CallReservation):
            return
        self.log.ended(reservation.record(outcome))

    async def aclose(self) -> None:
        """Wait for what is being settled."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=_RETRY_S)

    # -- before the call --

    def _plan(self, call: Call, wanted: "Wanted", now: float) -> Plan:
        """What the caller has to hold for such a call. Raises ModelNotAllowed."""
        scopes = cast("tuple[Scope, ...]", call.caller.scopes)
        key = (scopes, wanted.model, *[(target.provider.name, target.model) for target in wanted.targets])
        plan = self._plans.get(key)
        if plan is not None and plan.is_good(now):
            return plan
        names = wanted.names()
        for scope in scopes:
            if not scope.allows(wanted.model, names):
                raise model_not_allowed(scope, wanted.model)
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        plan = self._plans[key] = Plan(scopes, {wanted.model}.union(*names), now)
        return plan

    async def _hold(
        self, identifier: str, call: Call, wanted: "Wanted", cost: int | None, now: float
    ) -> tuple[Held, Granted]:
        plan = self._plan(call, wanted, now)
        if cost is None and plan.money_of is not None and self.policy.unpriced == "refuse":
            raise unpriced(plan.money_of, wanted.model)
        held = plan.held(estimated_tokens(call.size) + (wanted.bound.output or 0), cost or 0)
        if not held.holds:
            return held, Granted(now, (), ())
        if self.policy.divided:
            held = self._divided(held)
        try:
            answer = await self.counters.reserve(identifier, held.holds)
            if isinstance(answer, Unknown):
                answer = await self._begun(identifier, held, answer)
            self._note(None)
        except CountersError as error:
            held, answer = await self._hold_alone(identifier, held, error)
        if isinstance(answer, Refused):
            raise limited(held, answer, wanted.model, now)
        return held, answer

    def _divided(self, held: Held) -> Held:
        if held.has_money:
            raise _NO_COUNTERS
        return held.divided_by(self.policy.replicas)

    async def _hold_alone(self, identifier: str, held: Held, reason: CountersError) -> tuple[Held, Granted | Refused]:
        """By the policy for an outage."""
        count(Event.COUNTERS_AWAY)
        self._note(str(reason))
        if held.has_money and self.policy.outage == "closed":
            raise Unavailable(
                "The gateway cannot count what may be spent at the moment: send the request again in a while.",
                headers={"retry-after": "5"},
            ) from reason
        held = held.share_of(self.policy.replicas)
        return held, cast("Granted | Refused", await self._own.reserve(identifier, held.holds))

    async def _begun(self, identifier: str, held: Held, answer: Answer) -> Granted | Refused:
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
            answer = await counters.reserve(identifier, held.holds)
        return answer

    def _note(self, problem: str | None) -> None:
        """Say once that counters are away, and that they are back."""
        if problem is not None and not self._away:
            _log.error("counters away", error=problem)
        elif problem is None and self._away:
            _log.warning("counters are back")
        self._away = problem is not None

    def _dearest(self, wanted: "Wanted", output: int, now: float) -> int | None:
        """The most that the call can cost at any of its targets; None if one has no price."""
        most, bound = 0, wanted.bound
        for target in wanted.targets:
            price = self.prices.find(target.provider.name, target.model, now)
            if price is None:
                return None
            most = max(most, price.bound(bound.input, output, bound.service_tier))
        return most

    # -- after it --

    async def settle(self, start: Start, held: Held, amounts: Sequence[int], at: float) -> None:
        """Settle at once or, while the counters are away, as soon as they are back."""
        counters = self._own if held.is_share else self.counters
        try:
            await counters.settle(start.id, held.holds, amounts, at)
        except CountersError:
            self._later(counters, start, held, amounts, at)
        except asyncio.CancelledError:
            self._later(counters, start, held, amounts, at)
            raise

    def soon(self, work: Awaitable[None]) -> None:
        """Have something done that nobody waits for."""
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _later(self, counters: Counters, start: Start, held: Held, amounts: Sequence[int], at: float) -> None:
        async def again() -> None:
            while True:
                try:
                    await counters.settle(start.id, held.holds, amounts, at)
                except CountersError:
                    await asyncio.sleep(_RETRY_S)
                else:
                    return

        self.soon(again())
