"""Every kind of tool and block that clients of Anthropic's API send, in front of an upstream that speaks chat only.

What is mapped is told in chat's words, what has no counterpart is dropped by name, and what would change the question
is refused with an error that names it: also kinds of betas, which the contract does not list.
"""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

type Json = dict[str, Any]
WEATHER: Json = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
SCREEN: Json = {"name": "computer", "display_width_px": 640, "display_height_px": 480}
DROPPED = "x-gateway-dropped-params"


async def behave(exchange: Exchange) -> None:
    if exchange.seen.path.endswith(("/messages", "/count_tokens")):
        return await exchange.json({"error": {"message": "Not Found"}}, status=404)
    message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return await exchange.json({**head, "choices": [choice]})


@pytest.fixture(scope="module")
def chats() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture
def live(gateway_for: SharedGateways, chats: Upstream) -> LiveGateway:
    return gateway_for(**in_front_of(chats))


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def user(*blocks: Json) -> Json:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Json) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def ask(live: LiveGateway, path: str = "/v1/messages", **fields: Any) -> httpx2.Response:
    body = {"model": "lab/m", "max_tokens": 64, "messages": [user(text("Hi"))], **fields}
    return post(
        live, path, body, headers={"anthropic-version": "2023-06-01", "anthropic-beta": "unheard-of-2027-01-01"}
    )


def translated(live: LiveGateway, upstream: Upstream, **fields: Any) -> tuple[Json, set[str]]:
    """What the upstream got, and what was named as dropped."""
    before = len(upstream.requests)
    reply = ask(live, **fields)
    assert reply.status_code == 200, reply.text
    (seen,) = [each for each in upstream.requests[before:] if each.path.endswith("/chat/completions")]
    return seen.json, set(filter(None, reply.headers.get(DROPPED, "").split(",")))


