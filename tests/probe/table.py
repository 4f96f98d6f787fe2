"""`python -m tests.probe.table`: each bad habit, probed directly and through the gateway, as a table for the README."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ai_gateway.probe.catalogue import CHECKS
from ai_gateway.probe.run import Result, run
from ai_gateway.probe.target import Target
from ai_gateway.probe.verdict import Verdict
from tests.probe.sloppy import HABITS, careless_upstream, url
from tests.support.gateway import TEST_KEY, running_gateway

type Row = tuple[str, Result, Result]


def name_of(habit: str) -> str:
    """The provider's name for a habit, as its variables have it."""
    return habit.replace("-", "")


@contextmanager
def both(habits: list[str]) -> Iterator[dict[str, tuple[str, str]]]:
    """For each habit, where the upstream that has it answers, and where the gateway in front of it does."""
    with (
        running_gateway(ALLOWED_API_KEYS=TEST_KEY) as perfect,
        careless_upstream(f"{perfect.base_url}/custom/v1") as upstream,
    ):
        env = {f"PROVIDER_{name_of(one).upper()}_BASE_URL": url(upstream, one) for one in habits}
        env |= {f"PROVIDER_{name_of(one).upper()}_API_KEY": TEST_KEY for one in habits}
        with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **env) as gateway:
            yield {one: (url(upstream, one), f"{gateway.base_url}/{name_of(one)}/v1") for one in habits}


def probed(address: str) -> Result:
    return asyncio.run(run(Target(address, TEST_KEY, "custom-chat", "custom-embedding"), CHECKS, 4, lambda _: None))


def rows(habits: list[str]) -> list[Row]:
    with both(habits) as addresses:
        return [(habit, probed(direct), probed(through)) for habit, (direct, through) in addresses.items()]


def failed(result: Result) -> list[str]:
    return [outcome.id for outcome in result.of(Verdict.FAILED)]


def markdown(found: list[Row]) -> str:
    lines = ["| The upstream | Failed checks, directly | Failed checks, through the gateway |", "|---|---|---|"]
    for habit, direct, through in found:
        lines.append(f"| {HABITS[habit].does} | {len(failed(direct))} | {len(failed(through))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    table = rows(sys.argv[1:] or list(HABITS))
    print(markdown(table))  # noqa: T201 - a command's output
    for habit, _, through in table:
        for outcome in through.of(Verdict.FAILED):
            print(f"{habit}: {outcome.id}: {outcome.expected} | {outcome.seen[:200]}", file=sys.stderr)  # noqa: T201 - a command's output
        for outcome in through.of(Verdict.SKIPPED):
            print(f"{habit}: SKIPPED {outcome.id}: {outcome.reason}", file=sys.stderr)  # noqa: T201 - a command's output
