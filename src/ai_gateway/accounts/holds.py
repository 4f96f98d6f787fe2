"""What a call has to hold of each limit of its caller, as counters know it."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ai_gateway.accounts.counters.base import MONEY, Hold
from ai_gateway.accounts.entities import RateLimit, SpendLimit
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.records import MAX_COST, MAX_TOKENS
from ai_gateway.accounts.windows import Window, window_at
from ai_gateway.contract.call import OwnText
from ai_gateway.contract.tokens import Tokens

type Kind = Literal["requests", "tokens", "parallel", "money"]

_MINUTE_UNIT_S, _DAY_UNIT_S = 1, 24 * 60
PICO_PER_CENT = 10**10
_new = object.__new__


RATE_LIMIT_HEADERS: Mapping[Kind, tuple[str, str, str]] = {
    "requests": ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    "tokens": ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
}
"""The headers with the limit, what is left of it and when all of it is there again, of the kinds that have such."""
type Reported = tuple[int, tuple[str, str, str], OwnText]
"""A hold that the headers report, the names of its headers, and its limit."""
type ReportedLine = tuple[int, str, str]
"""The same as lines of a head: the hold, and what is before and after what is left of it."""


@dataclass(slots=True)  # never changed
class Reason:
    """What a hold is for: the limit that a refusal names."""

    kind: Kind
    scope: Scope
    per: str
    """`min` or `day` for a rate, the interval for money, empty for calls in flight."""
    model: str = ""


@dataclass(slots=True)  # never changed, but made for every request that limits hold for
class Held:
    """Holds and the reason of each. `windows` are those of money. `is_share` says that this replica counts alone.

    `reported` are those that headers report, and `lines` the same as lines; None where that depends on how much is left
    of each. `varying` has the places of what is not the same for each call, with whether it is money, and `settled`
    what is counted of the others in the end; both are None unless the holds are those of a plan.
    """

    holds: Sequence[Hold]
    reasons: Sequence[Reason]
    windows: Mapping[str, tuple[Scope, Window]]
    is_share: bool = False
    reported: Sequence[Reported] | None = None
    lines: Sequence[ReportedLine] | None = None
    varying: Sequence[tuple[int, bool]] | None = None
    settled: Sequence[int] | None = None

    @property
    def has_money(self) -> bool:
        return bool(self.windows)

    def rows(self) -> Sequence[Sequence[object]]:
        """Its holds as a journal has them: the values of each in their order."""
        return [(hold.counter, hold.amount, hold.limit, hold.unit_s, hold.money, hold.until) for hold in self.holds]

    def without_counters(self, counted: Collection[str], limit: int) -> "Held":
        """The holds whose counters are not among `counted`, with this limit."""
        kept = [pair for pair in zip(self.holds, self.reasons, strict=True) if pair[0].counter not in counted]
        holds = [replace(hold, limit=limit) for hold, _ in kept]
        return replace(
            self, holds=holds, reasons=[reason for _, reason in kept], reported=None, lines=None, varying=None
        )

    def divided_by(self, replicas: int) -> "Held":
        """The same for one of so many replicas that cannot reach each other."""
        holds = [replace(hold, limit=max(1, hold.limit // replicas)) for hold in self.holds]
        return replace(self, holds=holds, reported=None, lines=None, varying=None)

    def share_of(self, replicas: int) -> "Held":
        """The same for one of so many replicas while they cannot reach each other; money is not counted then."""
        return replace(self.without_money().divided_by(replicas), is_share=True)

    def without_money(self) -> "Held":
        """The same without the holds of money."""
        kept = [(hold, reason) for hold, reason in zip(self.holds, self.reasons, strict=True) if not hold.money]
        holds, reasons = [hold for hold, _ in kept], [reason for _, reason in kept]
        return replace(self, holds=holds, reasons=reasons, windows={}, reported=None, lines=None, varying=None)

    def true_amounts(self, tokens: Tokens, cost: int | None) -> Sequence[int]:
        """What the call took of each, once it is over. The ledger counts no more of it.

        An unknown cost counts as all that was held for it.
        """
        if self.varying is not None and self.settled is not None:
            varying, amounts = self.varying, list(self.settled)
        else:
            varying, amounts = _varying(self.reasons), _settled(self.reasons)
        for at, is_money in varying:
            if not is_money:
                amounts[at] = min(sum(tokens[:-1]), MAX_TOKENS)  # all but searches
            elif cost is None:
                amounts[at] = self.holds[at].amount
            else:
                amounts[at] = cost if cost < MAX_COST else MAX_COST
        return amounts


def _varying(reasons: Sequence[Reason]) -> Sequence[tuple[int, bool]]:
    kinds = enumerate(reason.kind for reason in reasons)
    return [(at, kind == "money") for at, kind in kinds if kind in {"tokens", "money"}]


def _settled(reasons: Sequence[Reason]) -> list[int]:
    """What of each is counted in the end, unless it varies: a request stays, what was in flight does not."""
    return [int(reason.kind == "requests") for reason in reasons]


def _line(reported: Reported) -> ReportedLine:
    at, (limit, remaining, reset), text = reported
    return at, f"{limit}: {text}\r\n{remaining}: ", f"\r\n{reset}: "


def spend_counter(spend: SpendLimit, now: float, budget_key: str | None = None) -> tuple[str, Window]:
    """The counter of what is spent in the window that a limit has now, and that window.

    `budget_key` is whose counter it is, if it is not the one that the limit is of.
    """
    window = window_at(spend.interval, spend.time_zone, now)
    return f"{MONEY}{budget_key or spend.id}/{spend.interval}/{spend.time_zone}/{window.start}", window


class Plan:
    """What each call of a caller to a model has to hold; from one call to the next only amounts differ.

    `names` are those that limits may call the model by. It is good for some time only: that of the windows of money.
    """

    def __init__(self, scopes: Sequence[Scope], names: Collection[str], now: float) -> None:
        self.money_of = next((scope for scope in scopes if scope.spend is not None), None)
        """The narrowest scope that limits money."""
        self._holds: list[Hold] = []
        self._reasons: list[Reason] = []
        self._windows: dict[str, tuple[Scope, Window]] = {}
        self._since, self._until = -math.inf, math.inf
        for scope in scopes:
            for rate in scope.rates_for(names):
                self._add_rate(scope, rate)
            if scope.spend is not None:
                self._add_money(scope, scope.spend, now)
        self._reported = self._unambiguous()
        self._lines = [_line(each) for each in self._reported] if self._reported is not None else None
        self._varying, self._settled = _varying(self._reasons), _settled(self._reasons)

    def is_good(self, now: float) -> bool:
        """Whether it is good at this time."""
        return self._since <= now < self._until

    def held(self, tokens: int, cost: int) -> Held:
        """For a call that takes so many tokens and costs at most so much: as much of it as one call counts."""
        holds = self._holds.copy()
        for at, is_money in self._varying:
            hold = holds[at]
            amount, most = (cost, MAX_COST) if is_money else (tokens, MAX_TOKENS)
            if not 0 <= amount <= most:
                amount = most if amount > 0 else 0
            # Set one by one, which takes half as long as to call the class.
            holds[at] = varied = _new(Hold)
            varied.counter, varied.amount, varied.limit = hold.counter, amount, hold.limit
            varied.unit_s, varied.money, varied.until = hold.unit_s, hold.money, hold.until
        held = _new(Held)
        held.holds, held.reasons, held.windows, held.is_share = holds, self._reasons, self._windows, False
        held.reported, held.lines = self._reported, self._lines
        held.varying, held.settled = self._varying, self._settled
        return held

    def _unambiguous(self) -> Sequence[Reported] | None:
        """What the headers report, if there is one limit of each kind at most."""
        kinds = [reason.kind for reason in self._reasons if reason.kind in RATE_LIMIT_HEADERS]
        if len(set(kinds)) < len(kinds):
            return None
        return [
            (at, RATE_LIMIT_HEADERS[reason.kind], OwnText(self._holds[at].limit))
            for at, reason in enumerate(self._reasons)
            if reason.kind in RATE_LIMIT_HEADERS
        ]

    def _add_rate(self, scope: Scope, rate: RateLimit) -> None:
        limits: tuple[tuple[str, Kind, int | None, int, str], ...] = (
            ("rpm", "requests", rate.requests_per_minute, _MINUTE_UNIT_S, "min"),
            ("rpd", "requests", rate.requests_per_day, _DAY_UNIT_S, "day"),
            ("tpm", "tokens", rate.tokens_per_minute, _MINUTE_UNIT_S, "min"),
            ("parallel", "parallel", rate.parallel_requests, 0, ""),
        )
        for what, kind, limit, unit_s, per in limits:
            if limit is not None:
                self._add(
                    Hold(f"{what}/{scope.entity}/{rate.model}", 1, limit, unit_s), Reason(kind, scope, per, rate.model)
                )

    def _add_money(self, scope: Scope, spend: SpendLimit, now: float) -> None:
        name, window = spend_counter(spend, now, scope.budget_keys[0] if scope.budget_keys else None)
        self._windows[name] = scope, window
        self._since, self._until = max(self._since, window.start), min(self._until, window.end or math.inf)
        hold = Hold(name, 0, spend.threshold_amount * PICO_PER_CENT, money=True, until=window.end or 0)
        self._add(hold, Reason("money", scope, spend.interval))

    def _add(self, hold: Hold, reason: Reason) -> None:
        self._holds.append(hold)
        self._reasons.append(reason)
