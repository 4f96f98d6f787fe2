"""What agents and SDKs of the Responses API send is taken as it comes, by every kind of provider."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.responses_requests import REQUESTS
from tests.support import fake_anthropic
from tests.support.client import post
from tests.support.gateway import HOST, LiveGateway, SharedGateways
from tests.support.responses import called, events_of, valid
from tests.support.upstream import Upstream, running_upstream

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]
WHOLE = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}


@pytest.fixture(scope="module")
def claude(gateway_for: SharedGateways) -> Iterator[LiveGateway]:
    with running_upstream(fake_anthropic.behave) as upstream:
        yield gateway_for(ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=f"http://{HOST}:{upstream.port}")


def answered(live: LiveGateway, path: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = post(live, f"{path}/responses", {"model": model, **body})
    assert reply.status_code == 200, reply.text
    response: dict[str, Any] = events_of(reply.text)[-1]["response"] if body.get("stream") else reply.json()
    valid("Response").validate(response)
    assert response["status"] == "completed", response
    return response


@pytest.mark.parametrize("name", REQUESTS)
def test_the_built_in_provider_answers_what_clients_send(gateway: LiveGateway, name: str) -> None:
    answered(gateway, "/custom/v1", "custom-chat", REQUESTS[name])


@pytest.mark.parametrize("name", REQUESTS)
def test_an_upstream_of_chat_gets_what_it_knows(relay: LiveGateway, upstream: Upstream, name: str) -> None:
    model = f"good#{name}"
    answered(relay, "/lab/v1", model, REQUESTS[name])
    asked = upstream.last(model).json
    assert asked.keys() <= {
        "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options", "verbosity",
        "reasoning_effort", "response_format", "prompt_cache_key",
    }  # fmt: skip
    assert {tool["type"] for tool in asked.get("tools", ())} <= {"function"}
    called_ids = [call["id"] for message in asked["messages"] for call in message.get("tool_calls") or ()]
    results = [message["tool_call_id"] for message in asked["messages"] if message["role"] == "tool"]
    assert called_ids == results
    assert len(set(called_ids)) == len(called_ids)


@pytest.mark.parametrize("name", REQUESTS)
def test_anthropics_api_answers_what_clients_send(claude: LiveGateway, name: str) -> None:
    answered(claude, "/anthropic/v1", "claude-sonnet-5", REQUESTS[name])


@pytest.mark.parametrize("name", REQUESTS)
def test_ollamas_api_answers_what_clients_send(beside_ollama: LiveGateway, name: str) -> None:
    answered(beside_ollama, "/ollama/v1", "llama", REQUESTS[name])


def test_codexs_own_tools_come_back_as_it_knows_them(relay: LiveGateway, upstream: Upstream) -> None:
    calls = [
        called("exec", {"cmd": "ls"}, "a"),
        called("apply_patch", {"input": "*** Begin Patch"}, "b"),
        called("tool_search", {"query": "x"}, "c"),
        called("multi_agent_v1__close_agent", {}, "d"),
    ]
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    raw = json.dumps({**WHOLE, "choices": [choice]}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(raw)
    upstream.program("codex-tools", head + raw)
    body = {**REQUESTS["codex-after-tools"], "stream": False}
    output = answered(relay, "/lab/v1", "codex-tools", body)["output"]
    assert [(item["type"], item.get("namespace"), item.get("name")) for item in output] == [
        ("function_call", None, "exec"),
        ("custom_tool_call", None, "apply_patch"),
        ("tool_search_call", None, None),
        ("function_call", "multi_agent_v1", "close_agent"),
    ]
    assert output[1]["input"] == "*** Begin Patch"
    assert output[2]["arguments"] == {"query": "x"}
