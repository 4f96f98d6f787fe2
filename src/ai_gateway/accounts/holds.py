"""What a call has to hold of each limit of its caller, as counters know it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from ai_gateway.accounts.counters.base import Hold
from ai_gateway.accounts.entities import RateLimit, SpendLimit
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.windows import Window, window_at

type Kind = Literal["requests", "tokens", "parallel", "money"]

_MINUTE_UNIT_S, _DAY_UNIT_S = 1, 24 * 60
PICO_PER_CENT = 10**10


class Reason(NamedTuple):
    """What a hold is for: the limit that a refusal names."""

    kind: Kind
    scope: Scope
    per: str
    """`min` or `day` for a rate, the interval for money, empty for calls in flight."""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Holds and the reason of each. `windows` are those of money. `is_share` says that this replica counts alone."""

    holds: Sequence[Hold]
    reasons: Sequence[Reason]
    windows: Mapping[str, tuple[Scope, Window]] = field(default_factory=dict)
    is_share: bool = False

    @property
    def has_money(self) -> bool:
        return bool(self.windows)

    def divided_by(self, replicas: int) -> "Held":
        """The same for one of so many replicas that cannot ask each other."""
        return replace(self, holds=[hold._replace(limit=max(1, hold.limit // replicas)) for hold in self.holds])

    def share_of(self, replicas: int) -> "Held":
        """The same for one of so many replicas while they cannot ask each other; money is not counted then."""
        kept = [(hold, reason) for hold, reason in zip(self.holds, self.reasons, strict=True) if not hold.money]
        rates = replace(self, holds=[hold for hold, _ in kept], reasons=[reason for _, reason in kept], windows={})
        return replace(rates.divided_by(replicas), is_share=True)

    def true_amounts(self, tokens: int, cost: int | None) -> Sequence[int]:
        """What the call took of each, once it is over."""
        return [
            {"requests": 1, "tokens": tokens, "parallel": 0, "money": cost or 0}[reason.kind] for reason in self.reasons
        ]


def spend_counter(spend: SpendLimit, now: float) -> tuple[str, Window]:
    """The counter of what is spent in the window that a limit has now, and that window."""
    window = window_at(spend.interval, spend.time_zone, now)
    return f"spend/{spend.id}/{spend.interval}/{spend.time_zone}/{window.start}", window


def holds_for(scopes: Sequence[Scope], names: Collection[str], tokens: int, cost: int, now: float) -> Held:
    """For a call of a model that is known by these names, which takes so many tokens and costs at most so much."""
    holds: list[Hold] = []
    reasons: list[Reason] = []
    windows: dict[str, tuple[Scope, Window]] = {}
    for scope in scopes:
        for rate in scope.rates_for(names):
            for hold, reason in _of_rate(scope, rate, tokens):
                holds.append(hold)
                reasons.append(reason)
        spend = scope.spend
        if spend is not None:
            name, window = spend_counter(spend, now)
            windows[name] = scope, window
            limit = spend.threshold_amount * PICO_PER_CENT
            holds.append(Hold(name, cost, limit, money=True, until=window.end or 0))
            reasons.append(Reason("money", scope, spend.interval))
    return Held(holds, reasons, windows)


def _of_rate(scope: Scope, rate: RateLimit, tokens: int) -> Sequence[tuple[Hold, Reason]]:
    where = f"{scope.entity}/{rate.model}"
    made = (
        ("rpm", 1, rate.requests_per_minute, _MINUTE_UNIT_S, Reason("requests", scope, "min", rate.model)),
        ("rpd", 1, rate.requests_per_day, _DAY_UNIT_S, Reason("requests", scope, "day", rate.model)),
        ("tpm", tokens, rate.tokens_per_minute, _MINUTE_UNIT_S, Reason("tokens", scope, "min", rate.model)),
        ("parallel", 1, rate.parallel_requests, 0, Reason("parallel", scope, "", rate.model)),
    )
    return [
        (Hold(f"{what}/{where}", amount, limit, unit_s), reason)
        for what, amount, limit, unit_s, reason in made
        if limit is not None
    ]
