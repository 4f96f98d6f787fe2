"""Pages of other origins, as their browsers ask for them."""

from typing import Any

import httpx2
import pytest

from ai_gateway.middleware.cors import Cors
from tests.support.client import client_of, post
from tests.support.command import run_command
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.raw_http import talk

APP, OTHER = "https://app.example.com", "https://other.example.com"
PATH = "/custom/v1/chat/completions"
# As OpenAI's SDK asks from within a page.
SDK = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-retry-count,x-stainless-timeout"


@pytest.fixture(scope="module")
def listed(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(CORS_ORIGINS=f"{APP}, http://localhost:3000")


@pytest.fixture(scope="module")
def anyone(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(CORS_ORIGINS="*")


def preflight(live: LiveGateway, origin: str, headers: str = SDK, path: str = PATH) -> httpx2.Response:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": headers,
    }
    with client_of(live, key=None) as client:
        return client.options(path, headers=asked)


def call(live: LiveGateway, origin: str | None, key: str = TEST_KEY, path: str = PATH, **more: Any) -> httpx2.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **more}
    return post(live, path, body, key=key, headers={"origin": origin} if origin else None)


def granted(reply: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("origin", [APP, "http://localhost:3000"])
def test_a_preflight_needs_no_key_and_allows_what_sdks_send(listed: LiveGateway, origin: str) -> None:
    reply = preflight(listed, origin)
    assert reply.status_code == 200
    assert reply.content == b""
    assert reply.headers["access-control-allow-origin"] == origin
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert reply.headers["access-control-allow-headers"] == SDK
    assert "Origin" in reply.headers["vary"]
    assert "access-control-allow-credentials" not in reply.headers
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_page_may_read_replies_and_streams_and_the_gateways_headers(listed: LiveGateway, stream: bool) -> None:
    reply = call(listed, APP, stream=stream)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == APP
    assert "Origin" in reply.headers["vary"]
    shown = reply.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "x-gateway-provider", "openai-processing-ms"} <= set(shown)


@pytest.mark.parametrize("path", ["/custom/v1/messages", "/v1/messages/batches"])
def test_a_page_may_read_the_headers_that_anthropics_sdk_reads(listed: LiveGateway, path: str) -> None:
    reply = call(listed, APP, path=path, max_tokens=5)
    assert "request-id" in reply.headers
    assert "request-id" in reply.headers["access-control-expose-headers"].split(", ")


def test_limits_of_anthropics_wire_are_shown_to_pages() -> None:
    limit = (b"anthropic-ratelimit-requests-remaining", b"5")
    (_, shown), *_ = (field for field in Cors([APP]).headers_for(APP.encode(), [limit]) if b"expose" in field[0])
    assert limit[0] in shown.split(b", ")


@pytest.mark.parametrize(
    ("path", "key", "more", "status"),
    [
        (PATH, "wrong", {}, 401),
        (PATH, TEST_KEY, {"messages": 5}, 400),
        ("/nowhere", TEST_KEY, {}, 404),
        ("/healthz", TEST_KEY, {}, 405),
        (PATH, TEST_KEY, {"model": "fault-429"}, 429),
    ],
)
def test_a_page_may_read_errors_too(
    listed: LiveGateway, path: str, key: str, more: dict[str, Any], status: int
) -> None:
    reply = call(listed, APP, key, path, **more)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]
    assert reply.headers["access-control-allow-origin"] == APP
    assert ("retry-after" in reply.headers["access-control-expose-headers"]) is (status == 429)


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        ("X-Filler: x\r\n" * 101, 431),
        ("Host: another\r\n", 400),
    ],
)
def test_a_page_may_read_why_a_head_is_refused(listed: LiveGateway, spoil: str, status: int) -> None:
    answer = talk(listed, f"POST {PATH} HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\n{spoil}\r\n".encode())
    assert answer is not None
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == APP
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", [OTHER, "https://app.example.com.evil.example", "http://app.example.com", "null"])
def test_an_origin_that_is_not_listed_is_allowed_nothing(listed: LiveGateway, origin: str) -> None:
    assert granted(preflight(listed, origin)) == {}
    assert preflight(listed, origin).status_code == 405
    reply = call(listed, origin)
    assert granted(reply) == {}
    assert "Origin" in reply.headers["vary"], "a cache must not show it to the origin that is listed"


def test_every_origin_may_call_where_a_star_stands_but_none_with_credentials(anyone: LiveGateway) -> None:
    for reply in (preflight(anyone, OTHER), call(anyone, OTHER), call(anyone, "null")):
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in reply.headers


def test_a_call_without_an_origin_is_no_matter_of_this(listed: LiveGateway, anyone: LiveGateway) -> None:
    for live in (listed, anyone):
        assert granted(call(live, None)) == {}


def test_an_options_request_that_is_no_preflight_is_refused_as_ever(listed: LiveGateway) -> None:
    with client_of(listed, key=None) as client:
        reply = client.options(PATH, headers={"origin": APP})
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("headers", ["a;b", "x-a: b", '"', "<b>"])
def test_names_that_are_no_headers_are_not_repeated(listed: LiveGateway, headers: str) -> None:
    reply = preflight(listed, APP, headers)
    assert reply.status_code == 200
    assert "access-control-allow-headers" not in reply.headers


def test_it_is_off_unless_origins_are_named(gateway: LiveGateway) -> None:
    assert preflight(gateway, APP).status_code == 405
    assert granted(preflight(gateway, APP)) == {}
    assert granted(call(gateway, APP)) == {}


@pytest.mark.parametrize(
    "value", ["app.example.com", f"{APP}/", f"{APP}/page", "https://*.example.com", "null", "https://"]
)
def test_what_is_no_origin_stops_the_start(value: str) -> None:
    done = run_command("serve", CORS_ORIGINS=value, SERVICE_PORT="0")
    assert done.returncode == 2
    assert "CORS_ORIGINS: " in done.stderr
