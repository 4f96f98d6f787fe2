"""Trailers: fields behind a chunked body, from a client or an upstream. They are no headers, and they end."""

import contextlib
import json
import socket
import time

import pytest

from ai_gateway.config.constants import MAX_HEADER_COUNT
from tests.support.client import ask
from tests.support.gateway import HOST, TEST_KEY, LiveGateway
from tests.support.raw_http import BODY, exchange, parse
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

MB = 2**20
FLOOD = b"a:\r\n" * 16_384


def chunked(*headers: str, key: str | None = TEST_KEY, path: str = "/custom/v1/chat/completions") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", "Transfer-Encoding: chunked", *headers]
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, "", ""]).encode() + b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)


JSON = "Content-Type: application/json"


@pytest.mark.parametrize("joined", [True, False], ids=["one packet", "three packets"])
@pytest.mark.parametrize(
    ("sent", "trailer", "status"),
    [
        (chunked(JSON, key=None), f"Authorization: Bearer {TEST_KEY}", 401),
        (chunked(JSON, key=None), f"X-API-Key: {TEST_KEY}", 401),
        (chunked(), "Content-Type: application/json", 415),
        (chunked(JSON), "X-Request-ID: from-a-trailer", 200),
        (chunked(JSON), "Content-Encoding: gzip", 200),
        (chunked(JSON), "Expect: 100-continue", 200),
        (chunked(JSON), "Origin: https://evil.example", 200),
        (chunked(JSON), "Host: evil.example", 200),
        (chunked(JSON, "Connection: keep-alive"), "Connection: keep-alive", 200),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_a_trailer_is_no_header(gateway: LiveGateway, sent: bytes, trailer: str, status: int, *, joined: bool) -> None:
    end = sent.rindex(b"0\r\n")
    parts = [sent[:end], sent[end:], f"{trailer}\r\n\r\n".encode()]
    answer = parse(exchange(gateway, *([b"".join(parts)] if joined else parts), until=b"}"))
    assert answer is not None
    assert answer.status == status
    assert answer.headers["x-request-id"] != "from-a-trailer"
    assert b"100 Continue" not in answer.raw


def test_the_next_request_of_the_connection_has_none_of_its_trailers(gateway: LiveGateway) -> None:
    """Not even one that the parser still holds when the next head begins."""
    first = chunked(JSON) + f"Authorization: Bearer {TEST_KEY}\r\nX-Request-ID: from-a-trailer\r\n\r\n".encode()
    second = f"GET /v1/models HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    for parts in ((first + second,), (first, second), (first[:-3], first[-3:] + second)):
        received = exchange(gateway, *parts)
        heads = [part for part in received.split(b"HTTP/1.1 ") if part]
        assert [head[:3] for head in heads] == [b"200", b"401"]
        assert b"from-a-trailer" not in received


@pytest.mark.parametrize(
    "trailers",
    [
        b"a:\r\n" * (MAX_HEADER_COUNT + 1),
        b"a: " + b"x" * 70_000 + b"\r\n",
        b"a" * 70_000 + b": x\r\n",
        b"a: b\r\n" + (b"c: " + b"x" * 30_000 + b"\r\n") * 3,
    ],
    ids=["many", "a long value", "a long name", "long together"],
)
@pytest.mark.parametrize("joined", [True, False])
def test_trailers_have_the_limits_of_a_head(gateway: LiveGateway, trailers: bytes, *, joined: bool) -> None:
    parts = [chunked(JSON), trailers, b"\r\n"]
    received = exchange(gateway, *([b"".join(parts)] if joined else parts))
    assert received.count(b"HTTP/1.1 ") == 1
    if joined:  # else the body was whole to the application, which may have answered before the trailers came
        assert received.startswith(b"HTTP/1.1 431")


def test_as_many_as_a_head_may_have_are_read_and_dropped(gateway: LiveGateway) -> None:
    trailers = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 500) for number in range(80))
    received = exchange(gateway, chunked(JSON), trailers, b"\r\n", chunked(JSON, "Connection: close") + b"\r\n")
    assert received.count(b"HTTP/1.1 200") == 2


