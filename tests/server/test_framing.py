"""Where a request ends: what its head says of that is understood, or refused, and the connection with it."""

import socket

import pytest

from tests.contract.raw_cases import CHAT, GOOD, chunked, request
from tests.support.gateway import HOST, LiveGateway
from tests.support.raw_http import ANSWER_S, parse, receive, talk

pytestmark = pytest.mark.live
WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)


def coded(*values: str, version: str = "1.1", path: str = CHAT) -> bytes:
    data = chunked(WHOLE, headers=tuple(f"Transfer-Encoding: {value}" for value in values))
    return data.replace(b" HTTP/1.1", f" HTTP/{version}".encode(), 1).replace(CHAT.encode(), path.encode(), 1)


@pytest.mark.parametrize("values", [("chunked",), ("Chunked",), (" ,chunked ",)])
def test_a_body_in_chunks_is_read(gateway: LiveGateway, values: tuple[str, ...]) -> None:
    answer = talk(gateway, coded(*values))
    assert answer is not None
    assert answer.status == 200


@pytest.mark.parametrize(
    "values", [("gzip, chunked",), ("gzip", "chunked"), ("br,deflate , Chunked",), ("x-a,chunked",)]
)
def test_another_coding_below_the_chunks_is_501_and_ends_the_connection(
    gateway: LiveGateway, values: tuple[str, ...]
) -> None:
    answer = talk(gateway, coded(*values))
    assert answer is not None
    assert (answer.status, answer.error()["code"]) == (501, "not_implemented")
    assert "Transfer-Encoding" in str(answer.error()["message"])
    assert answer.headers["connection"] == "close"


def test_the_refusal_of_a_coding_has_the_format_of_its_api(gateway: LiveGateway) -> None:
    for path, words in (("/v1/messages", b'{"type":"error","error":'), ("/api/chat", b'{"error":"The gateway')):
        answer = talk(gateway, coded("gzip, chunked", path=path))
        assert answer is not None
        assert answer.status == 501
        assert answer.body.startswith(words)


@pytest.mark.parametrize("values", [("gzip",), ("chunked, gzip",), ("chunked", "chunked"), ("identity",), ("",)])
def test_a_coding_that_does_not_end_in_chunks_is_400_and_ends_the_connection(
    gateway: LiveGateway, values: tuple[str, ...]
) -> None:
    answer = talk(gateway, coded(*values))
    assert answer is not None
    assert answer.status == 400
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("values", [("chunked",), ("gzip, chunked",)])
def test_chunks_have_no_meaning_in_http_1_0(gateway: LiveGateway, values: tuple[str, ...]) -> None:
    answer = talk(gateway, coded(*values, version="1.0"))
    assert answer is not None
    assert answer.status == 400
    assert answer.headers["connection"] == "close"


def test_what_follows_a_refused_coding_is_not_read_as_a_request(gateway: LiveGateway) -> None:
    with socket.create_connection((HOST, gateway.port), timeout=ANSWER_S) as connection:
        connection.sendall(coded("gzip, chunked") + request(GOOD))
        raw = receive(connection)
    assert raw.count(b"HTTP/1.1 ") == 1
    answer = parse(raw)
    assert answer is not None
    assert answer.status == 501


def test_http_1_0_gets_no_interim_response(gateway: LiveGateway) -> None:
    data = request(GOOD, headers=("Expect: 100-continue",))
    answer = talk(gateway, data.replace(b" HTTP/1.1", b" HTTP/1.0", 1))
    assert answer is not None
    assert answer.status == 200
    assert answer.raw.count(b"HTTP/1.1 ") == 1


def test_what_is_answered_at_once_is_answered_to_a_client_that_has_closed_its_side(gateway: LiveGateway) -> None:
    for path in ("/healthz", "/v1/models", "/nowhere"):
        answer = talk(gateway, request(method="GET", path=path), half_close=True)
        assert answer is not None
        assert answer.status == (404 if path == "/nowhere" else 200)
