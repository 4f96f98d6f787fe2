"""Where a message goes: to upstreams of Anthropic's wire as it came, Ollama among them, and else by translation.

Also what each of them says where a prompt is too long, before an answer has begun and in the middle of one.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from scripts.fuzz.message_grammar import check
from tests.attacks.wires import in_front_of_all
from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Exchange, Seen, Upstream, running_upstream

pytestmark = pytest.mark.live

type Json = dict[str, Any]

HELLO: Json = {"max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
SENT = {"anthropic-version": "2023-06-01", "anthropic-beta": "mcp-client-2025-11-20,unheard-of-2099-01-01"}
USAGE = {"input_tokens": 3, "output_tokens": 2, "x_new": 1}
MESSAGE: Json = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "there", "stop_sequence": None,
    "content": [{"type": "text", "text": "Hi"}, {"type": "of_2099", "x": 1}], "stop_reason": "end_turn", "usage": USAGE,
}  # fmt: skip
EVENTS: list[Json] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
    {"type": "message_stop"},
]
FRAMES = b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in EVENTS)
REFUSED = b'{"type":"error", "error":{"type":"invalid_request_error","message":"tools.0: no"},"request_id":"req_there"}'
TOO_LONG = "prompt is too long: 9000 tokens > 8192 maximum"
OPENAIS = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
# What each upstream says of a prompt that is too long, on its own wire.
COMPLAINTS: dict[str, Json] = {
    "lab": {"error": {"message": OPENAIS, "type": "invalid_request_error", "code": "context_length_exceeded"}},
    "llama.cpp": {"error": {"code": 400, "message": "the request exceeds the available context size, make it larger",
                            "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 8192}},
    "ollama": {
        "error": "the request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it"
    },
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": TOO_LONG}},
}  # fmt: skip


async def behave(exchange: Exchange) -> None:
    seen = exchange.seen
    if seen.path.endswith("/messages") and not seen.model.startswith("older"):
        return await as_message(exchange)
    if seen.path.endswith("/messages"):
        return await exchange.reply(b"404 page not found", status=404, content_type="text/plain")
    kind = seen.model.removeprefix("older-")
    if seen.path.endswith(("/chat", "/chat/completions")):
        return await (as_lines if seen.path.endswith("/chat") else as_chunks)(exchange, kind)
    return await exchange.json({"error": "not found"}, status=404)


async def as_message(exchange: Exchange) -> None:
    model, stream = exchange.seen.model, exchange.seen.json.get("stream")
    if model.startswith("refuses"):
        await exchange.reply(REFUSED, status=400)
    elif model.startswith("too-long"):
        await exchange.json(COMPLAINTS["anthropic"], status=400)
    elif model.startswith("cut") and stream:
        await exchange.open_stream()
        await exchange.chunk(FRAMES[: FRAMES.index(b"event: content_block_stop")])
        complaint = json.dumps(COMPLAINTS["anthropic"]).encode()
        await exchange.chunk(b"event: error\ndata: %b\n\n" % complaint)
        await exchange.end_stream()
    elif stream:
        await exchange.open_stream()
        for at in range(0, len(FRAMES), 97):
            await exchange.chunk(FRAMES[at : at + 97])
        await exchange.end_stream()
    else:
        await exchange.json(MESSAGE)


async def as_chunks(exchange: Exchange, kind: str) -> None:
    complaint = COMPLAINTS["llama.cpp" if "llama" in kind else "lab"]
    if kind.startswith("too-long"):
        return await exchange.json(complaint, status=400)
    await exchange.open_stream()
    choice = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    await exchange.event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    )
    await exchange.event(complaint)
    return await exchange.end_stream()


async def as_lines(exchange: Exchange, kind: str) -> None:
    said = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "Hi"}}
    done = {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
    if kind.startswith("too-long"):
        return await exchange.json(COMPLAINTS["ollama"], status=400)
    if not exchange.seen.json.get("stream"):
        return await exchange.json({**said, **done})
    last = COMPLAINTS["ollama"] if kind.startswith("cut") else {**said, **done}
    lines = [json.dumps(line).encode() + b"\n" for line in ({**said, "done": False}, last)]
    return await exchange.reply(b"".join(lines), content_type="application/x-ndjson")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture
def live(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return in_front_of_all(gateway_for, upstream)


def ask(live: LiveGateway, model: str, path: str = "/v1/messages", **fields: Any) -> httpx2.Response:
    return post(live, path, {"model": model, **HELLO, **fields}, headers=SENT)


def last(upstream: Upstream, model: str) -> Seen:
    return upstream.last(model)


KINDS: Json = {
    "tools": [{"type": "mcp_toolset", "mcp_server_name": "docs"}, {"type": "of_2099", "name": "x"}],
    "mcp_servers": [{"type": "url", "url": "https://z", "name": "docs"}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "file", "file_id": "f"}, "cache_control": {"type": "of_2099"}},
                {"type": "hologram", "data": "A"},
                {"type": "container_upload", "file_id": "f"},
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "browser_state", "tabs": []}]},
            ],
        },
        {"role": "assistant", "content": [{"type": "compaction", "content": None}], "of_2099": True},
        {"role": "system", "content": [{"type": "tool_addition", "tool": {}}]},
    ],
    "service_tier": "flex",
    "thinking": {"type": "between_tools"},
    "output_config": {"effort": "utmost", "format": {"type": "grammar", "x": 1}},
    "context_management": {"edits": [{"type": "of_2099"}]},
    "fallbacks": [{"model": "b"}],
    "speed": "fast",
}


@pytest.mark.parametrize("provider", ["ollama", "anthropic"])
@pytest.mark.parametrize("path", ["/v1/messages", "/{}/v1/messages?beta=true"])
def test_to_its_own_wire_a_message_goes_as_it_came(
    live: LiveGateway, upstream: Upstream, provider: str, path: str
) -> None:
    name = f"kinds-{provider}{path.count('beta')}"
    model = name if "{}" in path else f"{provider}/{name}"
    reply = ask(live, model, path.format(provider), **KINDS)
    assert (reply.status_code, reply.json()) == (200, MESSAGE)
    assert "x-gateway-dropped-params" not in reply.headers
    seen = last(upstream, name)
    assert seen.path.partition("?")[0] == "/v1/messages"
    assert seen.json == {"model": name, **HELLO, **KINDS}
    assert {header: seen.header(header) for header in SENT} == SENT


@pytest.mark.parametrize("provider", ["ollama", "anthropic"])
def test_a_stream_of_its_own_wire_comes_as_it_is(live: LiveGateway, provider: str) -> None:
    reply = ask(live, f"{provider}/good", stream=True)
    assert reply.content == FRAMES
    assert (check(reply.content).message or {})["content"][0]["text"] == "Hi"


@pytest.mark.parametrize("provider", ["ollama", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_its_own_wire_refuses_is_told_in_its_bytes(live: LiveGateway, provider: str, *, stream: bool) -> None:
    reply = ask(live, f"{provider}/refuses", stream=stream)
    assert (reply.status_code, reply.content) == (400, REFUSED)


def test_an_older_ollama_is_asked_by_translation(live: LiveGateway, upstream: Upstream) -> None:
    for stream in (False, True):
        reply = ask(live, "ollama/older-good", stream=stream, top_k=4)
        assert reply.status_code == 200, reply.text
        message = (check(reply.content).message or {}) if stream else reply.json()
        assert message["content"] == [{"type": "text", "text": "HiHi" if stream else "Hi", "citations": []}]
        assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (3, 2)
    assert last(upstream, "older-good").path == "/api/chat"


@pytest.mark.parametrize("provider", ["lab", "ollama"])
def test_tokens_are_estimated_where_nobody_counts_them(live: LiveGateway, provider: str) -> None:
    body = {"model": f"{provider}/good", "messages": HELLO["messages"], "tools": [{"type": "of_2099", "name": "x"}]}
    reply = post(live, "/v1/messages/count_tokens", body, headers=SENT)
    assert reply.status_code == 200, reply.text
    assert reply.json()["input_tokens"] > 0


TOO_MUCH = ["lab/older-{}", "lab/older-{}-llama", "cerebras/{}", "ollama/older-{}", "ollama/{}", "anthropic/{}"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", TOO_MUCH)
def test_every_upstream_says_that_a_prompt_is_too_long_in_the_words_of_this_wire(
    live: LiveGateway, model: str, *, stream: bool
) -> None:
    reply = ask(live, model.format("too-long"), stream=stream)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["type"], error["message"]) == ("invalid_request_error", TOO_LONG)


@pytest.mark.parametrize("model", TOO_MUCH)
def test_and_in_the_middle_of_an_answer(live: LiveGateway, model: str) -> None:
    reply = ask(live, model.format("cut"), stream=True)
    assert reply.status_code == 200
    error = check(reply.content).error or {}
    assert error["message"] == TOO_LONG


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("model", TOO_MUCH)
def test_callers_of_other_apis_are_told_so_by_its_code(live: LiveGateway, model: str, path: str, stream: bool) -> None:
    asked = {"messages": HELLO["messages"]} if path.endswith("completions") else {"input": "Hi"}
    reply = post(live, path, {"model": model.format("too-long"), "stream": stream, **asked})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["code"] == "context_length_exceeded"
