"""Recorded usages through the real adapters, whole and streamed: tokens by class, and the cost to the last digit."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, chdir
from decimal import Decimal
from typing import Any

import pytest

from ai_gateway.accounts.prices import Prices
from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.config.tables import PriceSettings
from ai_gateway.contract.call import Call, Notes
from ai_gateway.contract.stream import Stream
from ai_gateway.gateway import Gateway
from ai_gateway.routing.model_list.parse import ListedModel
from gateway_contract.openai import models
from tests.accounts.recorded_usage import RECORDED, Recorded
from tests.support.command import only
from tests.support.fake_ollama import answer as answer_as_ollama
from tests.support.gateway import clean_environment
from tests.support.upstream import Exchange, Upstream, running_upstream

_KEYED = (
    "openai",
    "anthropic",
    "groq",
    "deepseek",
    "openrouter",
    "mistral",
    "xai",
    "gemini",
    "moonshot",
    "fireworks",
    "perplexity",
)
_LISTED = ListedModel("accounts/lab/models/our-own", "fireworks", None, Decimal("0.0009"), Decimal("0.0009"))
_PRICES = Prices({"ollama/*": PriceSettings.model_validate({"input": "0.01", "output": 0.03})})
_PRICES.take_list([_LISTED])

type Noted = dict[tuple[int, bool], Notes]


async def _behave(exchange: Exchange) -> None:
    """The recorded reply whose number the prompt is."""
    path, body = exchange.seen.path, exchange.seen.json
    if path.endswith("/embeddings"):
        return await _embedding(exchange, RECORDED[int(body["input"])])
    said = body["messages"][-1]["content"]
    recorded = RECORDED[int(said if isinstance(said, str) else said[0]["text"])]
    if path == "/api/chat":
        none = {"prompt_eval_count": None, "eval_count": None}
        return await answer_as_ollama(exchange, [{"content": "Hi"}], **{**none, **recorded.usage})
    if path == "/v1/messages":
        return await _message(exchange, recorded, stream=body.get("stream", False))
    return await _chat(exchange, recorded, stream=body.get("stream", False))


async def _embedding(exchange: Exchange, recorded: Recorded) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}]
    await exchange.json({"object": "list", "data": data, "model": recorded.model, "usage": recorded.usage})


async def _chat(exchange: Exchange, recorded: Recorded, *, stream: bool) -> None:
    tier = {"service_tier": recorded.tier} if recorded.tier else {}
    head = {"id": "chatcmpl-1", "created": 1_790_000_000, "model": recorded.model, **tier}
    if not stream:
        message = {"role": "assistant", "content": "Hi", "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        await exchange.json({**head, "object": "chat.completion", "choices": [choice], "usage": recorded.usage})
        return
    await exchange.open_stream()
    for delta, reason in (({"role": "assistant", "content": "Hi"}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        await exchange.event({**head, "object": "chat.completion.chunk", "choices": [choice], "usage": None})
    await exchange.event({**head, "object": "chat.completion.chunk", "choices": [], "usage": recorded.usage})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


async def _message(exchange: Exchange, recorded: Recorded, *, stream: bool) -> None:
    """Anthropic's stream tells the input at its start, and the output at its end."""
    usage = {**recorded.usage, **({"service_tier": recorded.tier} if recorded.tier else {})}
    made = {
        name: usage.pop(name) for name in ("output_tokens", "output_tokens_details", "server_tool_use") if name in usage
    }
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": recorded.model, "stop_sequence": None}
    if not stream:
        content = [{"type": "text", "text": "Hi"}]
        await exchange.json({**head, "content": content, "stop_reason": "end_turn", "usage": {**usage, **made}})
        return
    start: dict[str, Any] = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": made},
        {"type": "message_stop"},
    ]
    await exchange.open_stream()
    for event in events:
        await exchange.chunk(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode()))
    await exchange.end_stream()


@asynccontextmanager
async def _gateway(upstream: Upstream) -> AsyncIterator[Gateway]:
    env = {f"{name.upper()}_API_KEY": "sk-upstream" for name in _KEYED}
    env |= {f"{name.upper()}_BASE_URL": upstream.url for name in _KEYED}
    env["OLLAMA_HOST"] = f"127.0.0.1:{upstream.port}"
    with tempfile.TemporaryDirectory() as home, chdir(home), only(clean_environment(home, env)):
        gateway = Gateway(build(read_configuration(log_level="error")).gateway.routing)
    yield gateway
    await gateway.aclose()


async def _noted(gateway: Gateway, number: int, *, stream: bool) -> Notes:
    """What the gateway has noted of the attempt, once the reply is at its end."""
    recorded = RECORDED[number]
    call = Call("createChatCompletion", "req-1", provider=recorded.provider)
    if recorded.embeds:
        await gateway.embed(call, models.CreateEmbeddingRequest(model=recorded.model, input=str(number)))
        return call.notes
    fields = {"model": recorded.model, "messages": [{"role": "user", "content": str(number)}], "stream": stream}
    reply = await gateway.chat(call, models.CreateChatCompletionRequest.model_validate(fields))
    if isinstance(reply, Stream):
        async with aclosing(reply.items) as items:
            async for _ in items:
                pass
    return call.notes


async def _all_noted() -> Noted:
    with running_upstream(_behave) as upstream:
        async with _gateway(upstream) as gateway:
            return {
                (number, stream): await _noted(gateway, number, stream=stream)
                for number, recorded in enumerate(RECORDED)
                for stream in (False, True)
                if not (stream and recorded.embeds)
            }


@pytest.fixture(scope="module")
def noted() -> Noted:
    return asyncio.run(_all_noted())


def _cost(recorded: Recorded, notes: Notes) -> int | None:
    price = _PRICES.find(recorded.provider, recorded.model, recorded.at.timestamp())
    assert notes.tokens is not None
    return price.cost(notes.tokens, notes.service_tier) if price is not None else None


_CASES = [
    pytest.param(number, stream, id=f"{recorded.provider}-{recorded.name}-{'streamed' if stream else 'whole'}")
    for number, recorded in enumerate(RECORDED)
    for stream in (False, True)
    if not (stream and recorded.embeds)
]


@pytest.mark.parametrize(("number", "stream"), _CASES)
def test_the_tokens_of_a_reply_are_in_one_class_each(noted: Noted, number: int, stream: bool) -> None:
    assert noted[number, stream].tokens == RECORDED[number].tokens


@pytest.mark.parametrize(("number", "stream"), _CASES)
def test_the_cost_is_exact_to_the_last_digit_or_unknown(noted: Noted, number: int, stream: bool) -> None:
    recorded = RECORDED[number]
    expected = None if recorded.usd is None else Decimal(recorded.usd).scaleb(12)
    assert _cost(recorded, noted[number, stream]) == expected


def test_there_are_forty_usages_of_every_kind_of_upstream() -> None:
    priced = [recorded for recorded in RECORDED if recorded.usd is not None]
    assert len(priced) >= 40
    assert {recorded.provider for recorded in priced} >= {
        "openai", "anthropic", "groq", "deepseek", "openrouter", "mistral", "ollama",
    }  # fmt: skip
