"""What was mended and what was left out is counted for whoever reads the metrics."""

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.rules import FILL_ID, FILL_ROLE
from ai_gateway.contract.body import validate
from ai_gateway.contract.call import Attempt, Call, Notes, Tokens
from ai_gateway.contract.outcome import Outcome
from ai_gateway.middleware.request_metrics import RequestMetrics
from ai_gateway.observability.families import REQUESTS, TOKENS
from ai_gateway.observability.metrics import Event, counted
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


def test_a_model_that_nobody_knows_is_asked_for_once_a_second() -> None:
    asked: list[tuple[str, str]] = []
    listed: set[tuple[str, str]] = set()

    def known(provider: str, model: str) -> bool:
        asked.append((provider, model))
        return (provider, model) in listed

    metrics = RequestMetrics(known)

    def count(ended: float) -> list[str]:
        call = Call("createChatCompletion", "r", attempts=[Notes("lab", model="m")])
        metrics.ended(Outcome("r", "POST", "/", ended - 0.5, call, 200, ended=ended))
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


def test_tokens_of_every_class_are_added_up() -> None:
    metrics = RequestMetrics(lambda *_: True)
    tokens = Tokens(*range(1, len(Tokens._fields) + 1))
    for _ in range(2):
        call = Call("createChatCompletion", "r", attempts=[Notes("lab", model="m", tokens=tokens)])
        metrics.ended(Outcome("r", "POST", "/", 1.0, call, 200, first_byte=1.1, ended=1.2))
    samples = Samples()
    metrics.collect(samples)
    counted_of = {labels[2]: value for labels, value in samples.values[TOKENS.name].items()}
    assert counted_of == {each: 2 * getattr(tokens, each) for each in Tokens._fields if each in counted_of}
    assert len(counted_of) == len(Tokens._fields) - 1  # all but searches, which are no tokens
    assert tokens == Tokens(*range(1, len(Tokens._fields) + 1))
