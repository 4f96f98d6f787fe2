"""What is small on the wire and large in memory: bodies that grow when translated, and replies of upstreams."""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from tests.support.client import post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, SharedGateways, running_gateway
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

MAX_CPU_S = 5.0
MAX_GROWTH = 600 * 2**20  # each took 900 MB and more
BIG = 30 * 2**20
HEAD = b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":['
TEXT = b"x" * BIG
MANY = 300_000  # in 0.9 MB
ASKED = 12


def filled(pre: str, unit: str, post: str, size: int = 6 * 2**20) -> bytes:
    return (pre + ",".join([unit] * (size // (len(unit) + 1))) + post).encode()


async def behave(exchange: Exchange) -> None:
    """The model says what the reply is made of."""
    model, nothing = exchange.seen.model, b",".join([b"{}"] * MANY)
    if exchange.seen.path == "/v1/messages":
        body = b'{"id":"x","type":"message","role":"assistant","model":"m","content":[%s]}' % nothing
    elif exchange.seen.path == "/api/chat":
        body = b'{"model":"m","message":{"role":"assistant","tool_calls":[%s]},"done":true}' % nothing
    elif model == "big":
        body = HEAD + b'{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"%s"}}]}' % TEXT
    elif model == "nothing":
        body = HEAD + nothing + b"]}"
    elif model == "tokens":
        body = HEAD + b'{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"x"},'
        body += b'"logprobs":{"content":[%s]}}]}' % nothing
    else:
        body = HEAD + b"]}"
    if exchange.seen.json.get("stream"):
        await exchange.open_stream()
        await exchange.chunk(b"data: " + body + b"\n\n")
        return await exchange.end_stream()
    return await exchange.reply(body)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(upstream: Upstream) -> Iterator[LiveGateway]:
    """A gateway of its own, because memory that was used once is not given back."""
    addresses = {f"{name}_BASE_URL": upstream.url for name in ("OPENAI", "ANTHROPIC")}
    keys = {f"{name}_API_KEY": "k" for name in ("OPENAI", "ANTHROPIC")}
    ollama = {"OLLAMA_HOST": upstream.url.removesuffix("/v1")}
    with running_gateway(
        ALLOWED_API_KEYS=TEST_KEY, MAX_RETRIES="0", BREAKER_THRESHOLD="0", **addresses, **keys, **ollama
    ) as running:
        yield running


def spent(live: LiveGateway) -> float:
    times = psutil.Process(live.process.pid).cpu_times()
    return float(times.user + times.system)


def test_a_chat_of_tiny_images_is_refused_before_it_is_translated(live: LiveGateway) -> None:
    before, memory = spent(live), live.rss()
    for raw in (
        filled('{"model":"openai/m","messages":[{"role":"user","images":[', '"QQ=="', "]}]}"),
        filled('{"model":"openai/m","messages":[', '{"role":"user","content":""}', "]}"),
        filled(
            '{"model":"openai/m","messages":[{"role":"assistant","tool_calls":[', '{"function":{"name":"a"}}', "]}]}"
        ),
    ):
        refused = post_raw(live, "/api/chat", raw)
        assert refused == 413
    refused = post_raw(live, "/api/generate", filled('{"model":"openai/m","prompt":"x","images":[', '"QQ=="', "]}"))
    assert refused == 413
    sys.stdout.write(f"images: {spent(live) - before:.1f} s, {(live.rss() - memory) / 2**20:.0f} MB\n")
    assert spent(live) - before < 3 * MAX_CPU_S
    assert live.rss() - memory < MAX_GROWTH


CHAT = '{"model":"m","messages":[{"role":"user","content":'
BODIES = {
    "parts": (CHAT + "[", '{"type":"text","text":""}', "]}]}"),
    "messages": ('{"model":"m","messages":[', '{"role":"user","content":""}', "]}"),
    "messages of nothing": ('{"model":"m","messages":[', "{}", "]}"),
    "tools": (CHAT + '"a"}],"tools":[', '{"type":"function","function":{"name":"a"}}', "]}"),
    "calls": (
        '{"model":"m","messages":[{"role":"assistant","tool_calls":[',
        '{"id":"a","type":"function","function":{"name":"a","arguments":""}}',
        "]}]}",
    ),
    "an unknown field of nothing": (CHAT + '"a"}],"x":[', "{}", "]}"),
    "an unknown field of arrays": (CHAT + '"a"}],"x":[', "[]", "]}"),
}


@pytest.mark.parametrize("path", ["/openai/v1/chat/completions", "/api/chat"])
@pytest.mark.parametrize("kind", BODIES)
def test_a_body_of_tiny_objects_is_refused_before_it_is_parsed(live: LiveGateway, path: str, kind: str) -> None:
    before, memory = spent(live), live.rss()
    assert post_raw(live, path, filled(*BODIES[kind], size=10 * 2**20 - 1_000)) == 413
    assert spent(live) - before < MAX_CPU_S
    assert live.rss() - memory < 100 * 2**20  # each took 240 to 500 MB


def test_a_body_of_very_many_token_ids_is_none_of_those(live: LiveGateway) -> None:
    raw = filled('{"model":"m","input":[', "[10234,345,6789]", "]}", size=9 * 2**20)
    assert post_raw(live, "/openai/v1/embeddings", raw) == 400  # for more inputs than OpenAI takes


def post_raw(live: LiveGateway, path: str, raw: bytes) -> int:
    with socket.create_connection((HOST, live.port), timeout=60) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEST_KEY}\r\nContent-Type: application/json\r\n"
        )
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(raw) + raw)
        return int(connection.recv(64).split()[1])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "nothing"), ("openai", "tokens"), ("anthropic", "nothing"), ("ollama", "nothing")],
)
def test_a_reply_of_nothing_is_refused_at_a_moderate_price(
    live: LiveGateway, provider: str, model: str, *, stream: bool
) -> None:
    before, memory = spent(live), live.rss()
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": stream}
    reply = post(live, f"/{provider}/v1/chat/completions", body)
    assert reply.status_code == 502 or '"error"' in reply.text
    sys.stdout.write(f"{model}: {spent(live) - before:.1f} s, {(live.rss() - memory) / 2**20:.0f} MB\n")
    assert spent(live) - before < MAX_CPU_S
    assert live.rss() - memory < MAX_GROWTH


