"""Clients that do not read, connections that say next to nothing, and heads that packets cut in odd places."""

import asyncio
import json
import socket
import time
from contextlib import suppress

import pytest
from starlette.types import Message

from ai_gateway.contract.disconnect import ClientGone
from ai_gateway.contract.write import send_whole
from tests.support.client import ask
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, SharedGateways, running_gateway
from tests.support.raw_http import BODY, exchange, head
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

ASK = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def gateway(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    limits = {"STREAM_IDLE_TIMEOUT_S": "1", "BODY_TIMEOUT_S": "1", "MAX_IN_FLIGHT": "1"}
    return gateway_for(PROVIDER_LAB_BASE_URL=upstream.url, **limits)


def unread(gateway: LiveGateway, path: str, body: dict[str, object]) -> socket.socket:
    """A request whose answer nobody reads."""
    raw = json.dumps(body).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((HOST, gateway.port))
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Authorization: Bearer {TEST_KEY}",
             "Content-Type: application/json", f"Content-Length: {len(raw)}", "", ""]  # fmt: skip
    connection.sendall("\r\n".join(lines).encode() + raw)
    return connection


def read_all(connection: socket.socket) -> bytes:
    received = bytearray()
    with suppress(ConnectionResetError):
        while part := connection.recv(2**20):
            received += part
    return bytes(received)


def trickle(connection: socket.socket, for_s: float) -> None:
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        connection.sendall(b"x")
        time.sleep(0.1)


def is_free(gateway: LiveGateway, within_s: float) -> bool:
    """Whether the one place for requests is free again within this time."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        reply = ask(gateway, "m", provider="custom")
        if reply.status_code == 200:
            return True
        assert reply.status_code == 503
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
def test_a_stream_that_nobody_reads_is_cut_and_its_upstream_left(
    gateway: LiveGateway, upstream: Upstream, path: str
) -> None:
    model = f"flood#{path}"
    with unread(gateway, path, {"model": f"lab/{model}", "stream": True, **ASK}):
        assert upstream.last(model).gone.wait(60)
        assert is_free(gateway, 30)


def test_a_whole_reply_that_nobody_reads_counts_until_it_is_cut(gateway: LiveGateway) -> None:
    texts: dict[str, object] = {"model": "m", "input": ["text"] * 2048}
    with unread(gateway, "/custom/v1/embeddings", texts) as connection:
        gateway.settle()
        assert ask(gateway, "m", provider="custom").status_code == 503
        assert is_free(gateway, 60)
        connection.settimeout(60)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(body) < length


def test_a_stream_that_is_read_too_slowly_says_so_when_its_time_is_over(upstream: Upstream) -> None:
    limits = {"STREAM_TIMEOUT_S": "2", "STREAM_IDLE_TIMEOUT_S": "60"}
    with (
        running_gateway(PROVIDER_LAB_BASE_URL=upstream.url, **limits) as gateway,
        unread(gateway, "/v1/chat/completions", {"model": "lab/flood#slow", "stream": True, **ASK}) as connection,
    ):
        assert upstream.last("flood#slow").gone.wait(60)  # before the client reads again
        connection.settimeout(60)
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received = (received + connection.recv(2**20))[-2000:]
        assert b'"code":"upstream_timeout"' in received
        assert b"[DONE]" not in received


@pytest.mark.parametrize("said", [[b"\r\n"], [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"], [b"x"]])
def test_a_connection_that_says_next_to_nothing_is_closed(gateway: LiveGateway, said: list[bytes]) -> None:
    received = exchange(gateway, *said)  # which reads until the end of the connection
    assert received.count(b"HTTP/1.1 200") == len(said) - 1


def test_the_rest_of_a_refused_body_may_not_trickle_in_for_ever(gateway: LiveGateway) -> None:
    request = head(b"x" * 10_000).replace(TEST_KEY.encode(), b"sk-wrong")
    with socket.create_connection((HOST, gateway.port), timeout=60) as connection:
        connection.sendall(request)
        assert b"401" in connection.recv(65536)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(connection, for_s=60)


def smuggling() -> bytes:
    inner = head(BODY) + BODY
    outer = f"POST /nowhere HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n"
    return f"{outer}Content-Length: {len(inner)}\r\n\r\n".encode() + inner


@pytest.mark.parametrize("cut", range(len("\r\nUpgrade: h2c\r\n")))
def test_no_cut_makes_a_body_a_request(gateway: LiveGateway, cut: int) -> None:
    raw = smuggling()
    at = raw.index(b"\r\nUpgrade") + cut
    received = exchange(gateway, raw[:at], raw[at:])
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.startswith(b"HTTP/1.1 404")


def test_an_offer_of_http2_that_is_cut_in_two_is_ignored_too(gateway: LiveGateway) -> None:
    request = head(BODY, "Connection: Upgrade, close", "Upgrade: h2c") + BODY
    at = request.index(b"Upgrade: h2c") + 3
    assert exchange(gateway, request[:at], request[at:]).startswith(b"HTTP/1.1 200")


def test_a_body_behind_a_cut_blank_line_is_whole(gateway: LiveGateway) -> None:
    body = b"{\nu"
    request = head(body, "Connection: close")
    received = exchange(gateway, request[:-1], request[-1:] + body)
    assert received.startswith(b"HTTP/1.1 400")
    assert b"JSON" in received


def test_an_upgrade_behind_another_request_is_refused(gateway: LiveGateway) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    received = exchange(gateway, first + smuggling())
    assert received.count(b"HTTP/1.1 ") <= 2
    assert b"chat.completion" not in received


LARGE = 400 * 1024
SOON_S = 20 + LARGE / 16_384  # what a reply of this size may take


@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.parametrize("path", ["/lab/v1/chat/completions", "/api/chat"])
def test_a_whole_reply_that_is_read_a_little_now_and_then_is_given_up(
    gateway_for: SharedGateways, upstream: Upstream, path: str
) -> None:
    """The stall timeout never comes for such a reader."""
    limits = {"STREAM_IDLE_TIMEOUT_S": "25", "MAX_IN_FLIGHT": "1"}
    live = gateway_for(PROVIDER_LAB_BASE_URL=upstream.url, **limits)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x" * LARGE}}
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    raw = json.dumps(reply).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(raw)
    upstream.program("large", head, raw)
    model = "large" if path.startswith("/lab") else "lab/large"
    began = time.monotonic()
    with unread(live, path, {"model": model, "stream": False, **ASK}) as connection:
        while not is_free(live, 1):
            assert time.monotonic() < began + SOON_S + 60
            with suppress(ConnectionError):
                connection.recv(4096)
    assert time.monotonic() > began + SOON_S - 10


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_large_body_has_a_time_that_grows_with_its_size() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 2:
            await asyncio.sleep(60)

    with pytest.raises(ClientGone):
        await send_whole(send, 200, b"text/plain", b"x" * (64 * 1024 + 1), {}, grace_s=0)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
