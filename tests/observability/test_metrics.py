"""What was mended and what was left out is counted for whoever reads the metrics."""

import random
import time

import pytest

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.rules import FILL_ID, FILL_ROLE
from ai_gateway.contract.body import validate
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.tokens import Tokens
from ai_gateway.middleware.request_metrics import RequestMetrics
from ai_gateway.observability.families import BODY, DURATION, FIRST_BYTE, INTERVAL, OVERHEAD, REQUESTS, TOKENS
from ai_gateway.observability.metrics import SHORT, Distribution, Event, counted
from ai_gateway.observability.samples import Samples
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.parameters import Parameters, note_dropped
from gateway_contract.openai import models
from gateway_contract.openai.parameters import Policies

CHOOSY: Policies = {**SAME_WIRE, "createChatCompletion": {**SAME_WIRE["createChatCompletion"], "user": "dropped"}}


def _attempt(provider: str) -> Attempt:
    return Attempt(Call(operation="any", request_id="r"), Notes(provider))


def test_each_application_of_a_rule_counts() -> None:
    attempt = Attempt(Call(operation="any", request_id="r"))
    conformer = Conformer(Provider("counted-a", SAME_WIRE), attempt, "m")
    for rule in (FILL_ID, FILL_ROLE, FILL_ID):
        conformer.report(rule)
    assert attempt.notes.repairs == {"fill-id", "fill-role"}
    counts = {rule: count for (provider, rule), count in counted(Event.REPAIR).items() if provider == "counted-a"}
    assert counts == {"fill-id": 2, "fill-role": 1}


def test_each_field_without_effect_counts_and_unknown_ones_count_as_one_kind() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "user": "u", "zz": 1, "yy": 2}
    parameters = Parameters("counted-b", CHOOSY, "drop")
    parameters.apply(_attempt("counted-b"), validate(models.CreateChatCompletionRequest, body))
    bare = {name: value for name, value in body.items() if name in {"model", "messages"}}
    parameters.apply(_attempt("counted-b"), validate(models.CreateChatCompletionRequest, bare))
    counts = {field: count for (provider, field), count in counted(Event.DROPPED).items() if provider == "counted-b"}
    assert counts == {"user": 1, "other": 1}


def test_what_an_adapter_leaves_out_counts_once_beside_what_its_policies_do() -> None:
    attempt = _attempt("counted-c")
    note_dropped(attempt, ["user", "mine", "messages.name"])
    note_dropped(attempt, ["user", "seed", "messages.own"])
    counts = {field: count for (provider, field), count in counted(Event.DROPPED).items() if provider == "counted-c"}
    assert counts == {"user": 1, "seed": 1, "other": 1}


@pytest.mark.parametrize("streamed", [None, False])
def test_a_model_that_nobody_knows_is_asked_for_once_a_second(*, streamed: bool | None) -> None:
    asked: list[tuple[str, str]] = []
    listed: set[tuple[str, str]] = set()

    def known(provider: str, model: str) -> bool:
        asked.append((provider, model))
        return (provider, model) in listed

    metrics = RequestMetrics(known)

    def count(ended: float) -> list[str]:
        call = Call("createChatCompletion", "r", attempts=[Notes("lab", model="m")])
        outcome = Outcome("r", "POST", "/", ended - 0.5, call, 200, ended=ended, streamed=streamed)
        metrics.ended(outcome)
        samples = Samples()
        metrics.collect(samples)
        return sorted(labels[3] for labels in samples.values[REQUESTS.name])

    for ended in (100.0, 100.1, 100.9):
        assert count(ended) == ["other"]
    assert asked == [("lab", "m")]
    listed.add(("lab", "m"))
    assert count(100.95) == ["other"]
    assert count(101.0) == ["m", "other"]
    assert count(101.1) == ["m", "other"]
    assert len(asked) == 2


