"""Calls that the gateway has run as blocks of a message, and what a model is shown of them again."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.tools.web_search.results import Found, Query, shown
from ai_gateway.translate.anthropic_chat.kept import is_ours, opened, read_again
from ai_gateway.translate.anthropic_chat.ran import RanCalls
from ai_gateway.translate.gateway_tools import McpName
from tests.support.responses import valid

lines = st.text(max_size=40)


def entry(function: str, reported: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": function, "arguments": '{"a": 1}'}}
    return {**call, "status": status, "result": {"role": "tool", "tool_call_id": "call-1", "content": reported}, **more}


def blocks(call: dict[str, Any], ran: RanCalls | None = None) -> list[dict[str, Any]]:
    reported: list[Any] = (ran or RanCalls({})).blocks(call)
    for block in reported:
        valid("AnthropicContentBlock").validate(block)
    return reported


@given(st.lists(st.tuples(lines, lines), max_size=6), st.integers(0, 400))
def test_the_results_of_a_search_hold_every_word_that_the_model_has_read(
    pages: list[tuple[str, str]], cut: int
) -> None:
    found = [Found(f"https://example.com/{at}", title, text) for at, (title, text) in enumerate(pages)]
    result = shown(found, Query("[1] tea"))
    reported = result.text[: len(result.text) - cut] if cut < len(result.text) else result.text
    sources = [
        {"number": number, "url": source.url, "title": source.title}
        for number, source in enumerate(result.citations, 1)
    ]
    _, answer = blocks(entry("gateway_web_search", reported, sources=sources))
    assert [each["url"] for each in answer["content"]] == [source["url"] for source in sources]
    again = read_again([SimpleNamespace(**each) for each in answer["content"]])
    assert again == (reported.encode("utf-8", "replace").decode() if sources else None)


def test_a_page_is_a_document() -> None:
    sources = [{"number": 3, "url": "https://example.com/", "title": "A"}]
    ran = RanCalls({})
    use, result = blocks(entry("gateway_web_fetch", "[3] A\nhttps://example.com/\n> Words.", sources=sources), ran)
    assert (use["name"], result["type"]) == ("web_fetch", "web_fetch_tool_result")
    assert result["content"]["content"]["source"]["data"].endswith("> Words.")
    assert ran.usage() == {"web_search_requests": 0, "web_fetch_requests": 1}
    (citation,) = ran.citations(["https://example.com/", "https://example.com/", "https://other.example/"])
    assert citation["cited_text"] == "Words."
    assert is_ours(SimpleNamespace(**citation))


@pytest.mark.parametrize(
    ("error", "content"),
    [
        ("failed", {"type": "code_execution_result", "return_code": 1, "stderr": "no", "stdout": "", "content": []}),
        ("timed_out", {"type": "code_execution_tool_result_error", "error_code": "execution_time_exceeded"}),
        ("invalid_arguments", {"type": "code_execution_tool_result_error", "error_code": "invalid_tool_input"}),
    ],
)
def test_why_code_failed_is_told(error: str, content: dict[str, Any]) -> None:
    _, result = blocks(entry("gateway_code_execution", "no", "failed", error=error))
    assert result["content"] == content


@pytest.mark.parametrize(
    ("name", "server", "tool"), [("f", "mine", "t"), ("gateway_memory_list", "gateway", "memory_list")]
)
def test_other_tools_are_those_of_a_server(name: str, server: str, tool: str) -> None:
    use, result = blocks(entry(name, "", "failed"), RanCalls({"f": McpName("mine", "t")}))
    assert (use["server_name"], use["name"], use["input"]) == (server, tool, {"a": 1})
    assert result["is_error"] is True
    assert result["content"][0]["text"]


def test_what_an_upstream_has_made_up_breaks_nothing() -> None:
    assert [block["type"] for block in blocks({"index": 0})] == ["mcp_tool_use"]
    assert [block["type"] for block in blocks({"index": 0, "status": "completed"})] == [
        "mcp_tool_use",
        "mcp_tool_result",
    ]
    forged = {**entry("gateway_web_search", "x"), "sources": []}
    assert blocks(forged)[1]["content"] == []
    assert opened("somebody else's") is None
    assert opened("gwt1.%%%") is None
    assert read_again([]) is None
