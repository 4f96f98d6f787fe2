"""Bad bytes on Ollama's wire: refused in its words, and what its own server does not mind is no reason to refuse."""

import json

import pytest

from tests.contract.ollama_raw_cases import BODIES, CHAT, ROWS, good
from tests.contract.raw_cases import CANARY, LIMIT, Row, request
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.raw_http import Answer, talk


@pytest.fixture(scope="module")
def strict_gateway(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(REQUEST_MAX_SIZE=str(LIMIT), BODY_TIMEOUT_S="1")


def judge(row: Row, answer: Answer | None) -> None:
    assert answer is not None
    assert answer.status in row.statuses, answer.raw[:600]
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    if answer.status == 200:
        return
    assert CANARY.encode() not in answer.raw.lower(), "the input came back"
    said = json.loads(answer.body)
    assert list(said) == ["error"]
    assert isinstance(said["error"], str)
    assert said["error"]
    if answer.status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if answer.status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_bad_bytes_are_refused_in_the_words_of_the_wire(strict_gateway: LiveGateway, row: Row) -> None:
    judge(row, talk(strict_gateway, row.data))


def test_no_two_rows_have_one_name_and_there_are_enough() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert len(names) >= 150


@pytest.mark.parametrize("path", BODIES)
def test_the_good_requests_that_the_rows_spoil_are_answered(strict_gateway: LiveGateway, path: str) -> None:
    answer = talk(strict_gateway, request(good(path), path=path))
    assert answer is not None
    assert answer.status == 200, answer.raw


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-16", "image/png", "", None],
)
def test_a_program_may_call_its_json_what_it_likes(strict_gateway: LiveGateway, kind: str | None) -> None:
    answer = talk(strict_gateway, request(good(CHAT), path=CHAT, content_type=kind))
    assert answer is not None
    assert answer.status == 200, answer.raw


def test_a_web_page_that_calls_it_json_is_answered(strict_gateway: LiveGateway) -> None:
    """Browsers ask before they send that to another site, so the page has leave."""
    answer = talk(strict_gateway, request(good(CHAT), path=CHAT, headers=("Origin: http://localhost:3000",)))
    assert answer is not None
    assert answer.status == 200


def test_openais_wire_beside_it_minds_still(strict_gateway: LiveGateway) -> None:
    answer = talk(strict_gateway, request(good(CHAT), content_type=None))
    assert answer is not None
    assert answer.status == 415
    assert answer.error()["code"] == "unsupported_media_type"


def test_heads_are_answered_without_a_body(strict_gateway: LiveGateway) -> None:
    for path, status in (("/api/tags", 200), ("/api/version", 200), ("/", 200), ("/api/blobs/sha256:a", 501)):
        answer = talk(strict_gateway, request(method="HEAD", path=path, headers=("Connection: close",)))
        assert answer is not None
        assert answer.status == status
        assert answer.body == b""
