"""Every field of OpenAI's chat request: what the Messages API gets of it."""

import json
from typing import Any

import pytest

from ai_gateway.translate.chat_anthropic.request import DEFAULT_MAX_TOKENS
from ai_gateway.translate.chat_anthropic.schema import closed
from ai_gateway.translate.chat_anthropic.thinking import has_budget
from gateway_contract.openai import models
from tests.support.fake_anthropic import fault_in
from tests.translate.asking_anthropic import HELLO, PLAIN, SAID, TOOL, ZEBRA, refused, sent, translated

OLD, NEW = "claude-sonnet-4-5-20250929", "claude-sonnet-4-6"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def json_schema(schema: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    wanted = {"name": "n", **more} | ({"schema": schema} if schema is not None else {})
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


# By field: a request that has it, and what it changes in the body.
MAPPED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("model", {"model": "claude-x"}, {"model": "claude-x"}),
    ("messages", {"messages": HELLO}, {"messages": SAID}),
    ("max_tokens", {"max_tokens": 7}, {"max_tokens": 7}),
    ("max_completion_tokens", {"max_completion_tokens": 8}, {"max_tokens": 8}),
    ("max_completion_tokens", {"max_completion_tokens": 8, "max_tokens": 7}, {"max_tokens": 7}),
    ("max_tokens", {"max_completion_tokens": 7, "max_tokens": 8}, {"max_tokens": 7}),
    ("temperature", {"temperature": 0.2}, {"temperature": 0.2}),
    ("temperature", {"temperature": 0}, {"temperature": 0}),
    ("top_p", {"top_p": 0.9}, {"top_p": 0.9}),
    ("stop", {"stop": "END"}, {"stop_sequences": ["END"]}),
    ("stop", {"stop": ["a", "", "b\n"]}, {"stop_sequences": ["a", "b\n"]}),
    ("stop", {"stop": ""}, {}),
    ("stream", {"stream": True}, {"stream": True}),
    ("stream", {"stream": False}, {}),
    ("stream_options", {"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    ("user", {"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    ("user", {"user": ""}, {}),
    ("safety_identifier", {"safety_identifier": "s-1"}, {"metadata": {"user_id": "s-1"}}),
    ("service_tier", {"service_tier": "auto"}, {"service_tier": "auto"}),
    ("service_tier", {"service_tier": "default"}, {"service_tier": "standard_only"}),
    ("service_tier", {"service_tier": "priority"}, {"service_tier": "auto"}),
    ("n", {"n": 1}, {}),
    ("logprobs", {"logprobs": False}, {}),
    ("top_logprobs", {"top_logprobs": 0}, {}),
    ("modalities", {"modalities": ["text"]}, {}),
    ("response_format", {"response_format": {"type": "text"}}, {}),
    (
        "response_format",
        json_schema(SCHEMA, strict=True),
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    (
        "response_format",
        json_schema(SCHEMA, description="d") | {"reasoning_effort": "low"},
        {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {
                "effort": "low",
                "format": {"type": "json_schema", "schema": {**SCHEMA, "description": "d"}},
            },
        },
    ),
    ("tools", {"tools": [TOOL]}, {"tools": [ZEBRA]}),
    ("tools", {"tools": []}, {}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": "auto"}, {"tools": [ZEBRA]}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": "none"}, {"tools": [ZEBRA], "tool_choice": {"type": "none"}}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": "required"}, {"tools": [ZEBRA], "tool_choice": {"type": "any"}}),
    (
        "tool_choice",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "zebra"}}},
        {"tools": [ZEBRA], "tool_choice": {"type": "tool", "name": "zebra"}},
    ),
    ("tool_choice", {"tool_choice": "none"}, {}),
    (
        "parallel_tool_calls",
        {"tools": [TOOL], "parallel_tool_calls": False},
        {"tools": [ZEBRA], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    (
        "parallel_tool_calls",
        {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "required"},
        {"tools": [ZEBRA], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    (
        "parallel_tool_calls",
        {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "none"},
        {"tools": [ZEBRA], "tool_choice": {"type": "none"}},
    ),
    ("parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [ZEBRA]}),
    ("parallel_tool_calls", {"parallel_tool_calls": False}, {}),
    ("reasoning_effort", {"reasoning_effort": "default"}, {}),
    ("reasoning_effort", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    (
        "reasoning_effort",
        {"reasoning_effort": "minimal"},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
    ),
    (
        "reasoning_effort",
        {"reasoning_effort": "max"},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}},
    ),
    ("reasoning_effort", {"model": OLD, "reasoning_effort": "none"}, {"model": OLD}),
    (
        "reasoning_effort",
        {"model": OLD, "reasoning_effort": "high", "max_tokens": 10_000},
        {"model": OLD, "max_tokens": 10_000, "thinking": {"type": "enabled", "budget_tokens": 8_000}},
    ),
    (
        "reasoning_effort",
        {"model": OLD, "reasoning_effort": "low", "max_tokens": 1_025},
        {"model": OLD, "max_tokens": 1_025, "thinking": {"type": "enabled", "budget_tokens": 1_024}},
    ),
    (
        "reasoning_effort",
        {"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"},
        {"tools": [ZEBRA], "tool_choice": {"type": "any"}, "output_config": {"effort": "low"}},
    ),
]

DROPPED: list[tuple[str, Any]] = [
    ("metadata", {"a": "b"}),
    ("prompt_cache_key", "k"),
    ("prompt_cache_retention", "24h"),
    ("prompt_cache_options", {"mode": "explicit"}),
    ("verbosity", "low"),
    ("frequency_penalty", 0.5),
    ("presence_penalty", 0.5),
    ("audio", {"voice": "alloy", "format": "mp3"}),
    ("store", True),
    ("logit_bias", {"1": 5}),
    ("prediction", {"type": "content", "content": "x"}),
    ("seed", 4),
]

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("n", {"n": 2}, "unsupported_value", "n"),
    ("logprobs", {"logprobs": True}, "unsupported_value", "logprobs"),
    ("top_logprobs", {"top_logprobs": 2}, "unsupported_value", "top_logprobs"),
    ("modalities", {"modalities": ["text", "audio"]}, "unsupported_value", "modalities"),
    ("temperature", {"temperature": 1.1}, "unsupported_value", "temperature"),
    ("stop", {"stop": "\n\n"}, "unsupported_value", "stop"),
    ("stop", {"stop": ["a", " "]}, "unsupported_value", "stop"),
    ("max_tokens", {"max_tokens": 0}, "invalid_value", "max_tokens"),
    ("max_tokens", {"max_tokens": 0, "max_completion_tokens": 5}, "invalid_value", "max_tokens"),
    ("max_completion_tokens", {"max_completion_tokens": -1}, "invalid_value", "max_completion_tokens"),
    (
        "reasoning_effort",
        {"model": OLD, "reasoning_effort": "low", "max_tokens": 1_024},
        "unsupported_value",
        "reasoning_effort",
    ),
    ("response_format", {"response_format": {"type": "json_object"}}, "unsupported_value", "response_format.type"),
    ("response_format", json_schema(None), "unsupported_value", "response_format.json_schema.schema"),
    ("web_search_options", {"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    ("moderation", {"moderation": {"model": "m"}}, "unsupported_parameter", "moderation"),
    ("functions", {"functions": [{"name": "f"}]}, "unsupported_parameter", "functions"),
    ("function_call", {"function_call": "auto"}, "unsupported_parameter", "function_call"),
    ("tool_choice", {"tool_choice": "required"}, "invalid_value", "tool_choice"),
    (
        "tool_choice",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "invalid_value",
        "tool_choice.function.name",
    ),
    (
        "tool_choice",
        {"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "x"}}},
        "unsupported_value",
        "tool_choice.type",
    ),
    ("tools", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "unsupported_value", "tools[0].type"),
    ("tools", {"tools": [TOOL, TOOL]}, "invalid_value", "tools[1].function.name"),
    (
        "tools",
        {"tools": [{"type": "function", "function": {"name": "a.b"}}]},
        "unsupported_value",
        "tools[0].function.name",
    ),
    (
        "tools",
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
        "unsupported_value",
        "tools[0].function.parameters.type",
    ),
]


def test_every_field_of_the_contract_stands_in_one_of_the_tables() -> None:
    reported = {field for table in (MAPPED, DROPPED, REFUSED) for field, *_ in table}
    assert reported == models.CreateChatCompletionRequest.model_fields.keys()


@pytest.mark.parametrize(("field", "given", "changes"), MAPPED, ids=lambda one: one if isinstance(one, str) else "")
def test_a_field_is_mapped(field: str, given: dict[str, Any], changes: dict[str, Any]) -> None:
    request, dropped = translated(**given)
    assert request.body == {"model": NEW, "max_tokens": DEFAULT_MAX_TOKENS, "messages": SAID, **changes}
    assert fault_in(request.body) is None
    assert dropped == []


@pytest.mark.parametrize(("field", "value"), DROPPED)
def test_a_field_without_effect_is_dropped_and_named(field: str, value: Any) -> None:
    request, dropped = translated(**{field: value})
    assert request.body == translated()[0].body
    assert dropped == [field]


@pytest.mark.parametrize(("field", "given", "code", "param"), REFUSED)
def test_what_cannot_be_honoured_is_refused(field: str, given: dict[str, Any], code: str, param: str) -> None:
    assert refused(**given) == (code, param)


# -- fields that meddle with each other --


@pytest.mark.parametrize(
    ("given", "dropped", "kept"),
    [
        ({"temperature": 0.3, "top_p": 0.5}, ["temperature", "top_p"], {}),
        ({"temperature": 1, "top_p": 0.95}, [], {"temperature": 1.0, "top_p": 0.95}),
    ],
)
@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_model_that_thinks_samples_as_it_sees_fit(
    model: str, given: dict[str, Any], dropped: list[str], kept: dict[str, Any]
) -> None:
    request, named = translated(model=model, reasoning_effort="medium", **given)
    assert fault_in(request.body) is None
    assert named == dropped
    assert {name: request.body[name] for name in ("temperature", "top_p") if name in request.body} == kept


def test_a_model_that_is_told_not_to_think_is_sampled_as_asked() -> None:
    assert sent(reasoning_effort="none", temperature=0.3)["temperature"] == 0.3


def test_a_forced_call_goes_before_thinking_within_a_budget() -> None:
    request, dropped = translated(model=OLD, reasoning_effort="high", tools=[TOOL], tool_choice="required")
    assert "thinking" not in request.body
    assert dropped == ["reasoning_effort"]


@pytest.mark.parametrize(
    ("model", "budget"),
    [
        ("claude-3-7-sonnet-20250219", True),
        ("claude-3-5-haiku-latest", True),
        ("claude-instant-1.2", True),
        ("claude-2.1", True),
        ("claude-opus-4-20250514", True),
        ("claude-4-opus-20250514", True),
        ("claude-opus-4-0", True),
        ("claude-opus-4-1-20250805", True),
        ("anthropic.claude-opus-4-1@20250805", True),
        ("claude-haiku-4-5", True),
        ("claude-opus-4-5-20251101", True),
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6-20260101", False),
        ("claude-opus-4-10", False),
        ("claude-mythos-preview", False),
        ("claude-haiku-5-5", False),
        ("claude-30", False),
        ("something-else", False),
    ],
)
def test_only_models_of_the_past_think_within_a_budget(model: str, budget: bool) -> None:
    assert has_budget(model) is budget


def test_the_safety_identifier_goes_before_the_user() -> None:
    request, dropped = translated(user="u", safety_identifier="s")
    assert request.body["metadata"] == {"user_id": "s"}
    assert dropped == ["user"]
    assert translated(user="s", safety_identifier="s")[1] == []


@pytest.mark.parametrize("tier", ["flex", "scale", "fast", "on_demand", "performance"])
def test_a_tier_that_the_api_does_not_have_is_named(tier: str) -> None:
    request, dropped = translated(service_tier=tier)
    assert "service_tier" not in request.body
    assert dropped == ["service_tier"]


def test_obfuscation_is_named_when_it_is_asked_for() -> None:
    assert translated(stream=True, stream_options={"include_obfuscation": True})[1] == [
        "stream_options.include_obfuscation"
    ]


def test_what_else_an_object_holds_is_named() -> None:
    wanted = json_schema(SCHEMA, more=1)["response_format"] | {"odd": "x"}
    choice = {"type": "function", "function": {"name": "zebra"}, "mood": "good"}
    _, dropped = translated(
        response_format=wanted, tools=[TOOL], tool_choice=choice, stream=True, stream_options={"fast": True}
    )
    assert dropped == [
        "response_format.json_schema.more",
        "response_format.odd",
        "stream_options.fast",
        "tool_choice.mood",
    ]


# -- tools --


def test_a_tool_has_a_schema_whatever_it_came_with() -> None:
    tools = [
        {"type": "function", "function": {"name": "a"}},
        {"type": "function", "function": {"name": "b", "description": "does b", "parameters": {"properties": {}}}},
        {
            "type": "function",
            "function": {"name": "c", "strict": True, "parameters": SCHEMA},
            "cache_control": {"type": "ephemeral"},
        },
    ]
    assert sent(tools=tools)["tools"] == [
        {"name": "a", "input_schema": {"type": "object"}},
        {"name": "b", "description": "does b", "input_schema": {"properties": {}, "type": "object"}},
        {"name": "c", "strict": True, "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}},
    ]


@pytest.mark.parametrize("entry", [{"function": {"name": "apfel"}}, {"name": "apfel"}])
@pytest.mark.parametrize(("mode", "kind"), [("auto", "auto"), ("required", "any")])
def test_only_allowed_tools_are_on_offer(mode: str, kind: str, entry: dict[str, Any]) -> None:
    other = {"type": "function", "function": {"name": "apfel"}}
    chosen = {"mode": mode, "tools": [{"type": "function", **entry}]}
    body = sent(tools=[TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": chosen})
    assert [tool["name"] for tool in body["tools"]] == ["apfel"]
    assert body["tool_choice"] == {"type": kind}


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": {"name": "none-such"}}],
        [],
        [{"type": "custom", "custom": {"name": "x"}}],
        [{"type": "function", "function": 5}],
    ],
)
def test_a_list_of_allowed_tools_names_tools_on_offer(tools: list[Any]) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}
    code, param = refused(tools=[TOOL], tool_choice=choice)
    assert code in {"invalid_value", "unsupported_value"}
    assert param is not None
    assert param.startswith("tool_choice.allowed_tools.tools")


def test_a_schema_keeps_the_order_of_its_keys_and_all_its_digits() -> None:
    parameters = {"type": "object", "properties": {"z": {"maximum": 10**25}, "a": {"const": 1.0}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    assert json.dumps(sent(tools=[tool])["tools"][0]["input_schema"]) == json.dumps(parameters)


# -- structured answers --


@pytest.mark.parametrize(
    ("schema", "shut"),
    [
        ({"type": "object"}, {"type": "object", "additionalProperties": False}),
        ({"type": "object", "additionalProperties": True}, {"type": "object", "additionalProperties": True}),
        (
            {"properties": {"a": {"type": "object"}}},
            {"properties": {"a": {"type": "object", "additionalProperties": False}}, "additionalProperties": False},
        ),
        (
            {"type": "array", "items": {"type": "object"}},
            {"type": "array", "items": {"type": "object", "additionalProperties": False}},
        ),
        (
            {"anyOf": [{"type": "object"}, {"type": "null"}]},
            {"anyOf": [{"type": "object", "additionalProperties": False}, {"type": "null"}]},
        ),
        (
            {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}},
            {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "additionalProperties": False}}},
        ),
        ({"type": "object", "allOf": [{"type": "object"}]}, {"type": "object", "allOf": [{"type": "object"}]}),
        (
            {"not": {"type": "object"}, "enum": [{"type": "object"}]},
            {"not": {"type": "object"}, "enum": [{"type": "object"}]},
        ),
        (
            {"items": True, "properties": 5, "anyOf": "x"},
            {"items": True, "properties": 5, "anyOf": "x", "additionalProperties": False},
        ),
    ],
)
def test_objects_that_say_nothing_of_further_properties_are_closed(
    schema: dict[str, Any], shut: dict[str, Any]
) -> None:
    before = json.dumps(schema)
    assert closed(schema) == shut
    assert json.dumps(schema) == before


# -- fields of the API's own --


def test_unknown_fields_are_dropped_unless_they_are_to_be_sent_on() -> None:
    request, dropped = translated(top_k=5, thinking={"type": "disabled"})
    assert request.body == translated()[0].body
    assert dropped == ["thinking", "top_k"]


def test_unknown_fields_go_along_as_they_are() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    request, dropped = translated("forward", model=OLD, top_k=5, thinking=thinking, betas=["b-1", "b-2"], gone=None)
    assert request.body == {**PLAIN, "model": OLD, "max_tokens": DEFAULT_MAX_TOKENS, "messages": SAID} | {
        "top_k": 5,
        "thinking": thinking,
    }
    assert request.betas == ["b-1", "b-2"]
    assert dropped == []


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "low"}, "unsupported_parameter", "thinking"),
        ({"stop_sequences": ["a"], "stop": "b"}, "unsupported_parameter", "stop_sequences"),
        ({"betas": ["a\r\nx: y"]}, "invalid_value", "betas"),
        ({"betas": "a"}, "invalid_value", "betas"),
        ({"betas": [5]}, "invalid_value", "betas"),
    ],
)
def test_what_is_said_twice_or_cannot_be_a_header_is_refused(given: dict[str, Any], code: str, param: str) -> None:
    assert refused(unknown="forward", **given) == (code, param)
