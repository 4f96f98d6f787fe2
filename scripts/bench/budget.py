"""What the gateway has to keep to, and what it aims at: the one place where these numbers stand."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from scripts.bench.cells import (
    ACCOUNTS,
    ACCOUNTS_VALKEY,
    EVENTS,
    GATEWAY,
    LITELLM,
    NGINX,
    UNCHECKED,
    UNCOUNTED,
    UPSTREAM,
    VLLM_ROUTER,
    cell,
)
from scripts.bench.measure import Sample
from scripts.bench.results import Results


@dataclass(frozen=True, slots=True)
class Budget:
    """One figure. The value is to be at most `must`, or at least where `at_least` says so; None if not measured."""

    figure: str
    unit: str
    must: float
    aim: float
    value: Callable[[Results], float | None]
    at_least: bool = False

    def verdict(self, value: float) -> str:
        """`ok`, or `over`; and whether the aim is reached as well."""
        if not self._keeps(value, self.must):
            return "over"
        return "ok, aim met" if self._keeps(value, self.aim) else "ok"

    def _keeps(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound


type _Value = Callable[[Results], float | None]


def _beside(peer: str, name: str) -> _Value:
    return lambda results: results.ratio(name, GATEWAY, peer)


def _less_than(peer: str, name: str) -> _Value:
    return lambda results: results.ratio(name, peer, GATEWAY)


def _of(name: str, figure: Callable[[Sample], float]) -> _Value:
    def value(results: Results) -> float | None:
        sample = results.sample(name, GATEWAY)
        return None if sample is None else figure(sample)

    return value


def _added_p50(results: Results) -> float | None:
    direct, through = results.sample("whole-1", UPSTREAM), results.sample("whole-1", GATEWAY)
    return None if direct is None or through is None else through.p50_ms - direct.p50_ms


def _conformance(name: str) -> _Value:
    def value(results: Results) -> float | None:
        ratio = results.ratio(name, GATEWAY, UNCHECKED)
        return None if ratio is None else 100 * (ratio - 1)

    return value


def _accounts(target: str) -> _Value:
    """What accounts add to a whole reply, in us of CPU."""

    def value(results: Results) -> float | None:
        with_them, without = results.sample("whole-16", target), results.sample("whole-16", UNCOUNTED)
        return None if with_them is None or without is None else with_them.cpu_us - without.cpu_us

    return value


def _instructions(name: str) -> _Value:
    def value(results: Results) -> float | None:
        kilo = results.kilo_instructions(name, GATEWAY)
        return None if kilo is None else kilo / cell(name).counted

    return value


def _beside_chat(name: str) -> _Value:
    """By instructions, where they were counted: they see nothing of what else the machine does."""

    def value(results: Results) -> float | None:
        mine, its = (results.kilo_instructions(each, GATEWAY) for each in (name, "burst-16"))
        if mine is not None and its:
            return mine / its
        sample, other = results.sample(name, GATEWAY), results.sample("burst-16", GATEWAY)
        if sample is None or other is None:
            return None
        return median(ours / theirs for ours, theirs in zip(sample.slices, other.slices, strict=True))

    return value


def _unreachable(results: Results) -> float | None:
    return max((each.unreachable for each in results.garbage), default=None)


def _idle_mb(results: Results) -> float | None:
    return next((each.rss_started_mb for each in results.starts if each.target == GATEWAY), None)


def _grown_mb(results: Results) -> float | None:
    return next(
        (each.rss_after_mb - each.rss_before_mb for each in results.long_bodies if each.target == GATEWAY), None
    )


def _started_mb(results: Results) -> float | None:
    return next((each.rss_answered_mb for each in results.starts if each.target == GATEWAY), None)


def _cold_s(results: Results) -> float | None:
    return next((each.cold_s for each in results.starts if each.target == GATEWAY), None)


def _streams_mb(results: Results) -> float | None:
    return next((each.rss_mb for each in results.streams if each.target == GATEWAY and each.streams >= 1_000), None)


BUDGETS: Final = (
    Budget("whole reply, c=16", "x nginx", 8, 6, _beside(NGINX, "whole-16")),
    Budget("streamed event in a burst, c=16", "x nginx", 1.2, 1.05, _beside(NGINX, "burst-16")),
    Budget("streamed event of 64 paced streams", "x nginx", 2.8, 2.4, _beside(NGINX, "paced-64")),
    Budget("100 KB body, c=16", "x nginx", 2.3, 1.9, _beside(NGINX, "body-100k")),
    Budget("5 MB body, CPU", "ms", 10, 10, _of("body-5m", lambda sample: sample.cpu_us / 1e3)),
    Budget("first byte of a burst stream, c=16", "ms", 4, 2, _of("burst-16", lambda sample: sample.first_p50_ms)),
    Budget("added p50, c=1", "ms", 0.4, 0.15, _added_p50),
    Budget("p99, c=64", "ms", 12, 8, _of("whole-64", lambda sample: sample.p99_ms)),
    Budget("conformance, of a whole reply", "%", 25, 15, _conformance("whole-16")),
    Budget("conformance, of a streamed event", "%", 25, 15, _conformance("burst-16")),
    Budget("record of a call, CPU", "us", 20, 12, _accounts(GATEWAY)),
    Budget("hold, settle and record of a call, CPU", "us", 30, 25, _accounts(ACCOUNTS)),
    Budget("the same with Valkey, CPU", "us", 60, 45, _accounts(ACCOUNTS_VALKEY)),
    Budget("instructions per request", "kI", 750, 600, _instructions("whole-16")),
    Budget(f"instructions per event of {EVENTS}", "kI", 45, 40, _instructions("burst-16")),
    Budget("event of a response", "x chat's", 1.5, 1.25, _beside_chat("responses-16")),
    Budget("event of a message", "x chat's", 1.5, 1.25, _beside_chat("messages-16")),
    Budget("event of a response that is relayed", "x chat's", 1.1, 1, _beside_chat("relayed-16")),
    Budget("event of a message that is relayed", "x chat's", 1.1, 1, _beside_chat("relayed-messages-16")),
    Budget("unreachable objects after requests", "", 0, 0, _unreachable),
    Budget("idle memory", "MB", 80, 75, _idle_mb),
    Budget("memory gained in 20,000 requests of 100 KB", "MB", 40, 20, _grown_mb),
    Budget("memory after the first request", "MB", 100, 75, _started_mb),
    Budget("memory with 1,000 open streams", "MB", 200, 150, _streams_mb),
    Budget("start to the first answered request", "s", 2, 1, _cold_s),
    Budget("whole reply beside LiteLLM", "x less", 50, 75, _less_than(LITELLM, "whole-16"), at_least=True),
    Budget("streamed event beside LiteLLM", "x less", 80, 95, _less_than(LITELLM, "burst-16"), at_least=True),
    Budget("whole reply beside vllm-router", "x vllm-router", 3.5, 2.5, _beside(VLLM_ROUTER, "whole-16")),
    Budget("streamed event beside vllm-router", "x vllm-router", 1.1, 1.0, _beside(VLLM_ROUTER, "burst-16")),
)
