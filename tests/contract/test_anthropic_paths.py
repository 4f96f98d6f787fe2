"""Whose envelope an error has where no operation answers: paths that do not exist, wrong methods, spoilt heads.

Clients of Anthropic's API decide by its envelope what to do. They are known by their header, or by what only that API
has, with or without `/v1` and a provider in front.
"""

import json
from typing import Any

import pytest

from tests.support.client import client_of
from tests.support.gateway import HOST, TEST_KEY, LiveGateway
from tests.support.raw_http import talk

pytestmark = pytest.mark.live

VERSION = {"anthropic-version": "2023-06-01"}
GOOD = {"model": "custom-chat", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}

# Method, path and status: with the header and without it.
ANTHROPICS = [
    ("GET", "/v1/messages", 405), ("PUT", "/v1/messages", 405), ("DELETE", "/v1/messages", 405),
    ("GET", "/v1/messages/count_tokens", 405), ("PATCH", "/v1/messages/count_tokens", 405),
    ("GET", "/custom/v1/messages", 405), ("DELETE", "/custom/v1/messages/count_tokens", 405),
    ("POST", "/v1/messages/", 404), ("POST", "/v1/messages/count_tokens/", 404), ("POST", "/v1/messages//", 404),
    ("POST", "/v1/messages/batches", 404), ("GET", "/v1/messages/batches", 404),
    ("GET", "/v1/messages/batches/msgbatch_1", 404), ("GET", "/v1/messages/batches/msgbatch_1/results", 404),
    ("POST", "/v1/messages/batches/msgbatch_1/cancel", 404), ("DELETE", "/v1/messages/batches/msgbatch_1", 404),
    ("POST", "/custom/v1/messages/batches", 404), ("GET", "/custom/v1/messages/batches/msgbatch_1", 404),
    ("POST", "/messages", 404), ("POST", "/messages/count_tokens", 404), ("POST", "/messages/batches", 404),
    ("POST", "/custom/messages", 404), ("POST", "/custom/messages/count_tokens", 404),
    ("POST", "/v1/v1/messages", 404), ("POST", "/custom/v1/v1/messages", 404), ("POST", "/api/v1/messages", 404),
    ("POST", "/nobody/v1/messages", 404), ("POST", "/nobody/v1/messages/count_tokens", 404),
    ("POST", "/anthropic/proxy/v1/messages", 404), ("POST", "//v1/messages", 404),
    ("POST", "/v1/complete", 404), ("POST", "/complete", 404), ("POST", "/custom/v1/complete", 404),
    ("GET", "/v1/organizations/me", 404), ("GET", "/v1/organizations/usage_report/messages", 404),
]  # fmt: skip
# The same with the header only, without which they are another API's, or nobody's.
BY_HEADER = [
    ("GET", "/v1/models/none-such", 404, "openai"), ("GET", "/custom/v1/models/fault-model-not-found", 404, "openai"),
    ("GET", "/v1/models/fault-model-not-found", 404, "openai"), ("GET", "/nobody/v1/models", 404, "openai"),
    ("POST", "/v1/models", 405, "openai"), ("DELETE", "/v1/models", 405, "openai"),
    ("DELETE", "/v1/models/custom-chat", 405, "openai"), ("POST", "/custom/v1/models", 405, "openai"),
    ("POST", "/v1/models/a/b", 405, "openai"),
    ("POST", "/v1/files", 404, "openai"), ("GET", "/v1/files/file_1", 404, "openai"),
    ("GET", "/v1/files/file_1/content", 404, "openai"), ("DELETE", "/custom/v1/files/file_1", 404, "openai"),
    ("GET", "/v1/skills", 404, "openai"), ("POST", "/v1/agents", 404, "openai"), ("GET", "/models", 404, "openai"),
    ("GET", "/v1/nothing", 404, "openai"), ("GET", "/nothing", 404, "openai"), ("POST", "/v1", 404, "openai"),
    ("POST", "/api/event_logging/batch", 404, "ollama"), ("POST", "/api/hello", 405, "ollama"),
]  # fmt: skip
# Another API's operation, or one that has the same word in its path, whoever sends the header.
OTHERS = [
    ("GET", "/v1/chat/completions", 405, "openai"), ("DELETE", "/custom/v1/embeddings", 405, "openai"),
    ("GET", "/api/chat", 405, "ollama"), ("GET", "/api/generate", 405, "ollama"),
    ("PUT", "/v1/responses", 405, "openai"),
]  # fmt: skip
OPENAIS = [("POST", "/v1/threads/thread_1/messages", 404), ("POST", "/v1/uploads/upload_1/complete", 404)]
TYPES = {404: "not_found_error", 405: "invalid_request_error"}


def wire_of(value: Any) -> str:
    """Whose envelope it is."""
    if value.get("type") == "error":
        return "anthropic"
    return "ollama" if isinstance(value["error"], str) else "openai"