def flood(live: LiveGateway, beginning: bytes, rubbish: bytes, for_s: float) -> tuple[int, bytes]:
    """Send rubbish until the connection is closed, at most for a while: how much left here, and what came back."""
    sent, received = 0, b""
    until = time.monotonic() + for_s
    with socket.create_connection((HOST, live.port), timeout=10) as connection, contextlib.suppress(OSError):
        connection.sendall(beginning)
        while time.monotonic() < until:
            connection.sendall(rubbish)
            sent += len(rubbish)
        connection.settimeout(0.5)
    with contextlib.suppress(OSError):
        received = connection.recv(MB)
    return sent, received


@pytest.mark.parametrize("key", [TEST_KEY, None], ids=["with a key", "without a key"])
@pytest.mark.parametrize(
    "rubbish",
    [FLOOD, b"0" * 65_536, b"x" * 65_536],
    ids=["trailers", "digits of a size", "one name"],
)
def test_what_follows_a_body_without_end_is_closed_and_costs_no_memory(
    gateway: LiveGateway, rubbish: bytes, key: str | None
) -> None:
    before = gateway.rss()
    sent, _ = flood(gateway, chunked(JSON, key=key), rubbish, for_s=3)
    assert sent < 60 * MB, "the flood was read to its end"
    assert gateway.rss() - before < 20 * MB


def test_extensions_of_a_chunk_without_end_are_closed(gateway: LiveGateway) -> None:
    before = gateway.rss()
    beginning = chunked(JSON).partition(b"\r\n\r\n")[0] + b"\r\n\r\n5;a=" + b"b" * 100
    sent, _ = flood(gateway, beginning, b"c" * 65_536, for_s=3)
    assert sent < 60 * MB
    assert gateway.rss() - before < 20 * MB


def test_an_upload_of_many_small_chunks_is_no_flood(gateway: LiveGateway) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 60_000}]}).encode()
    head = chunked(JSON, "Connection: close").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    pieces = b"".join(b"1;why=not\r\n%c\r\n" % byte for byte in body)
    assert exchange(gateway, head, pieces + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_upstreams_trailers_are_none_of_its_headers(relay: LiveGateway, upstream: Upstream, *, stream: bool) -> None:
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    choice = {"index": 0, "finish_reason": "stop"}
    if stream:
        reply["object"] = "chat.completion.chunk"
        reply["choices"] = [{**choice, "delta": {"role": "assistant", "content": "Hello"}}]
        body, kind = b"data: " + json.dumps(reply).encode() + b"\n\ndata: [DONE]\n\n", b"text/event-stream"
    else:
        reply["choices"] = [{**choice, "message": {"role": "assistant", "content": "Hello"}}]
        body, kind = json.dumps(reply).encode(), b"application/json"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: " + kind + b"\r\n\r\n"
    trailers = b"x-ratelimit-remaining-requests: 7\r\ncontent-type: text/html\r\nretry-after: 9\r\n\r\n"
    upstream.program("trailers", head + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + trailers)
    answer = ask(relay, "trailers", provider="lab", stream=stream)
    assert answer.status_code == 200
    assert not {"x-ratelimit-remaining-requests", "retry-after"} & answer.headers.keys()
    assert "html" not in answer.headers["content-type"]
    assert "Hello" in answer.text


def test_an_upstreams_trailers_without_end_are_a_bad_reply(relay: LiveGateway, upstream: Upstream) -> None:
    before = relay.rss()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n"
    upstream.program("trailers-flood", head, *([FLOOD * 4] * 20))
    assert ask(relay, "trailers-flood", provider="lab").status_code == 502
    assert relay.rss() - before < 20 * MB
