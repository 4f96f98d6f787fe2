"""Streamed responses of an upstream that speaks chat."""

from typing import Any

import pytest

from tests.support.client import post
from tests.support.gateway import LiveGateway
from tests.support.responses import USAGE, Chatting, events_of, valid
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

FUNCTION = {"type": "function", "name": "read", "parameters": {"type": "object"}}
CUSTOM = {"type": "custom", "name": "patch"}
SPACE = {"type": "namespace", "name": "n", "description": "", "tools": [{"type": "function", "name": "f"}]}


@pytest.fixture(scope="module")
def chat(relay: LiveGateway, upstream: Upstream) -> Chatting:
    return Chatting(relay, upstream)


def begun(at: int, name: str, arguments: str = "") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": at, "id": f"call_{at}", "type": "function", "function": function}]}


def more(at: int, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": at, "function": {"arguments": arguments}}]}


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_stream_says_what_the_whole_reply_does(gateway: LiveGateway) -> None:
    body = {"model": "custom-chat", "input": "hello"}
    whole = post(gateway, "/v1/responses", body).json()
    events = events_of(post(gateway, "/v1/responses", {**body, "stream": True}).text)
    streamed = events[-1]["response"]
    valid("Response").validate(streamed)
    assert streamed.keys() == whole.keys()
    same = whole.keys() - {"id", "created_at", "completed_at", "output"}
    assert {name: streamed[name] for name in same} == {name: whole[name] for name in same}
    assert streamed["output"][0]["content"] == whole["output"][0]["content"]
    reported = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert reported == whole["output"][0]["content"][0]["text"]


def test_reasoning_text_and_calls_are_items_in_turn(chat: Chatting) -> None:
    events = chat.stream(
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "I "},
        {"content": "look."},
        begun(0, "read", '{"p"'),
        more(0, ":1}"),
        begun(1, "n__f", "{}"),
        begun(2, "patch", '{"input": "*** Begin"}'),
        {"finish": "tool_calls"},
        {"usage": USAGE},
        tools=[FUNCTION, SPACE, CUSTOM],
    )
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == [
        "reasoning", "message", "function_call", "function_call", "custom_tool_call",
    ]  # fmt: skip
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert added == [item["id"] for item in output]
    assert output[2]["arguments"] == '{"p":1}'
    assert (output[3]["namespace"], output[3]["name"]) == ("n", "f")
    assert output[4]["input"] == "*** Begin"
    assert types(events).index("output_text.done") < types(events).index("content_part.done")
    assert events[-1]["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}


def test_a_mere_call_opens_and_closes_no_message(chat: Chatting) -> None:
    events = chat.stream(begun(0, "read", "{}"), {"finish": "tool_calls"}, tools=[FUNCTION])
    assert [event["item"]["type"] for event in events if "item" in event] == ["function_call", "function_call"]


def test_two_calls_in_one_delta_are_two_items(chat: Chatting) -> None:
    both = {"tool_calls": [*begun(0, "read", "{}")["tool_calls"], *begun(1, "read", '{"a":1}')["tool_calls"]]}
    events = chat.stream(both, {"finish": "tool_calls"}, tools=[FUNCTION])
    output = events[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("call_0", "{}"), ("call_1", '{"a":1}')]


def test_calls_that_are_told_in_turns_are_whole_items_one_after_the_other(chat: Chatting) -> None:
    events = chat.stream(
        begun(0, "read", '{"a"'),
        begun(1, "read", '{"b"'),
        more(0, ":1}"),
        more(1, ":2}"),
        {"finish": "tool_calls"},
        tools=[FUNCTION],
    )
    output = events[-1]["response"]["output"]
    assert [item["arguments"] for item in output] == ['{"a":1}', '{"b":2}']
    opened: set[str] = set()
    for event in events:
        if event["type"] == "response.output_item.added":
            opened.add(event["item"]["id"])
        elif "item_id" in event:
            assert event["item_id"] in opened, "a delta comes behind its item"
        elif event["type"] == "response.output_item.done":
            opened.remove(event["item"]["id"])


def test_text_before_a_call_is_closed_before_the_call_begins(chat: Chatting) -> None:
    events = chat.stream({"content": "I look."}, begun(0, "read", "{}"), {"finish": "tool_calls"}, tools=[FUNCTION])
    items = [(event["type"], event["item"]["type"]) for event in events if "item" in event]
    assert items == [
        ("response.output_item.added", "message"),
        ("response.output_item.done", "message"),
        ("response.output_item.added", "function_call"),
        ("response.output_item.done", "function_call"),
    ]


def test_a_stream_that_is_cut_off_fails(chat: Chatting) -> None:
    events = chat.stream({"content": "half"}, done=False)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "half"


def test_a_stream_at_its_limit_is_incomplete(chat: Chatting) -> None:
    events = chat.stream({"content": "half"}, {"finish": "length"})
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_refusal_before_the_first_byte_keeps_its_status(relay: LiveGateway) -> None:
    reply = post(relay, "/lab/v1/responses", {"model": "status-429", "input": "x", "stream": True})
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "upstream_code")


def test_what_was_dropped_is_in_the_head(relay: LiveGateway) -> None:
    body = {"model": "good", "input": "x", "stream": True, "tools": [{"type": "web_search"}]}
    reply = post(relay, "/lab/v1/responses", body)
    assert reply.headers["x-gateway-dropped-params"] == "tools.web_search"
    events_of(reply.text)
