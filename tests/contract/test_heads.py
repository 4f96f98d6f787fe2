"""HEAD: every path that takes GET answers it alike, but without a body (RFC 9110, section 9.3.2)."""

import pytest

from tests.contract.raw_cases import request
from tests.support.administration import ADMIN_KEY
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.raw_http import Answer, talk

pytestmark = pytest.mark.live
_DIFFER = {"date", "x-request-id", "request-id", "openai-processing-ms", "x-gateway-processing-ms"}


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(ADMIN_API_KEY=ADMIN_KEY)


def asked(live: LiveGateway, method: str, path: str, *headers: str) -> Answer:
    key = ADMIN_KEY if "/organization" in path or "/gateway/" in path else TEST_KEY
    answer = talk(live, request(method=method, path=path, headers=("Connection: close", *headers), key=key))
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/v1/organization/projects",
        "/v1/organization/admin_api_keys",
        "/v1/organization/projects/proj_unknown",
        "/v1/organization/usage/completions?start_time=1",
        "/v1/gateway/requests",
        "/v1/models",
        "/custom/v1/models",
        "/custom/v1/models/custom-chat",
        "/nobody/v1/models",
        "/v1/responses/resp_unknown",
        "/v1/version",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/api/ps",
    ],
)
def test_a_path_that_takes_get_takes_head(live: LiveGateway, path: str) -> None:
    got, head = asked(live, "GET", path), asked(live, "HEAD", path)
    assert head.status == got.status != 405
    assert got.body
    assert head.raw.endswith(b"\r\n\r\n")
    assert head.body == b""
    same = got.headers.keys() - _DIFFER
    assert head.headers.keys() - _DIFFER == same
    if path != "/metrics":
        assert {name: head.headers[name] for name in same} == {name: got.headers[name] for name in same}


def test_models_have_anthropics_shape_for_its_clients(live: LiveGateway) -> None:
    version = "anthropic-version: 2023-06-01"
    got, head = asked(live, "GET", "/v1/models", version), asked(live, "HEAD", "/v1/models", version)
    assert head.headers["content-length"] == got.headers["content-length"]
    assert b"display_name" in got.body


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/messages"])
def test_a_path_that_takes_post_alone_says_so(live: LiveGateway, path: str) -> None:
    """Also where the first request to Anthropic's API was one at a path that OpenAI's has too."""
    asked(live, "GET", "/v1/models", "anthropic-version: 2023-06-01")
    head = asked(live, "HEAD", path)
    assert (head.status, head.headers["allow"], head.body) == (405, "POST", b"")
