"""A chat's stream as the events of a response: whatever an upstream sends, they are legal and end."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.api.response_bridge import ResponseBridge, response_error
from ai_gateway.conform.response_events import ResponseEvents, ResponseHead
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS_DONE
from ai_gateway.contract.wire import OPENAI
from ai_gateway.errors import GatewayError, RateLimited, UpstreamRefused, UpstreamStreamTruncated
from ai_gateway.translate.responses_chat.tools import ClientTool, ToolKind, ToolNames
from scripts.fuzz.response_grammar import Illegal, check, events_of
from tests.support.chat_streams import FIRST, Packets, answer, any_stream, call, chunk, said, translated
from tests.support.responses import valid

ECHO = {"tools": [{"type": "function", "name": "look"}], "instructions": "be brief", "service_tier": "auto"}

TOO_LONG = UpstreamRefused(
    "Your input is too long.", status=400, type="invalid_request_error", code="context_length_exceeded", param=None
)


def names() -> ToolNames:
    table = ToolNames()
    table.add(ClientTool(ToolKind.FUNCTION, "look"))
    table.add(ClientTool(ToolKind.FUNCTION, "find", namespace="files"))
    table.add(ClientTool(ToolKind.CUSTOM, "edit"))
    table.add(ClientTool(ToolKind.SHELL, "shell"))
    return table


def sealed(summary: Any, blocks: Any) -> str | None:
    return "sealed:" + json.dumps([list(summary), list(blocks)]) if blocks else None


def bridge(call_: Call) -> ResponseBridge:
    events = ResponseEvents(
        ResponseHead("resp_0a1b", 1_700_000_000, "asked", ECHO), names(), sealed, lambda: 1_700_000_009
    )
    return ResponseBridge(call_, events)


def run(packets: Packets, **options: Any) -> bytes:
    return translated(packets, bridge, OPENAI, EVENTS_DONE, **options)


def kinds(data: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events_of(data)]


def test_a_text_is_told_in_every_event_that_clients_wait_for() -> None:
    data = run(answer(said(content="Hel"), said(content="lo")))
    assert kinds(data) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done"),
        *("output_item.done", "completed"),
    ]
    response = check(data)
    (message,) = response["output"]
    assert message == {
        "type": "message",
        "id": "msg_0a1b0000",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    assert response["model"] == "m-1"
    assert {name: response[name] for name in ECHO} == ECHO


def test_reasoning_is_a_summary_with_an_index_of_its_own_before_the_text() -> None:
    block = {"type": "thinking", "thinking": "hmm", "signature": "c2ln"}
    stream = answer(
        said(reasoning_content="h"), said(reasoning_content="mm"), said(thinking_blocks=[block]), said(content="Yes")
    )
    reasoning, message = check(run(stream))["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "hmm"}]
    assert reasoning["encrypted_content"] == sealed(["hmm"], [block])
    assert message["content"][0]["text"] == "Yes"


def test_thinking_that_nobody_may_read_is_a_reasoning_item_all_the_same() -> None:
    block = {"type": "redacted_thinking", "data": "eA=="}
    reasoning, _ = check(run(answer(said(thinking_blocks=[block]), said(content="Yes"))))["output"]
    assert (reasoning["summary"], reasoning["encrypted_content"]) == ([], sealed([], [block]))


def test_each_call_is_an_item_as_its_client_knows_it() -> None:
    stream = answer(
        said(content="Let me see."),
        *(call(0, "look", ""), call(0, arguments='{"at":'), call(0, arguments="1}")),
        *(
            call(1, "files__find", '{"name": "x"}'),
            call(2, "edit", '{"input":"*** Begin'),
            call(2, arguments=' Patch"}'),
        ),
        call(3, "shell", '{"commands": ["ls"]}'),
        finish="tool_calls",
    )
    message, look, find, edit, shell = check(run(stream))["output"]
    assert message["content"][0]["text"] == "Let me see."
    assert (look["type"], look["call_id"], look["arguments"]) == ("function_call", "call_0", '{"at":1}')
    assert (find["name"], find["namespace"]) == ("find", "files")
    assert (edit["type"], edit["input"]) == ("custom_tool_call", "*** Begin Patch")
    assert (shell["type"], shell["action"]["commands"]) == ("shell_call", ["ls"])


def test_a_call_without_a_name_fails_the_response() -> None:
    """As in every API: the client could not answer it, and OpenAI refuses the conversation that has it."""
    response = check(run(answer(said(content="Let me see."), call(0, "", '{"a":1}'), finish="tool_calls")))
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert "without naming it" in response["error"]["message"]
    assert [item["type"] for item in response["output"]] == ["message"]


def test_only_a_call_closes_no_message_that_was_never_opened() -> None:
    (item,) = check(run(answer(call(0, "look", "{}"), finish="tool_calls")))["output"]
    assert item["type"] == "function_call"


def test_two_calls_in_one_delta_are_two_items() -> None:
    both = call(0, "look", "{}")
    both["choices"][0]["delta"]["tool_calls"] += call(1, "look", '{"b":2}')["choices"][0]["delta"]["tool_calls"]
    first, second = check(run(answer(both, finish="tool_calls")))["output"]
    assert (first["call_id"], second["call_id"]) == ("call_0", "call_1")
    assert (first["arguments"], second["arguments"]) == ("{}", '{"b":2}')


def test_calls_told_in_turns_are_told_one_after_the_other() -> None:
    stream = answer(
        *(call(0, "look", '{"a'), call(1, "look", '{"b'), call(0, arguments='":1}'), call(1, arguments='":2}')),
        said(content="done"),
        finish="tool_calls",
    )
    data = run(stream)
    first, second, message = check(data)["output"]
    assert (first["arguments"], second["arguments"]) == ('{"a":1}', '{"b":2}')
    assert message["content"][0]["text"] == "done"


def test_arguments_after_their_call_is_over_are_an_error_and_never_lost() -> None:
    stream = answer(call(0, "look", "{}"), call(1, "look", "{}"), call(0, arguments="more"), finish="tool_calls")
    assert check(run(stream))["status"] == "failed"


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_why_it_ended_is_told(finish: str, status: str, reason: str | None) -> None:
    response = check(run(answer(said(content="a"), finish=finish)))
    assert (response["status"], (response["incomplete_details"] or {}).get("reason")) == (status, reason)
    assert response["output"][0]["status"] == ("completed" if reason is None else "incomplete")


def test_a_refusal_is_a_part_of_its_own() -> None:
    (message,) = check(run(answer(said(content="I"), said(refusal="can"), said(refusal="not"))))["output"]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert message["content"][1]["refusal"] == "cannot"


def test_annotations_are_told_with_their_text() -> None:
    cited = {
        "type": "url_citation",
        "url_citation": {"start_index": 0, "end_index": 2, "url": "http://a", "title": "A"},
    }
    (message,) = check(run(answer(said(content="As"), said(annotations=[cited]))))["output"]
    flat = {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "http://a", "title": "A"}
    assert message["content"][0]["annotations"] == [flat]


def test_tokens_are_told_with_how_likely_they_were() -> None:
    token = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -2, "bytes": [98]}],
    }
    logged = chunk(
        {
            "index": 0,
            "delta": {"content": "a"},
            "logprobs": {"content": [token], "refusal": None},
            "finish_reason": None,
        }
    )
    data = run(answer(logged, logged))
    shown = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -2}]}
    events = events_of(data)
    assert [event["logprobs"] for event in events if event["type"].endswith("text.delta")] == [[shown], [shown]]
    (part,) = check(data)["output"][0]["content"]
    assert part["logprobs"] == [token, token]


def test_a_model_that_says_nothing_has_an_empty_message() -> None:
    (message,) = check(run(answer()))["output"]
    assert message["content"] == [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]


def test_usage_is_null_where_nobody_counted() -> None:
    assert check(run(answer(said(content="a"), usage=None)))["usage"] is None


def test_the_tier_that_served_is_told_in_the_end() -> None:
    served = {**said(content="a"), "service_tier": "flex"}
    assert check(run(answer(served)))["service_tier"] == "flex"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamStreamTruncated.ended(), "server_error"),
        (RateLimited("Too many requests."), "rate_limit_exceeded"),
        (
            TOO_LONG,
            "context_length_exceeded",
        ),
    ],
    ids=["cut", "limited", "too long"],
)
@pytest.mark.parametrize("begun", [True, False])
def test_what_breaks_ends_as_failed_with_a_code_that_agents_act_on(error: GatewayError, code: str, begun: bool) -> None:
    packets = [[FIRST], [said(content="Half")]] if begun else []
    data = run(packets, failure=error)
    response = check(data)
    assert (response["status"], response["error"]["code"]) == ("failed", code)
    assert [item["content"][0]["text"] for item in response["output"]] == (["Half"] if begun else [])


@pytest.mark.parametrize(
    "packets", [[], [[FIRST]], [[FIRST], [said(content="Half")]], [[FIRST], [call(0, "look", '{"a')]]]
)
def test_a_stream_that_is_cut_never_looks_whole(packets: Packets) -> None:
    assert check(run(packets, done=False))["status"] == "failed"


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(any_stream(), st.booleans())
def test_any_upstream_gives_a_legal_stream_with_an_end(packets: Packets, done: bool) -> None:
    fast, slow = (run(packets, done=done, fast=fast) for fast in (True, False))
    assert check(fast) == check(slow), "texts that are never parsed say the same"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4), max_size=6))
def test_texts_arrive_as_they_were_said(texts: list[list[str]]) -> None:
    packets = [[FIRST], *[[said(content=text) for text in packet] for packet in texts], [said("stop")]]
    (message,) = check(run(packets))["output"]
    assert message["content"][0]["text"] == "".join(text for packet in texts for text in packet)


# The checker finds what an automaton could do wrong: each fault is put into a stream that is legal.


def _events() -> list[dict[str, Any]]:
    return events_of(
        run(answer(said(reasoning_content="hm"), said(content="a"), call(0, "look", "{}"), finish="tool_calls"))
    )


def _framed(events: list[dict[str, Any]]) -> bytes:
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return "".join([*frames, "data: [DONE]\n\n"]).encode()


def _renumbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**event, "sequence_number": at} for at, event in enumerate(events)]


@pytest.mark.parametrize("left_out", range(len(_events())))
def test_the_checker_misses_no_event_that_is_missing(left_out: int) -> None:
    events = _events()
    text_only = events[left_out]["type"].endswith(".delta")
    del events[left_out]
    with pytest.raises(Illegal):
        check(_framed(_renumbered(events)))
    assert not text_only or events


@pytest.mark.parametrize("at", range(1, len(_events())))
def test_the_checker_misses_no_number_or_index_that_is_wrong(at: int) -> None:
    for name in ("sequence_number", "output_index", "content_index", "summary_index"):
        events = _events()
        if name in events[at]:
            events[at][name] += -1 if name == "sequence_number" else 1
            with pytest.raises(Illegal):
                check(_framed(events))


def test_the_checker_misses_no_second_end() -> None:
    events = _events()
    with pytest.raises(Illegal):
        check(_framed(_renumbered([*events, events[-1]])))


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"code": "insufficient_quota", "type": "insufficient_quota"}, 429, "insufficient_quota"),
        ({"code": None, "type": "billing_error"}, 502, "insufficient_quota"),
        ({"code": "rate_limit_exceeded", "type": "requests"}, 429, "rate_limit_exceeded"),
        ({"code": "upstream_code", "type": "upstream_type"}, 429, "rate_limit_exceeded"),
        ({"code": None, "type": "server_error"}, 402, "insufficient_quota"),
        ({"code": "context_length_exceeded", "type": "invalid_request_error"}, 400, "context_length_exceeded"),
        ({"code": "server_is_overloaded", "type": "server_error"}, 503, "server_is_overloaded"),
        ({"code": "slow_down", "type": "server_error"}, 503, "slow_down"),
        ({"code": "usage_not_included", "type": "usage_not_included"}, 429, "usage_not_included"),
        ({"code": "invalid_image_url", "type": "invalid_request_error"}, 400, "invalid_image_url"),
        ({"code": "content_filter", "type": "invalid_request_error"}, 400, "invalid_prompt"),
        ({"code": "unsupported_value", "type": "invalid_request_error"}, 400, "invalid_prompt"),
        ({"code": "upstream_overloaded", "type": "server_error"}, 503, "server_error"),
        ({"code": "model_not_found", "type": "invalid_request_error"}, 404, "invalid_prompt"),
        ({"code": "model_not_allowed", "type": "invalid_request_error"}, 403, "invalid_prompt"),
        ({"code": 7, "type": None}, 500, "server_error"),
    ],
)
def test_a_failed_response_has_a_code_that_clients_act_on(said: Any, status: int, code: str) -> None:
    error = json.dumps({"error": {"message": "what went wrong", "param": None, **said}}).encode()
    assert response_error(error, status) == {"code": code, "message": "what went wrong"}
    valid("ResponseError").validate(response_error(error, status))


def test_what_is_too_long_is_told_so_by_its_words_alone() -> None:
    error = b'{"error":{"message":"the prompt is too long: 9 tokens","type":"invalid_request_error","code":null}}'
    assert response_error(error, 400)["code"] == response_error(error, 500)["code"] == "context_length_exceeded"
