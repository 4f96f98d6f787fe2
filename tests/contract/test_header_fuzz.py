"""Any header with any value: never a failure of ours, never another route, never a line of its own in the log."""

import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.contract.raw_cases import GOOD, request
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.raw_http import Answer, talk

pytestmark = pytest.mark.live

KNOWN = [
    *("accept", "accept-encoding", "accept-language", "authorization", "api-key", "x-api-key", "cookie", "origin"),
    *("connection", "content-encoding", "content-language", "content-length", "content-type", "date", "expect"),
    *("forwarded", "from", "host", "if-match", "if-none-match", "keep-alive", "max-forwards", "range", "referer"),
    *("te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via", "warning", "x-forwarded-for"),
    *("x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix", "x-original-url", "x-rewrite-url", "x-real-ip"),
    *("x-http-method-override", "x-request-id", "x-gateway-provider", "x-stainless-lang", "openai-organization"),
    *("access-control-request-method", "access-control-request-headers", "traceparent", "idempotency-key"),
]
TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+.^_`|~-", min_size=1, max_size=30)
NAMES = st.sampled_from(KNOWN) | TOKEN
TRICKS = st.sampled_from(
    [
        *("", " ", "\t", "close", "keep-alive", "chunked", "gzip, chunked", "h2c", "100-continue", "0", "-1", "5, 5"),
        *(
            "/healthz",
            "http://127.0.0.1/healthz",
            "openai",
            "custom",
            "../../etc/passwd",
            "${jndi:ldap://x}",
            "' OR 1=1--",
        ),
        *("a\rb", "a\nb", "a\r\nX-Injected: yes", "a\0b", "\x7f", "é", '"', "%0d%0aX-Injected: yes", "x" * 9000),
    ]
)
VALUES = (TRICKS | st.text(st.characters(max_codepoint=255), max_size=60)).filter(lambda value: "\r\n\r\n" not in value)
HEADERS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def guarded(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(BODY_TIMEOUT_S="1", CORS_ORIGINS="https://app.example.com")


def send(live: LiveGateway, headers: list[tuple[str, str]], key: str | None) -> Answer | None:
    lines = tuple(f"{name}: {value}" for name, value in headers)
    return talk(live, request(GOOD, key=key, headers=("Connection: close", *lines)))


def judge(answer: Answer | None) -> None:
    assert answer is not None
    assert "x-injected" not in answer.headers
    assert b"\r\nx-injected" not in answer.raw.lower()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=HEADERS)
def test_no_header_breaks_the_gateway_or_changes_who_answers(
    guarded: LiveGateway, headers: list[tuple[str, str]]
) -> None:
    answer = send(guarded, headers, TEST_KEY)
    judge(answer)
    assert answer is not None
    assert answer.status == 100 or answer.status < 500, answer.raw[:300]
    if answer.status == 200:
        assert answer.headers["x-gateway-provider"] == "custom"
        assert b"custom-model" in answer.body


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=HEADERS)
def test_no_header_opens_the_door(guarded: LiveGateway, headers: list[tuple[str, str]]) -> None:
    answer = send(guarded, headers, None)
    judge(answer)
    assert answer is not None
    assert 400 <= answer.status < 500


@pytest.mark.parametrize("host", ["healthz", "127.0.0.1/healthz", "openai", "evil.example", "[::1]", "a:99999", "docs"])
def test_the_host_changes_neither_the_route_nor_the_need_for_a_key(guarded: LiveGateway, host: str) -> None:
    data = {
        key: request(GOOD, key=key).replace(b"Host: 127.0.0.1", f"Host: {host}".encode()) for key in (TEST_KEY, None)
    }
    known, unknown = talk(guarded, data[TEST_KEY]), talk(guarded, data[None])
    assert known is not None
    assert unknown is not None
    assert (known.status, unknown.status) == (200, 401)
    assert known.headers["x-gateway-provider"] == "custom"


def test_whatever_was_sent_the_log_is_one_record_a_line(guarded: LiveGateway) -> None:
    for value in ('a\r\n{"event":"forged"}', "\x1b[31mred", "é\u0085x", '"},{"event":"forged'):
        for name in ("X-Request-ID", "User-Agent", "Host", "X-Forwarded-For"):
            send(guarded, [(name, value)], TEST_KEY)
    talk(guarded, request(GOOD, path='/v1/"},{"event":"forged"}%0d%0a{"event":"forged"}'))
    records = [json.loads(line) for line in guarded.log().splitlines() if line.startswith("{")]
    lines = [line for line in guarded.log().splitlines() if line.strip() and not line.startswith(("Universal", "  "))]
    assert len(records) == len(lines) > 10
    assert not [record for record in records if record["event"] == "forged"]
    assert "\x1b" not in guarded.log()
