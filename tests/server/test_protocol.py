"""One connection, as odd clients and a stopping server use it."""

import json
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.raw_http import BODY, exchange, head

pytestmark = pytest.mark.live


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("name", ["Upgrade", "upgrade", "UPGRADE"])
def test_an_offer_of_http2_is_ignored_and_the_request_answered(
    gateway: LiveGateway, name: str, *, together: bool
) -> None:
    offer = head(
        BODY, "Connection: Upgrade, HTTP2-Settings, close", f"{name}: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk"
    )
    reply = exchange(gateway, offer + BODY) if together else exchange(gateway, offer, BODY)
    assert reply.startswith(b"HTTP/1.1 200")
    assert reply.count(b"HTTP/1.1") == 1


def test_a_body_that_speaks_of_upgrades_arrives_unchanged(gateway: LiveGateway) -> None:
    body = json.dumps({"model": "m\r\nUpgrade: x", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    reply = exchange(gateway, head(body, "Connection: close") + body)
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["model"] == "m\r\nUpgrade: x"


def stopped(body: bytes, begun: Callable[[socket.socket], bytes], provider: str = "custom", **env: str) -> bytes:
    """What a client gets whose request is in flight when the grace time is over; `begun` waits until it is."""
    with (
        running_gateway(ALLOWED_API_KEYS=TEST_KEY, GRACE_PERIOD_S="1", **env) as gateway,
        socket.create_connection((HOST, gateway.port), timeout=60) as client,
    ):
        client.sendall(head(body, provider=provider) + body)
        received = begun(client)
        gateway.process.send_signal(signal.SIGTERM)
        while part := client.recv(65536):
            received += part
        assert gateway.process.wait(60) == 0
        assert "Traceback" not in gateway.log()
    return received


def test_a_stream_that_outlives_the_grace_time_ends_in_an_error_and_not_in_done() -> None:
    slow = {"model": "fault-slow", "messages": [{"role": "user", "content": "Tell me"}], "stream": True}
    received = stopped(json.dumps(slow).encode(), lambda client: client.recv(65536))
    assert received.startswith(b"HTTP/1.1 200")
    assert b'"code":"overloaded"' in received
    assert b"[DONE]" not in received


def test_a_reply_that_outlives_the_grace_time_is_503_in_the_envelope() -> None:
    with socket.create_server((HOST, 0)) as silent, ExitStack() as asked:  # takes a request and never answers

        def arrived(_: socket.socket) -> bytes:
            asked.enter_context(silent.accept()[0])
            return b""

        address = f"http://{HOST}:{silent.getsockname()[1]}/v1"
        received = stopped(BODY, arrived, "openai", OPENAI_BASE_URL=address, OPENAI_API_KEY="k")
    assert received.startswith(b"HTTP/1.1 503")
    assert b"retry-after" in received
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"


def old_style(request: bytes) -> bytes:
    return request.replace(b" HTTP/1.1", b" HTTP/1.0", 1)


@pytest.mark.parametrize("fault", [False, True], ids=["whole", "broken off"])
def test_a_stream_for_http_1_0_ends_with_its_connection_and_has_no_chunks(gateway: LiveGateway, *, fault: bool) -> None:
    asked = {"model": "fault-truncate" if fault else "m", "messages": [{"role": "user", "content": "Hi"}]}
    body = json.dumps({**asked, "stream": True}).encode()
    reply = exchange(gateway, old_style(head(body) + body))
    answer, _, events = reply.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding" not in answer
    assert b"connection: close" in answer
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n") is not fault
    for event in events.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")[:-1]:
        json.loads(event.removeprefix(b"data: "))


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/docs", "/nowhere"])
def test_a_reply_for_http_1_0_has_a_length(gateway: LiveGateway, path: str) -> None:
    request = f"GET {path} HTTP/1.0\r\nAuthorization: Bearer {TEST_KEY}\r\nConnection: keep-alive\r\n\r\n"
    answer, _, body = exchange(gateway, request.encode()).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in answer
    assert f"content-length: {len(body)}".encode() in answer
    assert body


@pytest.mark.parametrize("path", ["/", "/healthz", "/health", "/ready"])
def test_head_answers_on_the_wire_as_get_does_but_without_a_body(gateway: LiveGateway, path: str) -> None:
    reply = exchange(gateway, f"HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 200")
    assert reply.endswith(b"\r\n\r\n")
