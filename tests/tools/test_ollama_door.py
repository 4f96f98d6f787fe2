"""Tools that the gateway runs, through Ollama's chat."""

import json
from typing import Any

import pytest

from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

TOOLS = [{"type": "gateway:web_search", "max_results": 2}]
ASK = [{"role": "user", "content": 'Use gateway_web_search {"query": "tea"}.'}]


def test_a_tool_is_run_for_a_client_of_ollama(gateway: LiveGateway) -> None:
    body = {"model": "custom-chat", "messages": ASK, "tools": TOOLS, "stream": False}
    reply = post(gateway, "/api/chat", body)
    assert reply.status_code == 200, reply.text
    message = reply.json()["message"]
    assert "[1]" in message["content"]
    assert "tool_calls" not in message
    (run,) = message["gateway_tool_calls"]
    assert "Results for: tea" in run["result"]["content"]


def test_a_stream_tells_of_it_line_by_line(gateway: LiveGateway) -> None:
    reply = post(gateway, "/api/chat", {"model": "custom-chat", "messages": ASK, "tools": TOOLS})
    lines: list[dict[str, Any]] = [json.loads(line) for line in reply.text.splitlines()]
    reported = [run for line in lines for run in line["message"].get("gateway_tool_calls", [])]
    assert [run.get("status", "started") for run in reported] == ["started", "completed"]
    assert "[1]" in "".join(line["message"]["content"] for line in lines)
    assert lines[-1]["done"]


@pytest.mark.parametrize("tool", [{"type": "gateway:web_search", "max_results": 0}, {"type": "gateway:other"}])
def test_what_is_wrong_is_refused(gateway: LiveGateway, tool: dict[str, Any]) -> None:
    body = {"model": "custom-chat", "messages": ASK, "tools": [tool], "stream": False}
    assert post(gateway, "/api/chat", body).status_code == 400


def test_an_ollama_server_is_told_of_functions(gateway_for: SharedGateways, ollama_upstream: Upstream) -> None:
    live = gateway_for(OLLAMA_HOST=f"http://127.0.0.1:{ollama_upstream.port}", TOOL_WEB_SEARCH="custom")
    body = {"model": "ollama/able", "messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS, "stream": False}
    assert post(live, "/api/chat", body).status_code == 200
    sent = next(seen.json for seen in ollama_upstream.seen("able") if seen.path == "/api/chat")
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["gateway_web_search"]