# Type and fields of a tool, and the name of the function that it becomes; None: it is dropped, under its type.
TOOLS: list[tuple[Json, str | None]] = [
    (WEATHER, "get_weather"),
    ({"type": "custom", **WEATHER}, "get_weather"),
    ({"type": None, **WEATHER}, "get_weather"),
    *(({"type": f"bash_{date}", "name": "bash"}, "bash") for date in (20241022, 20250124, 20990101)),
    *(
        ({"type": f"text_editor_{date}", "name": name}, name)
        for date, name in (
            (20241022, "str_replace_editor"), (20250124, "str_replace_editor"),
            (20250429, "str_replace_based_edit_tool"), (20250728, "str_replace_based_edit_tool"),
        )
    ),
    ({"type": "memory_20250818", "name": "memory"}, "memory"),
    *(
        ({"type": f"computer_{date}", **SCREEN}, "computer")
        for date in (20241022, 20250124, 20251124)
    ),
    *(({"type": f"web_search_{date}", "name": "web_search"}, None) for date in (20250305, 20260209, 20260318)),
    *(({"type": f"web_fetch_{date}", "name": "web_fetch"}, None) for date in (20250910, 20260209, 20260309, 20260318)),
    *(
        ({"type": f"code_execution_{date}", "name": "code_execution"}, None)
        for date in (20250522, 20250825, 20260120, 20260521)
    ),
    ({"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}, None),
    ({"type": "tool_search_tool_regex", "name": "tool_search_tool_regex"}, None),
    ({"type": "mcp_toolset", "mcp_server_name": "docs", "default_config": {"enabled": True}}, None),
    ({"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-5"}, None),
    ({"type": "browser_toolset_20260801"}, None),
    ({"type": "computer_toolset_20260801"}, None),
    ({"type": "nobody_knows_20990101", "name": "x", "max_uses": 1}, None),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "function"), TOOLS, ids=[f"{tool.get('type')}" for tool, _ in TOOLS])
def test_every_kind_of_tool(live: LiveGateway, chats: Upstream, tool: Json, function: str | None) -> None:
    cached = {**tool, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    for offered in (tool, cached):
        sent, lost = translated(live, chats, tools=[offered])
        named = [each["function"]["name"] for each in sent.get("tools", [])]
        assert named == ([function] if function else [])
        if function is None:
            assert f"tools.{tool['type']}" in lost
            assert "tool_choice" not in sent
    assert ask(live, "/v1/messages/count_tokens", tools=[tool]).json()["input_tokens"] > 0


def test_a_choice_of_a_tool_that_nobody_runs_is_refused(live: LiveGateway) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    reply = ask(live, tools=[search, WEATHER], tool_choice={"type": "tool", "name": "web_search"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("tool_choice")


def test_a_screen_is_told_in_the_words_of_its_tool(live: LiveGateway, chats: Upstream) -> None:
    tool = {"type": "computer_20251124", **SCREEN}
    sent, _ = translated(live, chats, tools=[tool])
    assert "640" in sent["tools"][0]["function"]["description"]
    assert "screenshot" in sent["tools"][0]["function"]["parameters"]["properties"]["action"]["enum"]


def test_tools_of_openais_wire_are_a_mistake_and_not_lost(live: LiveGateway) -> None:
    reply = ask(live, tools=[{"type": "function", "function": {"name": "x", "parameters": {}}}])
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("tools.0")


def server_result(kind: str, content: Any) -> list[Json]:
    name = kind.removesuffix("_tool_result").replace("tool_search", "tool_search_tool_regex")
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": name, "input": {"query": "z"}}
    return [use, {"type": kind, "tool_use_id": "srvtoolu_1", "content": content}]


PAGE = {"type": "web_search_result", "url": "https://z", "title": "Zebras", "encrypted_content": "opaque"}
RAN = {"type": "code_execution_result", "stdout": "Zebras", "stderr": "", "return_code": 0, "content": []}
FETCHED = {
    "type": "web_fetch_result",
    "url": "https://z",
    "content": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Zebras"}},
}
FOUND = {
    "type": "tool_search_tool_search_result",
    "tool_references": [{"type": "tool_reference", "tool_name": "Zebras"}],
}
# What an assistant's turn holds between two texts; what is told of it, and what is named as lost.
SAID: dict[str, tuple[list[Json], set[str], set[str]]] = {
    "thinking": ([{"type": "thinking", "thinking": "hm", "signature": "c2ln"}], {"hm"}, set()),
    "redacted_thinking": ([{"type": "redacted_thinking", "data": "eA=="}], set(), {"messages.thinking"}),
    "web_search": (server_result("web_search_tool_result", [PAGE]), {"Zebras"}, {"messages.content.encrypted_content"}),
    "web_fetch": (server_result("web_fetch_tool_result", FETCHED), {"Zebras"}, set()),
    "code_execution": (server_result("code_execution_tool_result", RAN), {"Zebras"}, set()),
    "tool_search": (server_result("tool_search_tool_result", FOUND), {"Zebras"}, set()),
    "a result of a newer kind": (
        server_result("code_execution_tool_result", {"type": "notebook_result", "cells": ["Zebras"]}),
        {"Zebras"},
        set(),
    ),
    "a result of a newer tool": (server_result("advisor_tool_result", {"type": "advisor_result", "text": "Zebras"}),
                                 {"Zebras"}, set()),
    "mcp": (
        [
            {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "find", "server_name": "docs", "input": {"a": 1}},
            {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [text("Zebras")]},
        ],
        {"Zebras", "find"},
        set(),
    ),
    "compaction": ([{"type": "compaction", "content": "Zebras so far."}], {"Zebras"}, set()),
    "a compaction that nobody else can read": (
        [{"type": "compaction", "content": None, "encrypted_content": "opaque"}],
        set(),
        {"messages.content.compaction"},
    ),
    "fallback": (
        [{"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}],
        set(),
        {"messages.content.fallback"},
    ),
    "container_upload": (
        [{"type": "container_upload", "file_id": "file_1"}],
        set(),
        {"messages.content.container_upload"},
    ),
    "citations": (
        [{**text("Zebras"), "citations": [{"type": "of_another_kind_location", "cited_text": "z"}]}],
        {"Zebras"},
        {"messages.content.citations"},
    ),
    "unknown": ([{"type": "nobody_knows", "x": {"y": 1}}], set(), {"messages.content.nobody_knows"}),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_every_kind_of_block_that_an_assistant_may_have_said(live: LiveGateway, chats: Upstream, case: str) -> None:
    blocks, reported, lost = SAID[case]
    turns = [user(text("Hi")), assistant(text("First."), *blocks, text("Last.")), user(text("More."))]
    sent, dropped = translated(live, chats, messages=turns)
    assert dropped == lost
    for words in {"First.", "Last.", *reported}:
        assert words in str(sent["messages"])
    assert "opaque" not in str(sent["messages"])
    waiting: list[str] = []
    for message in sent["messages"]:  # every call has its result right behind it
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting
        waiting += [call["id"] for call in message.get("tool_calls", [])]
    assert not waiting


PDF: Json = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
# A block of a user's turn; what is told of it, and what is named as lost.
ASKED: dict[str, tuple[Json, str, set[str]]] = {
    "image": ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
              "data:image/png;base64,AAAA", set()),
    "image elsewhere": ({"type": "image", "source": {"type": "url", "url": "https://z/a.png"}},
                        "https://z/a.png", set()),
    "pdf": ({"type": "document", "source": PDF, "title": "a.pdf"}, "data:application/pdf;base64,JVBERg==", set()),
    "plain": ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Zebras"}}, "Zebras",
              set()),
    "content": ({"type": "document", "source": {"type": "content", "content": [text("Zebras")]}}, "Zebras", set()),
    "cited": ({"type": "document", "source": {"type": "content", "content": "Zebras"}, "citations": {"enabled": True}},
              "Zebras", {"messages.content.citations"}),
    "search_result": ({"type": "search_result", "title": "S", "source": "https://s", "content": [text("Zebras")]},
                      "Zebras", set()),
    "mid_conv_system": ({"type": "mid_conv_system", "content": [text("Zebras")]}, "<system-reminder>", set()),
    "container_upload": ({"type": "container_upload", "file_id": "file_1"}, "file_1",
                         {"messages.content.container_upload"}),
    "compaction": ({"type": "compaction", "content": "Zebras so far."}, "Zebras", set()),
    "tool_addition": ({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "x"}}, "More.",
                      {"messages.content.tool_addition"}),
    "an unheard-of time in the cache": ({**text("Zebras"), "cache_control": {"type": "ephemeral", "ttl": "2d"}},
                                        "Zebras", {"messages.content.cache_control"}),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_every_kind_of_block_that_a_user_may_say(live: LiveGateway, chats: Upstream, case: str) -> None:
    block, reported, lost = ASKED[case]
    sent, dropped = translated(live, chats, messages=[user(block, text("More."))])
    assert dropped == lost
    assert reported in str(sent["messages"])
    assert "More." in str(sent["messages"][-1])


# A block that changes the question, and the place that is blamed for it.
REFUSED: dict[str, tuple[Json, str]] = {
    "image in a file": ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "messages.0.content.1.source"),
    "document in a file": ({"type": "document", "source": {"type": "file", "file_id": "f"}},
                           "messages.0.content.1.source"),
    "document elsewhere": ({"type": "document", "source": {"type": "url", "url": "https://z/a.pdf"}},
                           "messages.0.content.1.source"),
    "image of another kind": ({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "A"}},
                              "messages.0.content.1.source"),
    "unknown": ({"type": "hologram", "data": "A"}, "messages.0.content.1"),
    "unknown inside of a result": ({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "hologram"}]},
                                   "messages.0.content.1.content.0"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_left_out_is_refused_by_name(live: LiveGateway, case: str, *, stream: bool) -> None:
    block, place = REFUSED[case]
    reply = ask(live, messages=[user(text("Hi"), block)], stream=stream)
    assert reply.status_code == 400, reply.text
    error = reply.json()
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert error["error"]["message"].startswith(place)
    assert error["request_id"] == reply.headers["request-id"]
    if "unknown" in case:
        assert "'hologram'" in error["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"service_tier": "flex"}, {"service_tier"}),
        ({"thinking": {"type": "between_tools"}}, {"thinking"}),
        ({"output_config": {"effort": "utmost"}}, {"output_config.effort"}),
        ({"messages": [user(text("Hi")), {"role": "system", "output_config": {"effort": "low"}}]}, set()),
        (
            {"messages": [user(text("Hi")), {"role": "system", "content": "x", "output_config": {"effort": "utmost"}}]},
            {"messages.output_config.effort"},
        ),
        (
            {"messages": [{"role": "system", "content": "x", "clear_at": "noon"}, user(text("Hi"))]},
            {"messages.clear_at"},
        ),
        ({"cache_control": {"type": "ephemeral", "ttl": "2d"}}, {"cache_control"}),
        ({"tools": [{**WEATHER, "allowed_callers": ["code_execution_20990101"]}]}, {"tools.allowed_callers"}),
        ({"mcp_servers": [{"type": "url", "url": "https://z", "name": "docs"}]}, {"mcp_servers"}),
        ({"fallbacks": [{"model": "b"}], "speed": "fast"}, {"fallbacks", "speed"}),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}, {"context_management"}),
        ({"diagnostics": {"previous_message_id": "m"}, "user_profile_id": "u"}, {"diagnostics", "user_profile_id"}),
    ],
)
def test_fields_and_values_of_betas_get_through(
    live: LiveGateway, chats: Upstream, fields: Json, lost: set[str]
) -> None:
    _, dropped = translated(live, chats, **fields)
    assert dropped == lost