def test_a_model_becomes_known_though_others_are_asked_for_all_the_time() -> None:
    listed: set[str] = set()
    metrics = RequestMetrics(lambda _, model: model in listed)

    def count(model: str, ended: float) -> None:
        call = Call("createChatCompletion", "r", attempts=[Notes("lab", model=model)])
        metrics.ended(Outcome("r", "POST", "/", ended - 0.5, call, 200, ended=ended, streamed=False))

    count("m", 100.0)
    listed.add("m")
    for tenth in range(1, 40):
        count("another", 100.0 + tenth / 10)
        count("m", 100.01 + tenth / 10)
    samples = Samples()
    metrics.collect(samples)
    counts = {labels[3]: value for labels, value in samples.values[REQUESTS.name].items()}
    assert counts["m"] > 20


def test_tokens_of_every_class_are_added_up() -> None:
    metrics = RequestMetrics(lambda *_: True)
    tokens = Tokens(*range(1, len(Tokens._fields) + 1))
    for _ in range(2):
        call = Call("createChatCompletion", "r", attempts=[Notes("lab", model="m", tokens=tokens)])
        metrics.ended(Outcome("r", "POST", "/", 1.0, call, 200, first_byte=1.1, ended=1.2))
    samples = Samples()
    metrics.collect(samples)
    counted_of = {labels[2]: value for labels, value in samples.values[TOKENS.name].items()}
    assert counted_of == {name: 2 * getattr(tokens, name) for name in Tokens._fields if name != "searches"}


@pytest.mark.parametrize("number", [1, 2, 63, 64, 65, 200])
def test_however_many_requests_wait_to_be_counted_what_is_read_has_all_of_them(number: int) -> None:
    metrics = RequestMetrics(lambda *_: True)
    now = time.perf_counter()
    for index in range(number):
        notes = Notes("lab", model="m", started=1.0, answered=1.25, chunks=index % 3)
        call = Call("createChatCompletion", "r", attempts=[notes], size=100 * (index % 2))
        outcome = Outcome(f"r-{index}", "POST", "/", now, call, 200, first_byte=now + 0.5, ended=now + 1.5)
        outcome.streamed = True
        metrics.ended(outcome)
    samples = Samples()
    metrics.collect(samples)
    assert list(samples.values[REQUESTS.name].values()) == [number]

    def read(name: str) -> tuple[int, float]:
        distributions = list(samples.distributions[name].values())
        return sum(sum(each.counts) for each in distributions), round(sum(each.total for each in distributions), 6)

    streams = len(range(2, number, 3))
    assert read(DURATION.name) == (number, 1.5 * number)
    assert read(FIRST_BYTE.name) == (number, 0.5 * number)
    assert read(OVERHEAD.name) == (number, 0.25 * number)
    assert read(INTERVAL.name) == (streams, 1.0 * streams)
    assert read(BODY.name) == (number // 2, 100 * (number // 2))
    (exemplar,) = next(iter(samples.distributions[DURATION.name].values())).exemplars.values()
    assert exemplar[0] == f"r-{number - 1}"
    assert exemplar[1] == pytest.approx(1.5)
    assert abs(exemplar[2] - time.time()) < 60


def test_many_values_are_counted_as_each_of_them_would_be() -> None:
    dice = random.Random(1)
    edges = [*SHORT, *(bound + 1e-9 for bound in SHORT), 0.0, 99.0]
    for _ in range(300):
        values = [dice.choice(edges) if dice.random() < 0.5 else dice.expovariate(20) for _ in range(dice.randrange(9))]
        names = [None if dice.random() < 0.2 else f"r-{index}" for index in range(len(values))]
        at = [float(index) for index in range(len(values))]
        together, each = Distribution(SHORT), Distribution(SHORT)
        together.add_all(values, names, at)
        for value, name, when in zip(values, names, at, strict=True):
            each.add(value, name, when)
        assert together.counts == each.counts
        assert together.total == pytest.approx(each.total)
        assert together.exemplars == each.exemplars
        together.add_all(values)
        assert sum(together.counts) == 2 * len(values)
        assert together.exemplars == each.exemplars
