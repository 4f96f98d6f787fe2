"""Replies made exact."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.objects import ReplyContext
from ai_gateway.conform.reply import exact_json, repair
from ai_gateway.conform.rules import FINISH_WITH_CALLS, Rule
from ai_gateway.conform.tool_calls import made_call_id
from ai_gateway.conform.whole import conform_choices
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.stream import Item
from ai_gateway.contract.write import to_json
from ai_gateway.errors import UpstreamError, UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai import models

REPLIES: list[type[BaseModel]] = [
    models.CreateChatCompletionResponse,
    models.CreateChatCompletionStreamResponse,
    models.CreateCompletionResponse,
    models.CreateCompletionStreamResponse,
    models.CreateEmbeddingResponse,
    models.ListModelsResponse,
    models.Model,
]
KEYS = [
    "id", "object", "created", "model", "choices", "index", "message", "delta", "role", "content", "refusal", "usage",
    "finish_reason", "logprobs", "tool_calls", "function", "name", "arguments", "type", "data", "embedding", "text",
    "prompt_tokens", "completion_tokens", "total_tokens", "owned_by", "system_fingerprint", "own",
]  # fmt: skip
KNOWN = ReplyContext(model="asked-model", request_id="r-1")


def mended[Model: BaseModel](model: type[Model], value: object) -> tuple[Model, list[str]]:
    made, rules = repair(model, value, KNOWN)
    return made, [rule.name for rule in rules]


def reply(**change: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    return {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **change}


def test_what_may_be_null_and_is_left_out_is_filled() -> None:
    made = mended(models.CreateChatCompletionResponse, reply())[0]
    assert made.choices[0].logprobs is None
    assert made.choices[0].message.refusal is None
    assert b'"logprobs":null' in to_json(made)


def test_what_may_only_be_absent_and_is_null_is_dropped() -> None:
    made = mended(models.CreateChatCompletionResponse, reply(system_fingerprint=None, usage=None, service_tier=None))[0]
    raw = to_json(made)
    assert b"system_fingerprint" not in raw
    assert b'"usage"' not in raw
    assert b'"service_tier":null' in raw


def test_what_the_schema_does_not_name_is_kept() -> None:
    value = reply(citations=["x"])
    value["choices"][0]["message"]["reasoning_content"] = "because"
    raw = to_json(mended(models.CreateChatCompletionResponse, value)[0])
    assert b'"citations":["x"]' in raw
    assert b'"reasoning_content":"because"' in raw


def test_tool_calls_that_are_null_are_dropped() -> None:
    value = reply()
    value["choices"][0]["message"].update(tool_calls=None, function_call=None, annotations=None)
    assert b"tool_calls" not in to_json(mended(models.CreateChatCompletionResponse, value)[0])


@pytest.mark.parametrize(
    ("raw", "known"),
    [
        (b'{"object":"list","data":[]}', True),
        (b'{"object":"list","data":[{"id":"a","object":"model","created":1.0,"owned_by":"x","own":[1]}]}', True),
        (b'{"object":"list","data":null}', False),
        (b'{"object":"list"', False),
        (b'{"object":"list","data":[],"own":1e999}', False),
        (b'{"object":"list","data":[],"own":NaN}', False),
    ],
)
def test_the_short_way_knows_only_what_the_long_way_would_say(raw: bytes, known: bool) -> None:
    short = exact_json(models.ListModelsResponse, raw)
    assert (short is not None) is known
    if short is not None:
        assert to_json(short) == to_json(mended(models.ListModelsResponse, json.loads(raw))[0])


def choice(**change: Any) -> dict[str, Any]:
    return {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": None,
        "message": {"role": "assistant", "content": "hi", "refusal": None},
        **change,
    }


def message(**change: Any) -> dict[str, Any]:
    return choice(message={"role": "assistant", "content": "hi", "refusal": None, **change})


CALL = {"id": "call_9", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("change", "rules", "check"),
    [
        ({"id": None}, ["fill-id"], lambda made: made["id"] == "chatcmpl-r-1"),
        ({"object": "chat.completions"}, ["fix-object"], lambda made: made["object"] == "chat.completion"),
        ({"created": 1700000000.7}, ["fill-created"], lambda made: made["created"] == 1700000000),
        ({"created": "today"}, ["fill-created"], lambda made: made["created"] > 1_700_000_000),
        ({"model": None}, ["fill-model"], lambda made: made["model"] == "asked-model"),
        ({"service_tier": "on_demand"}, ["drop-invalid"], lambda made: "service_tier" not in made),
        ({"system_fingerprint": None}, ["drop-null"], lambda made: "system_fingerprint" not in made),
        (
            {"usage": {"prompt_tokens": 2, "completion_tokens": 3}},
            ["fill-usage-total"],
            lambda made: made["usage"]["total_tokens"] == 5,
        ),
        ({"usage": "much"}, ["drop-invalid"], lambda made: "usage" not in made),
        ({"choices": [choice(index=None)]}, ["fill-index"], lambda made: made["choices"][0]["index"] == 0),
        ({"choices": [message(role=None)]}, ["fill-role"], lambda made: said(made)["role"] == "assistant"),
        (
            {"choices": [message(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]},
            ["join-content"],
            lambda made: said(made)["content"] == "ab",
        ),
        (
            {"choices": [choice(finish_reason="end_turn")]},
            ["map-finish-reason"],
            lambda made: made["choices"][0]["finish_reason"] == "stop",
        ),
        (
            {"choices": [choice(finish_reason="MAX_TOKENS")]},
            ["map-finish-reason"],
            lambda made: made["choices"][0]["finish_reason"] == "length",
        ),
        (
            {"choices": [choice(finish_reason=None)]},
            ["fill-finish-reason"],
            lambda made: made["choices"][0]["finish_reason"] == "stop",
        ),
        (
            {"choices": [{**message(tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}])}]},
            ["spell-arguments", "fill-tool-call-id", "fill-tool-call-type"],
            lambda made: (
                said(made)["tool_calls"]
                == [
                    {
                        "id": made_call_id(KNOWN.request_id, 0, 0),
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1}'},
                    }
                ]
            ),
        ),
        (
            {"choices": [choice(logprobs={"content": [{"token": "a", "logprob": -1.0}], "refusal": None})]},
            ["fill-logprobs", "fill-null"],
            lambda made: made["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == [],
        ),
        (
            {"choices": [choice(logprobs="no")]},
            ["drop-invalid", "fill-null"],
            lambda made: made["choices"][0]["logprobs"] is None,
        ),
    ],
)
def test_each_rule_mends_what_it_is_for_and_is_named(change: Any, rules: list[str], check: Any) -> None:
    value = {**reply(choices=[choice()]), **change}
    made, repairs = mended(models.CreateChatCompletionResponse, value)
    assert repairs == rules
    assert check(json.loads(to_json(made)))


def said(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["choices"][0]["message"]
    return found


@pytest.mark.parametrize("change", [{"id": None}, {"system_fingerprint": None}])
def test_enforce_refuses_what_repair_would_mend(change: dict[str, Any]) -> None:
    value = {**reply(choices=[choice()]), **change}
    attempt = Attempt(Call("any", "r"))
    conformer = Conformer(Provider("lab", SAME_WIRE, conformance="enforce"), attempt, "m")
    with pytest.raises(UpstreamInvalidResponse):
        conformer.item(models.CreateChatCompletionResponse, json.dumps(value).encode())
    exact = json.dumps(reply(choices=[choice()])).encode()
    assert conformer.item(models.CreateChatCompletionResponse, exact).raw == exact
    assert attempt.notes.repairs == set()


def test_a_list_of_models_is_filled_in_without_making_up_dates() -> None:
    made, repairs = mended(models.ListModelsResponse, {"data": [{"id": "a", "name": "A"}]})
    assert json.loads(to_json(made)) == {
        "object": "list",
        "data": [{"id": "a", "name": "A", "object": "model", "created": 0, "owned_by": "unknown"}],
    }
    assert set(repairs) == {"fix-object", "fix-model-object", "fill-created", "fill-owner"}


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "text",
        reply(choices=None),
        reply(choices=[{}]),
        reply(choices=[message(content=5)]),
        reply(choices=[message(tool_calls=[{"id": "x", "type": "function"}])]),
        reply(choices=[message(tool_calls="canary")]),
        reply(choices="canary"),
    ],
)
def test_what_would_take_guessing_is_refused_and_not_quoted(value: object) -> None:
    with pytest.raises(UpstreamInvalidResponse) as caught:
        mended(models.CreateChatCompletionResponse, value)
    assert "canary" not in caught.value.message + str(caught.value.detail)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(JUNK, st.sampled_from(REPLIES))
def test_whatever_an_upstream_sends_it_comes_out_exact_or_refused(value: object, model: type[BaseModel]) -> None:
    try:
        made, _ = mended(model, value)
    except UpstreamInvalidResponse:
        return
    model.model_validate_json(to_json(made), strict=True)


@pytest.mark.parametrize("reason", ["error", "ABORTED", "insufficient_system_resource", "network_error", "cancelled"])
def test_a_reason_that_tells_of_a_failure_never_becomes_an_end(reason: str) -> None:
    with pytest.raises(UpstreamError, match="before its end"):
        mended(models.CreateChatCompletionResponse, reply(choices=[choice(finish_reason=reason)]))


@pytest.mark.parametrize("reason", ["", "null", " None "])
def test_an_empty_reason_is_none(reason: str) -> None:
    value = {"id": "a", "created": 1, "model": "m", "object": "chat.completion.chunk",
             "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": reason}]}  # fmt: skip
    made, repairs = mended(models.CreateChatCompletionStreamResponse, value)
    assert (made.choices[0].finish_reason, repairs) == (None, ["map-finish-reason"])


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 1, "total_tokens": 2}, {"prompt_tokens": None}, "7", {"x": 1}])
def test_counts_that_cannot_be_read_do_not_cost_the_answer(usage: Any) -> None:
    made, repairs = mended(models.CreateChatCompletionResponse, reply(choices=[choice()], usage=usage))
    assert "usage" not in json.loads(to_json(made))
    assert "drop-invalid" in repairs


def test_counts_may_have_other_names() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    made, repairs = mended(models.CreateChatCompletionResponse, reply(choices=[choice()], usage=usage))
    assert json.loads(to_json(made))["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert repairs == ["spell-usage", "fill-usage-total"]


@pytest.mark.parametrize(
    ("usage", "rule"),
    [
        ({"prompt_tokens": "3", "completion_tokens": "4", "total_tokens": "7"}, "spell-usage"),
        ({"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 7}, "fill-usage-total"),
    ],
)
def test_counts_may_be_digits_or_follow_from_the_others(usage: Any, rule: str) -> None:
    made, repairs = mended(models.CreateChatCompletionResponse, reply(choices=[choice()], usage=usage))
    assert json.loads(to_json(made))["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert repairs == [rule]


def test_a_call_by_itself_is_a_list_of_one() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    value = reply(choices=[choice(message={"role": "assistant", "content": None, "refusal": None, "tool_calls": call})])
    made, repairs = mended(models.CreateChatCompletionResponse, value)
    assert json.loads(to_json(made))["choices"][0]["message"]["tool_calls"] == [call]
    assert repairs == ["list-tool-calls"]


@pytest.mark.parametrize("empty", [[], ""])
def test_an_empty_value_where_null_is_due_is_null(empty: Any) -> None:
    made, _ = mended(models.CreateChatCompletionResponse, reply(choices=[choice(logprobs=empty)]))
    assert json.loads(to_json(made))["choices"][0]["logprobs"] is None


def test_a_chunk_may_call_its_delta_a_message() -> None:
    spoken = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": None}
    value = {"id": "a", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": [spoken]}
    made, repairs = mended(models.CreateChatCompletionStreamResponse, value)
    assert (made.choices[0].delta.content, repairs) == ("x", ["message-as-delta"])


@pytest.mark.parametrize(
    ("indexes", "expected", "rules"),
    [([0], [0], []), ([1, 0], [1, 0], []), ([0, 0], [0, 1], ["number-choices"]), ([5], [0], ["number-choices"])],
)
def test_choices_of_a_whole_reply_have_places_of_their_own(
    indexes: list[int], expected: list[int], rules: list[str]
) -> None:
    made, _ = mended(models.CreateChatCompletionResponse, reply(choices=[choice(index=at) for at in indexes]))
    reports: list[str] = []

    def report(rule: Rule) -> None:
        reports.append(rule.name)

    made = conform_choices(Item(made), made, report).model
    assert ([one.index for one in made.choices], reports) == (expected, rules)


def test_a_whole_reply_with_calls_ends_with_them() -> None:
    made, _ = mended(models.CreateChatCompletionResponse, reply(choices=[message(tool_calls=[CALL])]))
    reports: list[Rule] = []
    made = conform_choices(Item(made), made, reports.append).model
    assert (made.choices[0].finish_reason, reports) == ("tool_calls", [FINISH_WITH_CALLS])


def test_a_whole_reply_has_a_choice() -> None:
    made, _ = mended(models.CreateChatCompletionResponse, reply(choices=[]))
    with pytest.raises(UpstreamInvalidResponse, match="without a choice"):
        conform_choices(Item(made), made, lambda _: None)


def called(ident: str, name: str, arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments, **more}}


NAMELESS = [
    [called("a", "")],
    [called("a", "", "")],
    [called("", "", '{"c":1}')],
    [called("", "", "", x=1)],
    [called("a", "f"), called("b", "")],
    [{"id": "a", "type": "custom", "custom": {"name": "", "input": "x"}}],
]


@pytest.mark.parametrize("calls", NAMELESS)
def test_a_call_of_a_whole_reply_has_a_name(calls: list[dict[str, Any]]) -> None:
    made, _ = mended(models.CreateChatCompletionResponse, reply(choices=[message(tool_calls=calls)]))
    with pytest.raises(UpstreamInvalidResponse, match="without naming it"):
        conform_choices(Item(made), made, lambda _: None)


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize(("beside", "finish"), [([], "stop"), ([called("a", "f")], "tool_calls")])
def test_a_call_of_empty_texts_is_none(beside: list[Any], finish: str, *, is_exact: bool) -> None:
    empty = called("", "", "") if is_exact else {"type": "function", "function": {"name": "", "arguments": None}}
    made, repairs = mended(models.CreateChatCompletionResponse, reply(choices=[message(tool_calls=[*beside, empty])]))
    reports: list[Rule] = []
    (choice_made,) = conform_choices(Item(made), made, reports.append).model.choices
    reported = json.loads(to_json(choice_made))
    assert reported["message"].get("tool_calls", []) == beside
    assert reported["finish_reason"] == finish
    assert "drop-null" in [*repairs, *(rule.name for rule in reports)]
