"""What an upstream's chat may say, in whole replies and streams: the same items either way, and nothing is lost."""

from typing import Any

import pytest

from tests.support.gateway import LiveGateway
from tests.support.responses import USAGE, Chatting, called
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

type Fields = dict[str, Any]

TOOLS = [{"type": "function", "name": "look", "parameters": {"type": "object"}}, {"type": "custom", "name": "patch"}]
CITED = {"type": "url_citation", "url": "http://a", "title": "t", "start_index": 0, "end_index": 3}
CITATION = {"type": "url_citation", "url_citation": {name: CITED[name] for name in CITED if name != "type"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SIGNED = {"google": {"thought_signature": "c2ln"}}
DETAIL = {"type": "reasoning.text", "text": "hm", "index": 0, "format": "f", "signature": "c2ln"}


def text(said: str, status: str = "completed", **more: Any) -> Fields:
    part = {"type": "output_text", "text": said, "annotations": [], "logprobs": [], **more}
    return {"type": "message", "status": status, "role": "assistant", "content": [part]}


def thought(said: str, status: str = "completed") -> Fields:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": said}], "status": status}


def ran(arguments: str = "{}", status: str = "completed") -> Fields:
    return {"type": "function_call", "call_id": "c", "name": "look", "arguments": arguments, "status": status}


def piece(arguments: str | None = None, **more: Any) -> Fields:
    function = {} if arguments is None else {"arguments": arguments}
    return {"tool_calls": [{"index": 0, "function": function, **more}]}


def begun(arguments: Any = "", **more: Any) -> Fields:
    function = {"name": "look", "arguments": arguments}
    return {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function, **more}]}


CALL: Fields = {"tool_calls": [called("look", "{}", "c")]}
HALF: Fields = {"tool_calls": [called("look", '{"a', "c")]}
# What it is, the whole message, why it ended, the deltas of the same, and the items that both are.
ROWS: list[tuple[str, Fields, str, list[Fields], list[Fields]]] = [
    ("a text", {"content": "abc"}, "stop", [{"content": "a"}, {"content": "bc"}], [text("abc")]),
    ("nothing", {}, "stop", [{"role": "assistant"}, {"content": ""}], [text("")]),
    ("nothing, cut off", {}, "length", [{"role": "assistant"}], [text("", "incomplete")]),
    *(
        (
            f"reasoning as {name}",
            {name: "hm", "content": "abc"},
            "stop",
            [{name: "h"}, {name: "m"}, {"content": "abc"}],
            [thought("hm"), text("abc")],
        )
        for name in ("reasoning_content", "reasoning", "thinking", "reasoning_text")
    ),
    ("only reasoning", {"reasoning": "hm"}, "stop", [{"reasoning": "hm"}], [thought("hm"), text("")]),
    (
        "reasoning that is cut off",
        {"reasoning": "hm"},
        "length",
        [{"reasoning": "hm"}],
        [thought("hm", "incomplete")],
    ),
    (
        "a text that is cut off behind its reasoning",
        {"reasoning": "hm", "content": "ab"},
        "length",
        [{"reasoning": "hm"}, {"content": "ab"}],
        [thought("hm"), text("ab", "incomplete")],
    ),
    (
        "a call that is cut off behind a text",
        {"content": "ab", **HALF},
        "length",
        [{"content": "ab"}, begun('{"a')],
        [text("ab"), ran('{"a', "incomplete")],
    ),
    ("a call", CALL, "tool_calls", [begun(), piece("{}")], [ran()]),
    ("a call that just stops", CALL, "stop", [begun("{}")], [ran()]),
    ("a call without arguments", {"tool_calls": [called("look", "", "c")]}, "tool_calls", [begun()], [ran()]),
    ("a call with null", CALL, "tool_calls", [begun(None)], [ran()]),
    ("arguments as an object", CALL, "tool_calls", [begun({})], [ran()]),
    (
        "a refusal behind a text",
        {"content": "ab", "refusal": "no"},
        "stop",
        [{"content": "ab"}, {"refusal": "n"}, {"refusal": "o"}],
        [{**text("ab"), "content": [*text("ab")["content"], {"type": "refusal", "refusal": "no"}]}],
    ),
    (
        "a source",
        {"content": "abc", "annotations": [CITATION]},
        "stop",
        [{"content": "abc"}, {"annotations": [CITATION]}],
        [text("abc", annotations=[CITED])],
    ),
    (
        "a source of a call alone",
        {**CALL, "annotations": [CITATION]},
        "tool_calls",
        [{"annotations": [CITATION]}, begun("{}")],
        [text("", annotations=[CITED]), ran()],
    ),
    (
        "a call that is written into the text",  # what a server has not read as a call nobody here guesses at
        {"content": '<tool_call>{"name":"look"}</tool_call>'},
        "stop",
        [{"content": "<tool_call>"}, {"content": '{"name":"look"}</tool_call>'}],
        [text('<tool_call>{"name":"look"}</tool_call>')],
    ),
    ("a filter", {"content": "ab"}, "content_filter", [{"content": "ab"}], [text("ab", "incomplete")]),
    ("a reason that nobody knows", {"content": "ab"}, "odd", [{"content": "ab"}], [text("ab", "incomplete")]),
]


@pytest.fixture(scope="module")
def chat(relay: LiveGateway, upstream: Upstream) -> Chatting:
    return Chatting(relay, upstream)


