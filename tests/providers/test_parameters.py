"""What becomes of each request field: every adapter has decided, and what it decided is what happens."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from ai_gateway.contract.body import validate
from ai_gateway.contract.call import DROPPED_HEADER, Attempt, Call, header_list
from ai_gateway.contract.stream import Item
from ai_gateway.contract.types import Policy
from ai_gateway.contract.write import to_json
from ai_gateway.errors import InvalidRequest, UnsupportedOperation, UnsupportedParameter
from ai_gateway.gateway import Gateway
from ai_gateway.providers.anthropic.policies import POLICIES as ANTHROPIC
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.custom import CustomProvider
from ai_gateway.providers.custom.parameters import POLICIES
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.providers.parameters import Parameters, note_dropped
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE
from ai_gateway.routing.provider_models import Catalogue
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Routing
from gateway_contract.openai import models
from gateway_contract.openai.parameters import CLOSED, OPERATION_OF, Policies

ADAPTERS: dict[str, Policies] = {"custom": POLICIES} | {row.name: row.policies for row in ROWS}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
STRICT: Policies = {
    **SAME_WIRE,
    "createChatCompletion": {
        **SAME_WIRE["createChatCompletion"],
        "user": "dropped",
        "store": "dropped",
        "logit_bias": "dropped",
        "prediction": "refused",
        "audio": "refused",
    },
}


def chat(**fields: Any) -> models.CreateChatCompletionRequest:
    return validate(models.CreateChatCompletionRequest, CHAT | fields)


def applied(parameters: Parameters, body: BaseModel) -> tuple[Mapping[str, Any], str | None]:
    """What is left to send on, and what the reply names."""
    attempt = Attempt(Call(operation="any", request_id="r"))
    parameters.apply(attempt, body)
    left: dict[str, Any] = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert to_json(body) == to_json(type(body).model_validate(left))
    return left, attempt.notes.headers().get(DROPPED_HEADER)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("model", OPERATION_OF, ids=lambda model: OPERATION_OF[model])
def test_every_adapter_decides_about_every_field_of_the_contract(adapter: str, model: type[BaseModel]) -> None:
    parameters = Parameters(adapter, ADAPTERS[adapter], "forward")
    decided = parameters.policies(OPERATION_OF[model])
    assert decided.keys() == model.model_fields.keys()
    assert set(decided.values()) <= set(get_args(Policy.__value__))
    for name, field in model.model_fields.items():
        assert field.alias is None, "a field is known here by its name on the wire"
        offered = set(decided.values()) != {"refused"}
        assert not (offered and field.is_required()) or decided[name] in {"forwarded", "mapped"}, "it cannot do without"


def test_the_closed_bodies_are_those_whose_models_take_nothing_further() -> None:
    closed = {name for model, name in OPERATION_OF.items() if model.model_config["extra"] == "forbid"}
    assert closed == CLOSED


def test_an_upstream_of_the_same_wire_without_quirks_gets_everything() -> None:
    same = [row for row in ROWS if row.adapter == OPENAI_COMPATIBLE]
    # These are for other wires, and for some models alone.
    others: dict[str, Any] = {
        "max_completion_tokens_only": False,
        "takes_reasoning": True,
        "responses_only": "",
        "responses_for_tools": "",
    }
    plain = [row for row in same if replace(row.quirks, **others) == Quirks()]
    assert "openai" in {row.name for row in plain}
    for row in plain:
        for fields in Parameters(row.name, row.policies, "forward").operations:
            decided = Parameters(row.name, row.policies, "forward").policies(fields)
            assert {name for name, policy in decided.items() if policy != "forwarded"} == {"model"}


def test_a_dropped_field_is_taken_out_and_named() -> None:
    parameters = Parameters("lab", STRICT, "forward")
    left, named = applied(parameters, chat(user="u", store=False, temperature=0.5, own={"a": 1}))
    assert left == CHAT | {"temperature": 0.5, "own": {"a": 1}}
    assert named == "store,user"


def test_a_null_is_taken_out_silently_and_never_refused() -> None:
    left, named = applied(Parameters("lab", STRICT, "forward"), chat(user=None, audio=None, temperature=None))
    assert left == CHAT | {"temperature": None}
    assert named is None


def test_nothing_is_named_when_nothing_is_dropped() -> None:
    left, named = applied(Parameters("lab", STRICT, "drop"), chat(temperature=0.5))
    assert left == CHAT | {"temperature": 0.5}
    assert named is None


def test_a_refused_field_is_400_and_nothing_is_taken_out() -> None:
    body = chat(user="u", prediction={"type": "content", "content": "x"})
    attempt = Attempt(Call(operation="any", request_id="r"))
    with pytest.raises(UnsupportedParameter) as caught:
        Parameters("lab", STRICT, "forward").apply(attempt, body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "unsupported_parameter", "prediction")
    assert "'lab'" in caught.value.message
    assert (body.user, attempt.notes.headers()) == ("u", {})


def test_an_operation_that_is_refused_as_a_whole_is_not_offered() -> None:
    embedding = validate(models.CreateEmbeddingRequest, {"model": "m", "input": "x"})
    attempt = Attempt(Call(operation="createEmbedding", request_id="r"))
    with pytest.raises(UnsupportedOperation) as caught:
        Parameters("lab", ANTHROPIC, "forward").apply(attempt, embedding)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "unsupported_operation", None)
    assert "'lab' does not offer embeddings" in caught.value.message


def test_what_an_adapter_drops_is_named_beside_what_its_policies_drop() -> None:
    attempt = Attempt(Call(operation="any", request_id="r"))
    note_dropped(attempt, [])
    assert DROPPED_HEADER not in attempt.notes.headers()
    note_dropped(attempt, ["user", "store"])
    note_dropped(attempt, ["messages.name", "o dd"])
    assert attempt.notes.headers()[DROPPED_HEADER] == "messages.name,store,user,+1"


def test_unknown_fields_are_forwarded_as_they_came() -> None:
    left, named = applied(Parameters("lab", STRICT, "forward"), chat(zz=1, aa=None))
    assert list(left) == [*CHAT.keys() - {"model"}, "model", "zz", "aa"]
    assert named is None


def test_unknown_fields_at_the_top_are_dropped_and_named_with_the_known_ones() -> None:
    messages = [{"role": "user", "content": "Hello", "own": 1}]
    left, named = applied(Parameters("lab", STRICT, "drop"), chat(zz=1, aa=None, user="u", messages=messages))
    assert left == {"model": "m", "messages": messages}
    assert named == "aa,user,zz"


@pytest.mark.parametrize(("fields", "param"), [({"zz": 1, "aa": 2}, "zz"), ({"o\r\ndd": 1}, None)])
def test_unknown_fields_are_rejected_by_name_unless_the_name_is_odd(fields: dict[str, int], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        applied(Parameters("lab", STRICT, "reject"), chat(**fields))
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "unknown_parameter", param)
    assert "dd" not in caught.value.message


@pytest.mark.parametrize("unknown", ["forward", "drop", "reject"])
def test_a_closed_body_takes_no_further_field_whatever_is_set(unknown: Any) -> None:
    assert Parameters("lab", STRICT, unknown).unknown("createEmbedding") == "reject"
    assert Parameters("lab", STRICT, unknown).unknown("createCompletion") == unknown
    with pytest.raises(InvalidRequest) as caught:
        validate(models.CreateEmbeddingRequest, {"model": "m", "input": "x", "own": 1})
    assert caught.value.code == "unknown_parameter"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (["b", "a"], "a,b"),
        (["a", "x\r\nset-cookie: y", "b,c", "ü", "", "x" * 65], "a,+5"),
        (["b c"], "+1"),
        ([f"f{at:03}" for at in range(60)], ",".join(f"f{at:03}" for at in range(50)) + ",+10"),
    ],
)
def test_a_header_names_only_what_is_harmless_and_counts_the_rest(fields: list[str], shown: str) -> None:
    assert header_list(fields) == shown


def alone(provider: CustomProvider) -> Routing:
    registry = Registry([provider])
    return Routing(registry, Catalogue(registry))


async def test_the_built_in_provider_names_what_it_does_not_honour_and_answers_without_it() -> None:
    gateway = Gateway(alone(CustomProvider()))
    calls = [Call(operation="any", request_id="r") for _ in range(2)]
    plain = await gateway.chat(calls[0], chat(seed=3))
    more = await gateway.chat(calls[1], chat(seed=3, temperature=1.5, metadata={"a": "b"}, user="u"))
    assert DROPPED_HEADER not in calls[0].notes.headers()
    assert calls[1].notes.headers()[DROPPED_HEADER] == "metadata,temperature,user"
    assert isinstance(plain, Item)
    assert isinstance(more, Item)
    assert plain.model.id == more.model.id


async def test_a_voice_without_speech_means_nothing_to_the_built_in_provider_and_it_says_so() -> None:
    call = Call(operation="any", request_id="r")
    await Gateway(alone(CustomProvider())).chat(call, chat(audio={"voice": "alloy", "format": "mp3"}))
    assert call.notes.headers()[DROPPED_HEADER] == "audio"