def asked(live: LiveGateway, method: str, path: str, *, version: bool) -> tuple[int, Any, Any]:
    with client_of(live) as client:
        reply = client.request(method, live.base_url + path, headers=VERSION if version else {}, json=GOOD)
    return reply.status_code, reply.json(), reply.headers


def check(status: int, body: Any, headers: Any) -> None:
    """An error as the service has it, whose id is that of the reply."""
    assert list(body) == ["type", "error", "request_id"]
    assert body["error"].keys() == {"type", "message"}
    assert body["error"]["type"] == TYPES[status]
    assert body["request_id"] == headers["request-id"] == headers["x-request-id"]
    assert "/home/" not in body["error"]["message"]
    assert ("allow" in headers) is (status == 405)


@pytest.mark.parametrize("version", [False, True], ids=["without the header", "with it"])
@pytest.mark.parametrize(("method", "path", "status"), ANTHROPICS)
def test_paths_that_only_this_api_has(gateway: LiveGateway, method: str, path: str, status: int, version: bool) -> None:
    reported, body, headers = asked(gateway, method, path, version=version)
    assert reported == status, body
    check(status, body, headers)


@pytest.mark.parametrize(("method", "path", "status", "otherwise"), BY_HEADER)
def test_the_header_decides_where_others_have_the_path_too(
    gateway: LiveGateway, method: str, path: str, status: int, otherwise: str
) -> None:
    reported, body, headers = asked(gateway, method, path, version=True)
    assert reported == status, body
    check(status, body, headers)
    reported, body, headers = asked(gateway, method, path, version=False)
    assert (reported, wire_of(body)) == (status, otherwise)
    assert "request-id" not in headers


@pytest.mark.parametrize(("method", "path", "status", "wire"), OTHERS)
def test_operations_of_others_stay_theirs(gateway: LiveGateway, method: str, path: str, status: int, wire: str) -> None:
    for version in (False, True):
        reported, body, _ = asked(gateway, method, path, version=version)
        assert (reported, wire_of(body)) == (status, wire)


@pytest.mark.parametrize(("method", "path", "status"), OPENAIS)
def test_words_that_openais_api_has_as_well(gateway: LiveGateway, method: str, path: str, status: int) -> None:
    reported, body, _ = asked(gateway, method, path, version=False)
    assert (reported, wire_of(body)) == (status, "openai")


def test_what_is_not_served_is_told_with_what_is(gateway: LiveGateway) -> None:
    for path, hint in (
        ("/v1/messages/batches", "Of Anthropic's API there are /v1/messages, /v1/messages/count_tokens and /v1/models"),
        ("/custom/messages", "The likely path is /custom/v1/messages: clients that add /v1 themselves"),
        ("/v1/complete", "Of Anthropic's API there are"),
    ):
        _, body, _ = asked(gateway, "POST", path, version=False)
        assert hint in body["error"]["message"]


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"x-api-key: {TEST_KEY}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def refused(live: LiveGateway, data: bytes, *statuses: int) -> None:
    answer = talk(live, data)
    assert answer is not None
    assert answer.status in statuses, answer.raw[:300]
    body = json.loads(answer.body)
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert body["request_id"] == answer.headers["request-id"]


MANY = [f"x-{at}: 1" for at in range(300)]
LARGE = [f"x-large: {'a' * 100_000}"]
SPOILT = {
    "too many headers": MANY,
    "too large": LARGE,
    "two hosts": [f"Host: {HOST}"],
    "a header that is none": ["no colon"],
    "two lengths": ["Content-Length: 1", "Content-Length: 2"],
}
SOCKET = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"]


@pytest.mark.parametrize("fault", SPOILT)
@pytest.mark.parametrize(("path", "version"), [("/v1/messages", False), ("/custom/v1/messages", False),
                                               ("/v1/models", True)])  # fmt: skip
def test_heads_that_cannot_be_served(gateway: LiveGateway, fault: str, path: str, version: bool) -> None:
    own = ["anthropic-version: 2023-06-01", "Accept: */*"] if version else []
    refused(gateway, head(path, *own, *SPOILT[fault]), 400, 431)


@pytest.mark.parametrize("path", ["/v1/messages", "/custom/v1/messages", "/v1/messages/count_tokens"])
def test_there_are_no_websockets(gateway: LiveGateway, path: str) -> None:
    refused(gateway, head(path, *SOCKET, method="GET"), 426)


def test_a_body_that_is_none_behind_a_good_head(gateway: LiveGateway) -> None:
    chunked = head("/v1/messages", "Transfer-Encoding: chunked", "Content-Type: application/json") + b"zz\r\n"
    refused(gateway, chunked, 400)
    plain = head("/v1/chat/completions", "Transfer-Encoding: chunked", "Content-Type: application/json") + b"zz\r\n"
    other = talk(gateway, plain)
    assert other is not None
    assert other.error()["message"]