def bare(items: list[Fields]) -> list[Fields]:
    """The items without their ids, of which each has one of its kind."""
    prefixes = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "custom_tool_call": "ctc_"}
    assert all(item["id"].startswith(prefixes[item["type"]]) for item in items)
    assert len({item["id"] for item in items}) == len(items)
    return [{name: value for name, value in item.items() if name != "id"} for item in items]


def both(chat: Chatting, message: Fields, finish: str, deltas: list[Fields], **body: Any) -> list[Fields]:
    """The whole response, and the one that the stream ends with."""
    whole, _ = chat.ask(message, finish=finish, tools=TOOLS, **body)
    *_, end = chat.stream(*deltas, {"finish": finish}, {"usage": USAGE}, tools=TOOLS, **body)
    return [whole, end["response"]]


@pytest.mark.parametrize(("message", "finish", "deltas", "items"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_a_stream_has_the_items_of_the_whole_reply(
    chat: Chatting, message: Fields, finish: str, deltas: list[Fields], items: list[Fields]
) -> None:
    for response in both(chat, message, finish, deltas):
        assert bare(response["output"]) == items
        cut = finish in {"length", "content_filter", "odd"}
        assert response["status"] == ("incomplete" if cut else "completed")
        assert response["usage"]["total_tokens"] == USAGE["total_tokens"]


def test_a_call_without_id_has_one(chat: Chatting) -> None:
    message: Fields = {"tool_calls": [called("look", "{}", ""), called("look", "{}", "")]}
    delta: Fields = {"tool_calls": [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]}
    for response in both(chat, message, "tool_calls", [delta]):
        first, second = (item["call_id"] for item in response["output"])
        assert first.startswith("call_")
        assert first != second


def test_tokens_without_bytes_are_told(chat: Chatting) -> None:
    top = {"token": "abc", "logprob": -0.1, "bytes": None}
    tokens = {"content": [{**top, "top_logprobs": [top]}], "refusal": None}
    chunk = {"index": 0, "delta": {"content": "abc"}, "logprobs": tokens, "finish_reason": None}
    *_, end = chat.stream({"choices": [chunk]}, {"finish": "stop"})
    (message,) = end["response"]["output"]
    reported = {"token": "abc", "logprob": -0.1, "bytes": []}
    assert message["content"][0]["logprobs"] == [{**reported, "top_logprobs": [reported]}]


def test_what_a_response_has_no_form_for_goes_along(chat: Chatting) -> None:
    message = {"content": "ab", "images": [PICTURE], "audio": None, "tone": {"dry": True}}
    deltas: list[Fields] = [
        {"content": "a", "tone": {"dry": True}},
        {"content": "b"},
        {"images": [PICTURE], "tone": None},
    ]
    for response in both(chat, message, "stop", deltas):
        assert response["images"] == [PICTURE]
        assert response["tone"] == {"dry": True}
        assert bare(response["output"]) == [text("ab")]
    reported = {"id": "a", "data": "AAAA", "expires_at": 1, "transcript": "hello"}
    spoken: list[Fields] = [{"audio": {"id": "a", "transcript": "hel"}}, {"audio": {"transcript": "lo"}}]
    spoken.append({"audio": {"data": "AAAA", "expires_at": 1}})
    for response in both(chat, {"audio": reported}, "stop", spoken):
        assert response["audio"] == reported


def test_a_source_that_is_only_half_told_is_filled_in_or_goes_along(chat: Chatting) -> None:
    odd = {"type": "odd", "a": 1}
    *_, end = chat.stream({"content": "abc"}, {"annotations": [{"type": "url_citation", "url": "http://a"}, odd]})
    assert end["type"] == "response.completed"
    (message,) = end["response"]["output"]
    assert message["content"][0]["annotations"] == [{**CITED, "title": "", "end_index": 0}]
    assert end["response"]["annotations"] == [odd]


@pytest.mark.parametrize(
    ("message", "finish", "deltas", "back"),
    [
        (
            {"tool_calls": [{**called("look", "{}", "c"), "extra_content": SIGNED}]},
            "tool_calls",
            [begun("{}", extra_content=SIGNED)],
            {"content": None, "tool_calls": [{**called("look", "{}", "c"), "extra_content": SIGNED}]},
        ),
        (
            {"content": "abc", "reasoning": "hm", "reasoning_details": [DETAIL]},
            "stop",
            [
                {"reasoning": "h", "reasoning_details": [{**DETAIL, "text": "h"}]},
                {"reasoning": "m", "reasoning_details": [{**DETAIL, "text": "m"}]},
                {"content": "abc"},
            ],
            {"content": "abc", "reasoning_content": "hm", "reasoning_details": [DETAIL]},
        ),
        (
            {"content": "abc", "reasoning_details": [DETAIL]},
            "stop",
            [{"reasoning_details": [DETAIL]}, {"content": "abc"}],
            {"content": "abc", "reasoning_content": "hm", "reasoning_details": [DETAIL]},
        ),
    ],
    ids=["a signed call", "reasoning in details as well", "reasoning in details alone"],
)
def test_what_an_upstream_wants_back_goes_back_with_the_items(
    chat: Chatting, message: Fields, finish: str, deltas: list[Fields], back: Fields
) -> None:
    for response in both(chat, message, finish, deltas):
        items = response["output"]
        results = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "r"}
            for item in items
            if item["type"] == "function_call"
        ]
        _, asked = chat.ask({"content": "ok"}, input=[{"role": "user", "content": "hi"}, *items, *results])
        assert asked["messages"][1] == {"role": "assistant", **back}
