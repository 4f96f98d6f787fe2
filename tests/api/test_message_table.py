"""Field by field over HTTP: what each field of a request becomes as a chat, and what a chat's answer is as a message.

Every answer is asked for whole and as a stream, which say the same; each stream is checked by the grammar that
Anthropic's documents describe.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pydantic import TypeAdapter

from gateway_contract.anthropic.models import (
    AnthropicCreateMessageParams,
    AnthropicMessage,
    AnthropicMessageStreamEvent,
    AnthropicUsage,
)
from scripts.fuzz.message_grammar import check, events_of
from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Upstream, running_upstream

type Json = dict[str, Any]

EVENT: TypeAdapter[Any] = TypeAdapter(AnthropicMessageStreamEvent)
PLANS: dict[str, Json] = {}
USAGE: Json = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
HEAD: Json = {"id": "chatcmpl-1", "created": 1, "model": "m"}
DROPPED = "x-gateway-dropped-params"
WEATHER: Json = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
FUNCTION: Json = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}


def answer(message: Json, finish: str | None = "stop", usage: Json | None = USAGE, **choice: Any) -> Json:
    """What an upstream says, whole or in chunks: `choice` are more fields of the choice that ends it."""
    return {"message": message, "finish": finish, "usage": usage, "choice": choice}


async def behave(exchange: Exchange) -> None:
    seen = exchange.seen
    if seen.path.endswith("/messages"):
        return await exchange.json({"error": {"message": "Not Found"}}, status=404)
    plan = PLANS.get(seen.model) or answer({"content": "Hi"})
    message, more = {"role": "assistant", **plan["message"]}, plan["choice"]
    if not seen.json.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": plan["finish"], **more}
        usage = {"usage": plan["usage"]} if plan["usage"] else {}
        return await exchange.json({**HEAD, "object": "chat.completion", "choices": [choice], **usage})
    head = {**HEAD, "object": "chat.completion.chunk"}
    calls = message.pop("tool_calls", None) or []
    deltas = [message, *({"tool_calls": [piece]} for at, call in enumerate(calls) for piece in in_pieces(at, call))]
    await exchange.open_stream()
    for delta in deltas:
        await exchange.event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    ended = {"index": 0, "delta": {}, "finish_reason": plan["finish"], **more}
    await exchange.event({**head, "choices": [ended]})
    if plan["usage"]:
        await exchange.event({**head, "choices": [], "usage": plan["usage"]})
    await exchange.chunk(b"data: [DONE]\n\n")
    return await exchange.end_stream()


def in_pieces(at: int, call: Json) -> list[Json]:
    function = call["function"]
    half = len(function["arguments"]) // 2
    first = {**call, "index": at, "function": {**function, "arguments": function["arguments"][:half]}}
    return [first, {"index": at, "function": {"arguments": function["arguments"][half:]}}]


@pytest.fixture(scope="module")
def chats() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture
def live(gateway_for: SharedGateways, chats: Upstream) -> LiveGateway:
    return gateway_for(**in_front_of(chats))


def ask(live: LiveGateway, name: str = "m", **fields: Any) -> httpx2.Response:
    body = {"model": f"lab/{name}", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return post(live, "/v1/messages", body, headers={"anthropic-version": "2023-06-01"})


SCHEMA: Json = {"type": "object", "properties": {}, "additionalProperties": False}
# A field of a request; what of the chat it becomes; what is named as dropped.
FIELDS: list[tuple[Json, Json, set[str]]] = [
    ({"model": "lab/m"}, {"model": "m"}, set()),
    ({"messages": [{"role": "user", "content": "Ho"}]}, {"messages": [{"role": "user", "content": "Ho"}]}, set()),
    ({"max_tokens": 7}, {"max_tokens": 7}, set()),
    ({"system": "Be kind."},
     {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}, set()),
    ({"temperature": 1}, {"temperature": 1}, set()),
    ({"temperature": 0}, {"temperature": 0}, set()),
    ({"top_p": 0.5}, {"top_p": 0.5}, set()),
    ({"top_k": 5}, {}, {"top_k"}),
    ({"stop_sequences": ["\n\nHuman:", " "]}, {"stop": ["\n\nHuman:", " "]}, set()),
    ({"stop_sequences": []}, {}, set()),
    ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, set()),
    ({"stream": False}, {}, set()),
    ({"metadata": {"user_id": '{"device_id":"d"}'}}, {}, {"metadata"}),
    ({"service_tier": "auto"}, {}, {"service_tier"}),
    ({"inference_geo": "us"}, {}, {"inference_geo"}),
    ({"container": "c"}, {}, {"container"}),
    ({"container": {"id": "c", "skills": []}}, {}, {"container"}),
    ({"cache_control": {"type": "ephemeral"}}, {}, {"cache_control"}),
    ({"mcp_servers": [{"type": "url", "name": "a", "url": "http://127.0.0.1:9/mcp"}]}, {}, {"mcp_servers"}),
    ({"context_management": {"edits": []}}, {}, {"context_management"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 9000}}, {"reasoning_effort": "medium"}, set()),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"}}, {"reasoning_effort": "low"},
     set()),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}}, {"reasoning_effort": "low"},
     {"thinking.display"}),
    # Models that do not think know no such effort, unless a provider's row says otherwise.
    ({"thinking": {"type": "disabled"}}, {}, {"output_config.effort"}),
    ({"thinking": {"type": "adaptive"}}, {}, set()),
    ({"thinking": {"type": "adaptive", "display": "omitted"}}, {}, {"thinking.display"}),
    ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}, set()),
    ({"output_config": {"effort": "xhigh"}}, {"reasoning_effort": "high"}, set()),
    ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
     {"response_format": {"type": "json_schema",
                          "json_schema": {"name": "response", "schema": SCHEMA, "strict": True}}}, set()),
    ({"output_format": {"type": "json_schema", "schema": SCHEMA}},
     {"response_format": {"type": "json_schema",
                          "json_schema": {"name": "response", "schema": SCHEMA, "strict": True}}}, set()),
    ({"tools": [WEATHER]}, {"tools": [{"type": "function", "function": FUNCTION}]}, set()),
    ({"tools": [], "tool_choice": {"type": "auto"}}, {}, {"tool_choice"}),
    ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, {"tool_choice": "required"}, set()),
    ({"tools": [WEATHER], "tool_choice": {"type": "none"}}, {"tool_choice": "none"}, set()),
    ({"tools": [WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
     {"tool_choice": "auto", "parallel_tool_calls": False}, set()),
    ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "get_weather"}},
     {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "reported", "lost"), FIELDS)
def test_every_field_of_a_request(
    live: LiveGateway, chats: Upstream, fields: Json, reported: Json, lost: set[str]
) -> None:
    reply = ask(live, **fields)
    assert reply.status_code == 200, reply.text
    assert set(filter(None, reply.headers.get(DROPPED, "").split(","))) == lost
    sent = chats.last("m").json
    plain: Json = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
    if fields.get("tools"):
        plain["tools"] = [{"type": "function", "function": FUNCTION}]
    assert sent == {**plain, **reported}


def test_no_field_of_the_contract_is_left_out_here() -> None:
    assert {name for fields, _, _ in FIELDS for name in fields} == set(AnthropicCreateMessageParams.model_fields)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 1.1}, {"temperature": -1}, {"top_p": 2}, {"top_k": -1}, {"max_tokens": -1},
        {"max_tokens": None}, {"max_tokens": 1.5},
        {"messages": []}, {"messages": None}, {"messages": "Hi"}, {"stop_sequences": "END"},
        {"system": [{"type": "image"}]}, {"system": 5}, {"stream": "yes"}, {"metadata": {"user_id": 5}},
        {"metadata": {"user_id": "x" * 513}}, {"tools": {}}, {"tools": [{"name": "a b", "input_schema": {}}]},
        {"tools": [{"name": "a" * 129, "input_schema": {"type": "object"}}]}, {"tools": [{"name": "a"}]},
        {"tool_choice": "auto"}, {"tool_choice": {"type": "tool"}}, {"thinking": True},
        {"thinking": {"type": "enabled", "budget_tokens": 1}}, {"output_config": "high"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        {"messages": [{"role": "user"}]}, {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a b", "content": "x"}]}]},
    ],
)  # fmt: skip
def test_what_the_contract_forbids_is_refused_with_its_place(live: LiveGateway, wrong: Json) -> None:
    reply = ask(live, **wrong)
    assert reply.status_code == 400, reply.text
    error = reply.json()
    (name,) = wrong
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert error["error"]["message"].startswith(name), error
    assert error["request_id"] == reply.headers["request-id"]


def both(live: LiveGateway, name: str, plan: Json, **fields: Any) -> Json:
    """The message that the answer is, which has to be the same in both ways."""
    PLANS[name] = plan
    whole, streamed = (ask(live, name, stream=stream, **fields) for stream in (False, True))
    assert (whole.status_code, streamed.status_code) == (200, 200), whole.text + streamed.text
    message: Json = whole.json()
    checker = check(streamed.content)
    assert checker.error is None
    for event in events_of(streamed.content):
        EVENT.validate_python(event, strict=True)
    AnthropicMessage.model_validate(message, strict=True)
    reported = checker.message or {}
    for block in reported["content"]:
        if (given := block.pop("input_json", None)) is not None:
            block["input"] = json.loads(given or "{}")
    assert reported["content"] == message["content"]
    assert {name: reported[name] for name in message} == message
    return message


def call(ident: str | None = "call_1", arguments: str = "{}", **more: Any) -> Json:
    function = {"name": "get_weather", "arguments": arguments}
    return {**({} if ident is None else {"id": ident}), "type": "function", "function": function, **more}


FINISHES: dict[str, tuple[Json, str, str | None, str | None]] = {
    "stop": (answer({"content": "a"}), "end_turn", None, None),
    "length": (answer({"content": "a"}, "length"), "max_tokens", None, None),
    "tool_calls": (answer({"content": None, "tool_calls": [call()]}, "tool_calls"), "tool_use", None, None),
    "function_call": (
        answer({"content": None, "function_call": {"name": "get_weather", "arguments": "{}"}}, "function_call"),
        "tool_use", None, None,
    ),
    "tool_calls without a call": (answer({"content": "a", "tool_calls": []}, "tool_calls"), "end_turn", None, None),
    "tool_calls and no list of them": (answer({"content": "a"}, "tool_calls"), "end_turn", None, None),
    "function_call without one": (answer({"content": "a"}, "function_call"), "end_turn", None, None),
    "thought alone": (answer({"content": "", "reasoning": "hm"}, "tool_calls"), "end_turn", None, None),
    "a call that ends with stop": (answer({"content": None, "tool_calls": [call()]}), "tool_use", None, None),
    "content_filter": (answer({"content": "a"}, "content_filter"), "refusal", None, None),
    "refusal": (answer({"content": None, "refusal": "No."}), "refusal", None, "No."),
    "vLLM's stop": (answer({"content": "a"}, stop_reason="END"), "stop_sequence", "END", None),
    "vLLM's token": (answer({"content": "a"}, stop_reason=2), "end_turn", None, None),
    "a stop of its own": (answer({"content": "a"}, stop_reason="OTHER"), "end_turn", None, None),
    "mapped": (answer({"content": "a"}, "eos"), "end_turn", None, None),
    "unknown": (answer({"content": "a"}, "nobody_knows"), "max_tokens", None, None),
    "missing": (answer({"content": "a"}, None), "end_turn", None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", FINISHES)
def test_every_reason_to_stop(live: LiveGateway, case: str) -> None:
    plan, reason, sequence, explanation = FINISHES[case]
    message = both(live, f"finish {case}", plan, stop_sequences=["END"], tools=[WEATHER])
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)
    details = message["stop_details"]
    assert (details is not None) is (reason == "refusal")
    assert explanation is None or details["explanation"] == explanation


@pytest.mark.parametrize("finish", ["tool_calls", "function_call", "tool_use"])
@pytest.mark.parametrize("content", [None, ""])
def test_a_call_of_which_nothing_came_is_an_error_and_no_end(live: LiveGateway, finish: str, content: Any) -> None:
    name = f"lost {finish} {content is None}"
    PLANS[name] = answer({"content": content, "tool_calls": []}, finish)
    whole = ask(live, name, tools=[WEATHER])
    assert (whole.status_code, whole.json()["error"]["type"]) == (502, "api_error")
    checker = check(ask(live, name, tools=[WEATHER], stream=True).content)
    assert checker.error is not None


NOTHING: Json = {
    "cache_creation": None, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "inference_geo": None,
    "input_tokens": 10, "output_tokens": 5, "output_tokens_details": None, "server_tool_use": None,
    "service_tier": None,
}  # fmt: skip
TEN: Json = {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0}
COUNTS: dict[str, tuple[Json, Json]] = {
    "plain": ({}, {}),
    "cached": ({"prompt_tokens_details": {"cached_tokens": 4}}, {"input_tokens": 6, "cache_read_input_tokens": 4}),
    "written": (
        {"prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}},
        {"input_tokens": 4, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "cache_creation": TEN},
    ),
    "reasoning": ({"completion_tokens_details": {"reasoning_tokens": 3}},
                  {"output_tokens_details": {"thinking_tokens": 3}}),
    "DeepSeek's": ({"prompt_cache_hit_tokens": 4}, {"input_tokens": 6, "cache_read_input_tokens": 4}),
    "Moonshot's": ({"cached_tokens": 4}, {"input_tokens": 6, "cache_read_input_tokens": 4}),
    "searches": ({"server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}},
                 {"server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}}),
    "more": ({"x_new": {"a": 1}}, {"x_new": {"a": 1}}),
    "more than all": ({"prompt_tokens_details": {"cached_tokens": 40}},
                      {"input_tokens": 0, "cache_read_input_tokens": 40}),
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTS)
def test_every_count_of_tokens(live: LiveGateway, case: str) -> None:
    reported, counted = COUNTS[case]
    message = both(live, f"count {case}", answer({"content": "a"}, usage={**USAGE, **reported}))
    assert message["usage"] == {**NOTHING, **counted}
    assert set(AnthropicUsage.model_fields) <= message["usage"].keys()


def test_what_nobody_counts_is_estimated_alike(live: LiveGateway) -> None:
    usage = both(live, "uncounted", answer({"content": "Some words."}, usage=None))["usage"]
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 0


DETAILS = [{"type": "reasoning.text", "text": "hm", "index": 0}]
LINK = {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 1, "url": "https://z", "title": "Z"}}
# What an upstream says; the types of the blocks that it becomes.
ANSWERS: dict[str, tuple[Json, list[str]]] = {
    "nothing": ({"content": ""}, []),
    "null": ({"content": None}, []),
    "parts": ({"content": [{"type": "text", "text": "a"}]}, ["text"]),
    "thinking in parts": (
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ]
        },
        ["thinking", "text"],
    ),
    **{
        f"{name}": ({name: "hm", "content": "a"}, ["thinking", "text"])
        for name in ("reasoning_content", "reasoning", "reasoning_text", "thinking")
    },
    "two names of one thing": ({"reasoning": "hm", "reasoning_content": "hm", "content": "a"}, ["thinking", "text"]),
    "no tools": ({"content": "a", "tool_calls": []}, ["text"]),
    "null tools": ({"content": "a", "tool_calls": None}, ["text"]),
    "a text and a call": ({"content": "a", "tool_calls": [call()]}, ["text", "tool_use"]),
    "calls with one id": ({"content": None, "tool_calls": [call("a"), call("a"), call("b")]}, ["tool_use"] * 3),
    "an id that is none here": ({"content": None, "tool_calls": [call("functions.get_weather:0")]}, ["tool_use"]),
    "no arguments": ({"content": None, "tool_calls": [call(arguments="")]}, ["tool_use"]),
    "null arguments": ({"content": None, "tool_calls": [call(arguments="null")]}, ["tool_use"]),
    "fields of a call": ({"content": None, "tool_calls": [call(x_new={"a": 1})]}, ["tool_use"]),
    "fields of a message": ({"content": "a", "x_new": {"a": 1}, "images": [{"x": 1}]}, ["text"]),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_every_answer_is_the_same_whole_and_streamed(live: LiveGateway, case: str) -> None:
    said, kinds = ANSWERS[case]
    message = both(live, f"answer {case}", answer(said), tools=[WEATHER])
    assert [block["type"] for block in message["content"]] == kinds
    ids = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids)
    assert all(ident.replace("_", "").replace("-", "").isalnum() for ident in ids)


def test_links_of_a_text_are_kept_in_both_ways(live: LiveGateway) -> None:
    PLANS["links"] = answer({"content": "a", "annotations": [LINK]})
    for stream in (False, True):
        assert '"url":"https://z"' in ask(live, "links", stream=stream).text


def test_ids_of_calls_are_no_turns_before(live: LiveGateway) -> None:
    """Upstreams that number the calls of each turn from 0 would give two of them one id."""
    turns: list[Json] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_0", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_0", "content": "x"}]},
    ]
    plan = answer({"content": None, "tool_calls": [call("call_0")]}, "tool_calls")
    (block,) = both(live, "numbered", plan, messages=turns, tools=[WEATHER])["content"]
    assert block["id"] != "call_0"


def test_what_an_upstream_wants_back_is_sealed_in_both_ways_and_opened_for_it(
    live: LiveGateway, chats: Upstream
) -> None:
    sealed: Json = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    plan = answer({"content": "a", "reasoning_details": DETAILS, **sealed, "tool_calls": [call("a", **sealed)]})
    PLANS["sealed"] = plan
    for stream in (False, True):
        reply = ask(live, "sealed", stream=stream, tools=[WEATHER])
        message = (check(reply.content).message or {}) if stream else reply.json()
        blocks = [{name: each for name, each in block.items() if name != "input_json"} for block in message["content"]]
        assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use", "redacted_thinking"]
        (result,) = [block["id"] for block in blocks if block["type"] == "tool_use"]
        turns = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": result, "content": "x"}]},
        ]
        assert ask(live, "again", messages=turns, tools=[WEATHER]).status_code == 200
        said = chats.last("again").json["messages"][1]
        assert said["reasoning_details"] == DETAILS
        assert said["extra_content"] == sealed["extra_content"]
        assert said["tool_calls"][0]["extra_content"] == sealed["extra_content"]


@pytest.mark.parametrize("arguments", ["[]", "5", '"x"', "{", "{}{}"])
def test_arguments_that_are_no_object_fail_loudly(live: LiveGateway, arguments: str) -> None:
    PLANS["broken"] = answer({"content": None, "tool_calls": [call(arguments=arguments)]}, "tool_calls")
    assert ask(live, "broken", tools=[WEATHER]).status_code == 502
    streamed = ask(live, "broken", tools=[WEATHER], stream=True)
    assert streamed.status_code == 502 or check(streamed.content).error is not None