@pytest.mark.parametrize("wrong", [
    {"messages": [user({"type": "hologram"}, {"type": "text"})]},
    {"messages": [user({"type": ""})]},
    {"messages": [user({"type": 5})]},
    {"messages": [{"role": "tool", "content": [{"type": "hologram"}]}]},
    {"tools": [{"type": "nobody_knows"}, {"name": "x"}]},
    {"tools": [{"type": "bash_20250124", "name": "sh"}]},
    {"thinking": {"type": "enabled"}},
    {"service_tier": 5},
])  # fmt: skip
def test_what_is_wrong_beside_an_unknown_kind_is_still_wrong(live: LiveGateway, wrong: Json) -> None:
    assert ask(live, **wrong).status_code == 400


def test_an_operator_may_refuse_what_no_document_names(gateway_for: SharedGateways, chats: Upstream) -> None:
    strict = gateway_for(**in_front_of(chats), UNKNOWN_PARAMS="reject")
    for fields in ({"tools": [{"type": "of_2099"}]}, {"service_tier": "flex"}):
        assert ask(strict, **fields).status_code == 400


def test_the_built_in_provider_knows_what_the_contract_knows(live: LiveGateway) -> None:
    assert ask(live, model="custom/custom-chat", tools=[{"type": "of_2099"}]).status_code == 400
