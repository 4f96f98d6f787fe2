"""Tool calls without a name, which no client can run and OpenAI refuses in the next request: an error at every door."""

import json
from typing import Any

import httpx2
import openai
import pytest

from tests.attacks.wires import WIRES, Wire, live_in_front_of_all, upstream_that
from tests.support.client import post
from tests.support.gateway import TEST_KEY, LiveGateway
from tests.support.upstream import Exchange

pytestmark = pytest.mark.live

DOORS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat")
TOOL = {"name": "w", "description": "The weather.", "parameters": {"type": "object", "properties": {}}}
NAMES = {"named": "w", "nameless": ""}
# Who speaks the upstream's own API gets its words.
RELAYED = {("anthropic", "/v1/messages"), ("ollama", "/v1/messages"), ("ollama", "/api/chat")}
CASES = [(wire, door) for wire in WIRES for door in DOORS if (wire.provider, door) not in RELAYED]


def openai_reply(name: str, *, stream: bool) -> bytes:
    said = {"role": "assistant", "content": "Let me see."}
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{}"}}
    message = {**said, "tool_calls": [{"index": 0, **call} if stream else call], "refusal": None}
    choice = {"index": 0, "delta" if stream else "message": message, "finish_reason": "tool_calls", "logprobs": None}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    kind = "chat.completion.chunk" if stream else "chat.completion"
    reply = {"id": "c", "object": kind, "created": 1, "model": "m", "choices": [choice], "usage": usage}
    data = json.dumps(reply).encode()
    return b"data: %b\n\ndata: [DONE]\n\n" % data if stream else data


def anthropic_reply(name: str, *, stream: bool) -> bytes:
    text, call = (
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}},
    )
    usage = {"input_tokens": 1, "output_tokens": 2}
    end = {"stop_reason": "tool_use", "stop_sequence": None}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "usage": usage}
    if not stream:
        return json.dumps({**message, **end, "content": [text, call]}).encode()
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    events += [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let me see."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": call},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": end, "usage": usage},
        {"type": "message_stop"},
    ]
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def ollama_reply(name: str) -> bytes:
    said = {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [{"function": {"name": name, "arguments": {}}}],
    }
    line = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": said, "done": True, "done_reason": "stop"}
    return json.dumps({**line, "prompt_eval_count": 1, "eval_count": 2}).encode() + b"\n"


async def behave(exchange: Exchange) -> None:
    path, name, stream = exchange.seen.path, NAMES[exchange.seen.model], exchange.seen.json.get("stream", False)
    if path.endswith("/api/chat"):
        body = ollama_reply(name)
    elif path.endswith("/messages"):
        body = anthropic_reply(name, stream=stream)
    else:
        body = openai_reply(name, stream=stream)
    await exchange.reply(body, content_type="text/event-stream" if stream else "application/json")


upstream, live = upstream_that(behave), live_in_front_of_all()


def asked(live: LiveGateway, wire: Wire, door: str, model: str, *, stream: bool) -> httpx2.Response:
    body: dict[str, Any] = {"model": f"{wire.provider}/{model}", "stream": stream}
    turns = [{"role": "user", "content": "hello"}]
    if door == "/v1/responses":
        return post(live, door, {**body, "input": "hello", "store": False, "tools": [{"type": "function", **TOOL}]})
    if door == "/v1/messages":
        tool = {"name": "w", "input_schema": TOOL["parameters"]}
        return post(live, door, {**body, "max_tokens": 100, "messages": turns, "tools": [tool]})
    return post(live, door, {**body, "messages": turns, "tools": [{"type": "function", "function": TOOL}]})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("wire", "door"), CASES, ids=lambda each: getattr(each, "provider", each))
def test_a_call_without_a_name_is_an_error(live: LiveGateway, wire: Wire, door: str, *, stream: bool) -> None:
    named = asked(live, wire, door, "named", stream=stream)
    assert named.status_code == 200, named.text
    assert '"w"' in named.text
    got = asked(live, wire, door, "nameless", stream=stream)
    # Anthropic's contract itself has no empty name.
    assert ("not one of the Messages API" if wire.provider == "anthropic" else "without naming it") in got.text
    assert '"name":""' not in got.text.replace(" ", "")
    assert stream or got.status_code == 502


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_openais_sdk_raises_for_a_call_without_a_name(live: LiveGateway, *, stream: bool) -> None:
    url = f"{live.base_url}/lab/v1"
    with openai.OpenAI(base_url=url, api_key=TEST_KEY, max_retries=0, timeout=30) as client:
        asks: Any = client.chat.completions.create
        with pytest.raises(openai.APIError, match="without naming it"):
            list(asks(model="nameless", messages=[{"role": "user", "content": "a"}], stream=stream))
