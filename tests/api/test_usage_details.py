"""Token counts of translated chats have all the details that clients of strictly typed languages require."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import fake_anthropic
from tests.support.client import client_of, frames_of
from tests.support.gateway import ONE_ATTEMPT, LiveGateway, SharedGateways
from tests.support.native_responses import NativeTap
from tests.support.upstream import Exchange, running_upstream

pytestmark = pytest.mark.live

COUNTED = {"input_tokens": 4, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 5}}
ANTHROPICS = {"audio_tokens": 0, "cached_tokens": 0, "cache_write_tokens": 0}
RESPONSES = {"audio_tokens": 0, "cached_tokens": 10, "cache_write_tokens": 0}


async def thoughtful(exchange: Exchange) -> None:
    """A model of Anthropic's wire that tells how much of its answer was thinking."""
    content = [fake_anthropic.text()]
    if not exchange.seen.json.get("stream"):
        await exchange.json(fake_anthropic.message("m", content, "end_turn") | {"usage": COUNTED})
        return
    await exchange.open_stream()
    for event in fake_anthropic.events("m", content, "end_turn"):
        if event["type"] == "message_start":
            event["message"]["usage"] = {"input_tokens": 4, "output_tokens": 1}
        await exchange.event(event | {"usage": COUNTED} if event["type"] == "message_delta" else event)
    await exchange.end_stream()


@pytest.fixture(scope="module")
def gate(gateway_for: SharedGateways, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with running_upstream(thoughtful) as anthropic, running_upstream(NativeTap().behave) as responses:
        config = tmp_path_factory.mktemp("details") / "gateway.toml"
        config.write_text(f'[providers.lab]\nbase_url = "{responses.url}"\nresponses_only = ".*"\n')
        yield gateway_for(
            ANTHROPIC_API_KEY="sk-ant-test",
            ANTHROPIC_BASE_URL=anthropic.url,
            GATEWAY_CONFIG=str(config),
            **ONE_ATTEMPT,
        )


def usage_of(gate: LiveGateway, model: str, *, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    with client_of(gate) as client:
        reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    told = reply.text
    if stream:
        told = next(frame for frame in frames_of(told) if '"usage":{' in frame).removeprefix("data: ")
    found: dict[str, Any] = json.loads(told)["usage"]
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "of_prompt", "reasoning"), [("anthropic/m", ANTHROPICS, 5), ("lab/m", RESPONSES, 2)])
def test_every_detail_is_told(
    gate: LiveGateway, model: str, of_prompt: dict[str, int], reasoning: int, *, stream: bool
) -> None:
    usage = usage_of(gate, model, stream=stream)
    assert usage["prompt_tokens_details"] == of_prompt
    assert usage["completion_tokens_details"] == {
        "accepted_prediction_tokens": 0,
        "audio_tokens": 0,
        "reasoning_tokens": reasoning,
        "rejected_prediction_tokens": 0,
    }
