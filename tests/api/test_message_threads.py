"""Conversations that Anthropic keeps for its clients, of which a request then has the newest messages alone.

The gateway keeps none, and neither does an upstream that knows nothing of them: it would answer the newest message
without all that led to it. `thread()` and the tool runner of Anthropic's SDKs use them by themselves.
"""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, beta_tool

from tests.support.client import client_of
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Seen, Upstream, running_upstream

pytestmark = pytest.mark.live

type Json = dict[str, Any]

BOTH_WIRES = pytest.mark.parametrize("provider", ["lab", "native"])
USAGE = {"input_tokens": 5, "output_tokens": 2}
HI: Json = {"role": "user", "content": "Hi"}
GO_ON: Json = {"type": "continue", "previous_message_id": "msg_0"}


async def behave(exchange: Exchange) -> None:
    """Two rounds of calls, then an answer, on both wires."""
    if exchange.seen.method == "GET":
        return await exchange.json({"error": {"message": "Not Found"}}, status=404)
    turns = [each for each in exchange.seen.json["messages"] if each["role"] == "assistant"]
    says: Json = {"type": "tool_use", "id": f"toolu_{len(turns)}", "name": "get_weather", "input": {"city": "Rome"}}
    if len(turns) >= 2 or "tools" not in exchange.seen.json:
        says = {"type": "text", "text": f"{len(turns)} turns"}
    if exchange.seen.path.endswith("/messages"):
        reason = "end_turn" if says["type"] == "text" else "tool_use"
        head: Json = {"id": f"msg_{len(turns)}", "type": "message", "role": "assistant", "model": "m", "usage": USAGE}
        return await exchange.json({**head, "content": [says], "stop_reason": reason, "stop_sequence": None})
    message: Json = {"role": "assistant", "content": says.get("text")}
    if "id" in says:
        function = {"name": says["name"], "arguments": '{"city": "Rome"}'}
        message["tool_calls"] = [{"id": says["id"], "type": "function", "function": function}]
    choice = {"index": 0, "finish_reason": "tool_calls" if "id" in says else "stop", "message": message}
    chat: Json = {"id": f"c{len(turns)}", "object": "chat.completion", "created": 1, "model": "m"}
    return await exchange.json({**chat, "choices": [choice]})


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> LiveGateway:
    config = tmp_path_factory.mktemp("threads") / "gateway.toml"
    config.write_text(f'[providers.native]\nbase_url = "{upstream.url}"\nwires = ["anthropic"]\n')
    return gateway_for(**in_front_of(upstream), GATEWAY_CONFIG=str(config))


@pytest.fixture
def sdk(live: LiveGateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=live.base_url, api_key=TEST_KEY, max_retries=0) as client:
        yield client


def ask(live: LiveGateway, model: str, **fields: Any) -> httpx2.Response:
    body = {"model": model, "max_tokens": 50, "messages": [HI], **fields}
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "message-threads-2026-08-12"}
    with client_of(live) as client:
        return client.post("/v1/messages?beta=true", json=body, headers=headers)


def asked(upstream: Upstream) -> list[Seen]:
    """What it was asked; not for the list of its models."""
    return [seen for seen in upstream.requests if seen.method == "POST"]


@BOTH_WIRES
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_nobody_kept_is_not_found(
    live: LiveGateway, upstream: Upstream, provider: str, stream: bool
) -> None:
    upstream.forget()
    reply = ask(live, f"{provider}/m", thread=GO_ON, stream=stream)
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert (error["type"], error["details"]) == ("not_found_error", {"error_code": "thread_not_found"})
    assert "all messages" in error["message"]
    assert not asked(upstream)


def test_the_built_in_provider_keeps_none_either(live: LiveGateway) -> None:
    assert ask(live, "custom/custom-chat", thread=GO_ON).status_code == 404


@BOTH_WIRES
@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "new", "own": 1}, "x"])
def test_a_conversation_to_keep_is_answered_and_not_kept(
    live: LiveGateway, upstream: Upstream, provider: str, thread: object
) -> None:
    upstream.forget()
    reply = ask(live, f"{provider}/m", thread=thread, own=1 if provider == "native" else None)
    assert reply.status_code == 200, reply.text
    assert "thread" in reply.headers["x-gateway-dropped-params"].split(",")
    (seen,) = asked(upstream)
    assert "thread" not in seen.json
    assert provider == "lab" or seen.json["own"] == 1


@BOTH_WIRES
def test_a_thread_of_null_is_none(live: LiveGateway, upstream: Upstream, provider: str) -> None:
    assert ask(live, f"{provider}/m", thread=None).status_code == 200


@BOTH_WIRES
def test_every_turn_of_a_thread_has_the_whole_conversation(sdk: Anthropic, upstream: Upstream, provider: str) -> None:
    thread = sdk.beta.messages.thread(model=f"{provider}/m", max_tokens=50)
    for turn in range(4):
        (block,) = thread.send({"role": "user", "content": f"Question {turn}"}).content
        assert block.type == "text"
        assert block.text == f"{turn} turns"


@BOTH_WIRES
def test_the_tool_runner_has_every_round_answered(sdk: Anthropic, upstream: Upstream, provider: str) -> None:
    called = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return f"sunny in {city}"

    runner = sdk.beta.messages.tool_runner(model=f"{provider}/m", max_tokens=50, messages=[HI], tools=[get_weather])  # type: ignore[list-item]
    (block,) = runner.until_done().content
    assert called == ["Rome", "Rome"]
    assert block.type == "text"
    assert block.text == "2 turns"