def test_who_does_not_read_large_replies_holds_no_more_than_there_is_room_for(
    gateway_for: SharedGateways, upstream: Upstream
) -> None:
    live = gateway_for(PROVIDER_BIG_BASE_URL=upstream.url, MAX_RETRIES="0", BREAKER_THRESHOLD="0")
    raw = json.dumps({"model": "big", "messages": [{"role": "user", "content": "x"}]}).encode()
    head = f"POST /big/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEST_KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    memory, statuses = live.rss(), []
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((HOST, live.port), timeout=60)) for _ in range(ASKED)
        ]
        for connection in connections:
            connection.sendall(head.encode() + raw)
        statuses = [int(connection.recv(13).split()[1]) for connection in connections]
        peak = live.rss()
    assert set(statuses) <= {200, 503}
    assert 1 <= statuses.count(200) <= 4  # 30 MB each, of 128
    sys.stdout.write(f"{statuses.count(200)} of {ASKED} have {BIG >> 20} MB each: {(peak - memory) / 2**20:.0f} MB\n")
    assert peak - memory < MAX_GROWTH
    deadline = time.monotonic() + 30
    while post(live, "/big/v1/chat/completions", {"model": "big", "messages": []}).status_code == 503:
        assert time.monotonic() < deadline, "the room is not given back"
        time.sleep(0.1)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_stream_that_says_nothing_ends_with_the_time_for_its_first_chunk(
    gateway_for: SharedGateways, quiet: Upstream, provider: str
) -> None:
    addresses = {f"{name}_BASE_URL": quiet.url for name in ("OPENAI", "ANTHROPIC")}
    keys = {f"{name}_API_KEY": "k" for name in ("OPENAI", "ANTHROPIC")}
    live = gateway_for(
        **addresses, **keys, OLLAMA_HOST=quiet.url.removesuffix("/v1"), REQUEST_TIMEOUT_S="2", MAX_RETRIES="0"
    )
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    reply = post(live, f"/{provider}/v1/chat/completions", body)
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "upstream_timeout"


async def say_nothing(exchange: Exchange) -> None:
    """Whole events without end, none of which is an answer."""
    await exchange.open_stream()
    said = {
        "/v1/messages": b'event: ping\ndata: {"type":"ping"}\n\n',
        "/api/chat": b"\n",
    }.get(exchange.seen.path, HEAD.join([b"data: ", b"]}\n\n"]))
    while True:
        await exchange.chunk(said * 200)
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def quiet() -> Iterator[Upstream]:
    with running_upstream(say_nothing) as running:
        yield running
