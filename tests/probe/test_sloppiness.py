"""Each bad habit of an upstream turns the checks red that are meant for it, and no others."""

import asyncio
from collections.abc import Iterator

import pytest

from ai_gateway.probe.catalogue import CHECKS
from ai_gateway.probe.run import Result, run
from ai_gateway.probe.target import Target
from ai_gateway.probe.verdict import Verdict
from tests.probe.sloppy import HABITS, careless_upstream, url
from tests.support.gateway import TEST_KEY, LiveGateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def upstream(gateway: LiveGateway) -> Iterator[Upstream]:
    with careless_upstream(f"{gateway.base_url}/custom/v1") as running:
        yield running


def probed(address: str, timeout_s: float = 20) -> Result:
    target = Target(address, TEST_KEY, timeout_s=timeout_s)
    return asyncio.run(run(target, CHECKS, 4, lambda _: None))


def ids(result: Result, verdict: Verdict) -> set[str]:
    return {outcome.id for outcome in result.of(verdict)}


def named(red: frozenset[str]) -> set[str]:
    """The ids of checks; the name of a group stands for those it has."""
    return {check.id for check in CHECKS if check.id in red or check.group in red}


def test_without_a_habit_everything_is_green(upstream: Upstream) -> None:
    result = probed(url(upstream, "none"))
    assert [outcome for outcome in result.outcomes if outcome.verdict is not Verdict.PASSED] == []


@pytest.mark.parametrize("name", [name for name in HABITS if name != "all"])
def test_a_habit_turns_its_own_checks_red(name: str, upstream: Upstream) -> None:
    habit = HABITS[name]
    failed = probed(url(upstream, name)).of(Verdict.FAILED)
    assert sorted(named(habit.red) - {outcome.id for outcome in failed}) == []
    assert habit.more or [outcome for outcome in failed if outcome.id not in named(habit.red)] == []
