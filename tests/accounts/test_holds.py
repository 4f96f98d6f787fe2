"""What a call has to hold: worked out once for a caller and a model, as long as the windows last."""

from datetime import UTC, datetime

import pytest

from ai_gateway.accounts.counters.base import Hold
from ai_gateway.accounts.entities import EVERY_MODEL, Interval, RateLimit, SpendLimit
from ai_gateway.accounts.holds import Plan
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.records import MAX_COST, MAX_TOKENS
from ai_gateway.contract.tokens import Tokens

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
RATE = RateLimit(id="1", entity="key_1", model=EVERY_MODEL, requests_per_minute=5, tokens_per_minute=900)
OTHER = RateLimit(id="2", entity="key_1", model="large", parallel_requests=2)


def scopes(interval: Interval = "day", zone: str = "UTC") -> tuple[Scope, ...]:
    """A key with limits of all kinds, and a project with one of money."""
    spend = SpendLimit(id="key_1", threshold_amount=7, interval=interval, time_zone=zone)
    rates = {EVERY_MODEL: RATE, "large": OTHER}
    return (
        Scope("key", "key_1", spend, rates),
        Scope("project", "default", SpendLimit(id="default", threshold_amount=9, interval="total")),
    )


def test_only_tokens_and_money_differ_from_call_to_call() -> None:
    plan = Plan(scopes(), {"large"}, NOON)
    first, second = plan.held(100, 3_000), plan.held(200, 5_000)
    day = int(NOON) // 86_400 * 86_400
    assert list(first.holds) == [
        Hold("rpm/key_1/*", 1, 5, 1),
        Hold("tpm/key_1/*", 100, 900, 1),
        Hold("parallel/key_1/large", 1, 2),
        Hold(f"spend/key_1/day/UTC/{day}", 3_000, 7 * 10**10, money=True, until=day + 86_400),
        Hold("spend/default/total/UTC/0", 3_000, 9 * 10**10, money=True),
    ]
    assert [hold.amount for hold in second.holds] == [1, 200, 1, 5_000, 5_000]
    assert [reason.kind for reason in second.reasons] == ["requests", "tokens", "parallel", "money", "money"]
    assert len(Plan(scopes(), {"small"}, NOON).held(1, 1).holds) == 4


@pytest.mark.parametrize("interval", ["day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/Santiago"])
def test_a_plan_is_good_until_a_window_ends(interval: Interval, zone: str) -> None:
    plan = Plan(scopes(interval, zone), {"small"}, NOON)
    (name, end), *_ = [(hold.counter, hold.until) for hold in plan.held(1, 1).holds if hold.until]
    assert plan.is_good(NOON)
    assert plan.is_good(end - 1)
    assert not plan.is_good(end)
    begin = int(name.rpartition("/")[2])
    assert plan.is_good(begin)
    assert not plan.is_good(begin - 1)  # a clock that was set back


def test_no_call_takes_more_than_the_ledger_counts() -> None:
    held = Plan(scopes(), {"large"}, NOON).held(100, 3_000)
    assert held.true_amounts(Tokens(10**30), 10**40) == [1, MAX_TOKENS, 0, MAX_COST, MAX_COST]
    assert held.true_amounts(Tokens(2, 3, searches=9), None) == [1, 5, 0, 3_000, 3_000], (
        "what nobody knows is what was held"
    )


def test_where_nobody_else_can_be_asked_each_counts_its_share_and_no_money() -> None:
    share = Plan(scopes(), {"large"}, NOON).held(100, 3_000).share_of(3)
    assert [(hold.counter, hold.limit) for hold in share.holds] == [
        ("rpm/key_1/*", 1),
        ("tpm/key_1/*", 300),
        ("parallel/key_1/large", 1),
    ]
    assert share.true_amounts(Tokens(7), 9) == [1, 7, 0]
    assert share.is_share
    assert not share.has_money
