"""What was mended and what was left out is counted for whoever reads the metrics."""

from ai_gateway.contract.body import validate
from ai_gateway.contract.call import Call
from ai_gateway.observability.metrics import Event, counted
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.parameters import Parameters, name_dropped
from gateway_contract.openai import models
from gateway_contract.openai.parameters import Policies

CHOOSY: Policies = {**SAME_WIRE, "createChatCompletion": {**SAME_WIRE["createChatCompletion"], "user": "dropped"}}


def test_each_application_of_a_rule_counts() -> None:
    call = Call(operation="any", request_id="r")
    call.repaired("counted-a", ["fill-id", "fill-role"])
    call.repaired("counted-a", ["fill-id"])
    counts = {rule: count for (provider, rule), count in counted(Event.REPAIR).items() if provider == "counted-a"}
    assert counts == {"fill-id": 2, "fill-role": 1}


def test_each_field_without_effect_counts_and_unknown_ones_count_as_one_kind() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "user": "u", "zz": 1, "yy": 2}
    parameters = Parameters("counted-b", CHOOSY, "drop")
    parameters.apply(Call(operation="any", request_id="r"), validate(models.CreateChatCompletionRequest, body))
    bare = {name: value for name, value in body.items() if name in {"model", "messages"}}
    parameters.apply(Call(operation="any", request_id="r"), validate(models.CreateChatCompletionRequest, bare))
    counts = {field: count for (provider, field), count in counted(Event.DROPPED).items() if provider == "counted-b"}
    assert counts == {"user": 1, "other": 1}


def test_what_an_adapter_leaves_out_counts_once_beside_what_its_policies_do() -> None:
    call = Call(operation="any", request_id="r")
    name_dropped(call, "counted-c", ["user", "mine", "messages.name"])
    name_dropped(call, "counted-c", ["user", "seed", "messages.own"])
    counts = {field: count for (provider, field), count in counted(Event.DROPPED).items() if provider == "counted-c"}
    assert counts == {"user": 1, "seed": 1, "other": 1}
