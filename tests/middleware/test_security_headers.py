"""What every reply says to browsers."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx2
import pytest

from tests.support.client import client_of
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.raw_http import Answer, talk

pytestmark = pytest.mark.live

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
OWN = ("x-content-type-options", "x-frame-options", "referrer-policy", "permissions-policy")


def ask(live: LiveGateway, method: str, path: str, **more: object) -> httpx2.Response:
    with client_of(live) as client:
        return client.request(method, path, json=more or None)


def judge(headers: dict[str, str] | httpx2.Headers) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] in {"no-store", "no-cache"}
    assert "server" not in headers
    assert "x-powered-by" not in headers
    assert abs(parsedate_to_datetime(headers["date"]) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/health", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/openapi.yaml", 200),
        ("GET", "/docs", 200),
        ("GET", "/redoc", 200),
        ("GET", "/custom/v1/models", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_every_reply_has_them(gateway: LiveGateway, method: str, path: str, status: int) -> None:
    reply = ask(gateway, method, path)
    assert reply.status_code == status
    judge(reply.headers)
    assert ("content-security-policy" in reply.headers) is (path in {"/docs", "/redoc"})


def test_replies_streams_and_errors_have_them_once(gateway: LiveGateway) -> None:
    for more, status in (({**CHAT}, 200), ({**CHAT, "stream": True}, 200), ({"model": "m"}, 400)):
        reply = ask(gateway, "POST", "/custom/v1/chat/completions", **more)
        assert reply.status_code == status
        judge(reply.headers)
        assert {name: len(reply.headers.get_list(name)) for name in (*OWN, "cache-control")} == dict.fromkeys(
            (*OWN, "cache-control"), 1
        )


def test_what_is_no_http_gets_them_as_well(gateway: LiveGateway) -> None:
    answer = talk(gateway, b"GET / HTTP/1.1\r\nbroken\r\n\r\n")
    assert isinstance(answer, Answer)
    assert answer.status == 400
    assert answer.error()["code"] is None
    judge(answer.headers)


@pytest.mark.parametrize("env", [{}, {"ENABLE_SECURITY_HEADERS": "false"}, {"CORS_ORIGINS": "https://app.example.com"}])
def test_a_refusal_of_the_parser_has_the_headers_of_any_other(gateway_for: SharedGateways, env: dict[str, str]) -> None:
    live = gateway_for(**env)
    of_the_layer, of_the_parser = (
        talk(live, request) for request in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nbroken\r\n\r\n")
    )
    assert of_the_layer is not None
    assert of_the_parser is not None
    assert of_the_layer.status == of_the_parser.status == 400
    assert of_the_layer.headers.keys() == of_the_parser.headers.keys()
    assert {"x-request-id", "openai-processing-ms", "openai-version", "connection"} <= of_the_parser.headers.keys()
    changing = {"date", "x-request-id", "openai-processing-ms", "content-length"}
    for name in of_the_layer.headers.keys() - changing:
        assert of_the_layer.headers[name] == of_the_parser.headers[name]


def test_they_can_be_left_to_a_proxy(gateway_for: SharedGateways) -> None:
    live = gateway_for(ENABLE_SECURITY_HEADERS="false")
    replies = [ask(live, "GET", "/v1/models"), ask(live, "POST", "/v1/chat/completions", **CHAT)]
    broken = talk(live, b"GET / HTTP/1.1\r\nbroken\r\n\r\n")
    assert broken is not None
    for headers in (*(reply.headers for reply in replies), broken.headers):
        assert not [name for name in OWN if name in headers]
        assert "server" not in headers
