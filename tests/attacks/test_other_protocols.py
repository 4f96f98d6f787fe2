"""Request lines of other protocols and versions, which a parser of HTTP may take for its own."""

import pytest

from tests.support.gateway import HOST, TEST_KEY, LiveGateway
from tests.support.raw_http import BODY, exchange, parse, talk

pytestmark = pytest.mark.live

LINES = ["HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/0.9", "HTTP/1.2", "HTTP/9.9", "RTSP/1.0", "RTSP/2.0", "ICE/1.0",
         "SIP/2.0", "http/1.1", "HTTPS/1.1", "HTTP/01.1", "HTTP/1.1.1", "HTTP/1,1", "FTP/1.1"]  # fmt: skip


def asked(method: str, protocol: str) -> bytes:
    fields = f"Host: {HOST}\r\nAuthorization: Bearer {TEST_KEY}\r\nContent-Type: application/json\r\n"
    path = "/v1/models" if method != "POST" else "/custom/v1/chat/completions"
    return f"{method} {path} {protocol}\r\n{fields}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DESCRIBE", "SOURCE", "ANNOUNCE"])
@pytest.mark.parametrize("protocol", LINES)
def test_it_is_not_served(gateway: LiveGateway, method: str, protocol: str) -> None:
    request = asked(method, protocol)
    answer = talk(gateway, request)
    assert answer is not None
    assert answer.status in {400, 405}
    assert answer.error()["message"]
    assert answer.raw.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("cut", range(14, 26))
def test_no_cut_of_the_line_hides_it(gateway: LiveGateway, cut: int) -> None:
    request = asked("GET", "RTSP/1.0")
    answer = parse(exchange(gateway, request[:cut], request[cut : cut + 1], request[cut + 1 :]))
    assert answer is not None
    assert answer.status == 400


@pytest.mark.parametrize("protocol", ["RTSP/1.0", "ICE/1.0", "HTTP/2.0"])
def test_behind_a_request_that_is_served_it_is_not_either(gateway: LiveGateway, protocol: str) -> None:
    first = f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    second = f"GET /healthz {protocol}\r\nHost: {HOST}\r\n\r\n".encode()
    for parts in ((first + second,), (first, second)):
        received = exchange(gateway, *parts)
        assert received.count(b"HTTP/1.1 200") <= 1
        assert received.count(b"HTTP/1.1 400") == 1


@pytest.mark.parametrize("text", ["GET / RTSP/1.0", "x RTSP/1.0", "RTSP/1.0"])
def test_a_header_may_speak_of_them(gateway: LiveGateway, text: str) -> None:
    request = f"GET /healthz HTTP/1.0\r\nHost: {HOST}\r\nReferer: {text}\r\n\r\n".encode()
    assert exchange(gateway, request).startswith(b"HTTP/1.1 200")
