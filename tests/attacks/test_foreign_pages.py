"""What a web page, or a name pointed at this machine, gets of a gateway without keys; and what two credentials mean."""

import json

import pytest

from tests.support.gateway import HOST, TEST_KEY, LiveGateway, SharedGateways, in_front_of
from tests.support.raw_http import Answer, talk
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

APP = "https://app.example.com"


@pytest.fixture
def open_gateway(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return gateway_for(ALLOWED_API_KEYS="", CORS_ORIGINS=APP, **in_front_of(upstream))


def get(live: LiveGateway, path: str, *headers: str, host: str = HOST) -> Answer:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    answer = talk(live, "\r\n".join(lines).encode())
    assert answer is not None
    return answer


READS = ["/v1/models", "/lab/v1/models", "/lab/v1/models/good", "/v1/models/lab/good", "/v1/parameters", "/api/tags"]
HOSTS = ["evil.example", "rebound", "gpu:9000", "localhost.", "localhost.evil.example", "localhost:evil",
         "127.0.0.1.nip.io", "0.0.0.0", "[::]",  # noqa: S104 - a name that is refused
         "[::1].evil", "127.0.0.1:80:80", "2130706433", "0x7f.1", "127.1", ""]  # fmt: skip
OWN = ["127.0.0.1", "127.0.0.1:9000", "127.1.2.3", "localhost", "LOCALHOST:1", "[::1]", "[::1]:9000", "localhost:"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_name_that_was_pointed_here_gets_nothing(open_gateway: LiveGateway, upstream: Upstream, host: str) -> None:
    before = len(upstream.requests)
    for path in READS:
        assert get(open_gateway, path, host=host).status in {400, 401}
    assert list(json.loads(get(open_gateway, "/health", host=host).body)) in (["status"], ["error"])
    open_gateway.settle()  # what /health asks for is asked beside its answer
    assert len(upstream.requests) == before


@pytest.mark.parametrize("host", OWN)
def test_this_machine_is_served_by_each_of_its_own_names(open_gateway: LiveGateway, host: str) -> None:
    assert get(open_gateway, "/lab/v1/models/good", host=host).status == 200
    assert "providers" in json.loads(get(open_gateway, "/health", host=host).body)


@pytest.mark.parametrize(
    "headers",
    [
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
        ("Sec-Fetch-Site: nonsense",),
        ("Origin: https://evil.example",),
        ("Origin: null",),
        ("Origin: http://127.0.0.1:1",),
        ("Origin: https://evil.example", "Sec-Fetch-Site: same-origin"),
    ],
    ids=lambda value: value[0],
)
def test_a_page_of_another_site_makes_no_upstream_call(
    open_gateway: LiveGateway, upstream: Upstream, headers: tuple[str, ...]
) -> None:
    before = len(upstream.requests)
    for path in READS:
        answer = get(open_gateway, path, *headers)
        assert answer.status == 401
        assert b"CORS_ORIGINS" in answer.body
    assert len(upstream.requests) == before


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Sec-Fetch-Site: none",),
        ("Sec-Fetch-Site: same-origin",),
        (f"Origin: {APP}", "Sec-Fetch-Site: cross-site"),
        (f"Origin: http://{HOST}",),
    ],
)
def test_a_program_the_address_bar_and_an_allowed_page_may_read(
    open_gateway: LiveGateway, headers: tuple[str, ...]
) -> None:
    assert get(open_gateway, "/lab/v1/models/good", *headers).status == 200


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"])
def test_what_came_through_a_proxy_is_not_this_machine(open_gateway: LiveGateway, name: str) -> None:
    assert get(open_gateway, "/v1/models", f"{name}: 192.0.2.1").status == 401
    assert list(json.loads(get(open_gateway, "/health", f"{name}: 192.0.2.1").body)) == ["status"]


def test_where_there_are_keys_details_need_one(gateway: LiveGateway) -> None:
    """A proxy in its usual configuration says nothing of itself, and serves anybody."""
    assert json.loads(get(gateway, "/health").body) == {"status": "ok"}
    assert "providers" in json.loads(get(gateway, "/health", f"Authorization: Bearer {TEST_KEY}").body)


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "Api-Key"])
def test_a_credential_that_is_sent_twice_is_refused_and_said_so(gateway: LiveGateway, name: str) -> None:
    prefix = "Bearer " if name == "Authorization" else ""
    for values in ((TEST_KEY, "other"), ("other", TEST_KEY), (TEST_KEY, TEST_KEY)):
        for path in ("/v1/models", "/api/tags", "/health"):
            answer = get(gateway, path, *(f"{name}: {prefix}{value}" for value in values))
            assert answer.status == 400
            assert b"more than once" in answer.body


def test_other_headers_may_be_sent_twice(gateway: LiveGateway) -> None:
    answer = get(gateway, "/v1/models", f"Authorization: Bearer {TEST_KEY}", "Accept: a/b", "Accept: c/d")
    assert answer.status == 200


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_key_may_have_umlauts_however_its_client_writes_them(gateway_for: SharedGateways, encoding: str) -> None:
    live = gateway_for(ALLOWED_API_KEYS="schlüssel-für-täglich,plain-key-123")
    for name, prefix in (("Authorization", "Bearer "), ("X-API-Key", "")):
        for key, status in (("schlüssel-für-täglich", 200), ("plain-key-123", 200), ("schlüssel-für-täglicH", 401)):
            head = f"GET /v1/models HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{name}: {prefix}{key}\r\n\r\n"
            answer = talk(live, head.encode(encoding))
            assert answer is not None
            assert answer.status == status
