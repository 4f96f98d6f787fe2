"""Bad bytes over a raw socket: a plain refusal in the contract's words, never a 5xx, an echo, or a gateway unwell."""

import socket
import sys
import time

import pytest

from tests.contract.raw_cases import CANARY, CHAT, GOOD, LIMIT, ROWS, Row, request
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, SharedGateways, running_gateway
from tests.support.raw_http import ANSWER_S, Answer, parse, receive, talk


@pytest.fixture(scope="module")
def strict_gateway(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(REQUEST_MAX_SIZE=str(LIMIT), BODY_TIMEOUT_S="1")


def judge(row: Row, answer: Answer | None) -> None:
    """Everything a refusal owes, whatever the trick was."""
    if answer is None:
        assert row.may_close, "the connection was closed without an answer"
        return
    assert answer.status in row.statuses, answer.raw[:600]
    assert answer.raw.count(b"HTTP/1.1 ") == 1, "one trick, two answers: the request was split"
    assert "x-injected" not in answer.headers
    assert answer.headers["content-type"].startswith("application/json")
    if answer.status != 200:
        judge_refusal(row, answer)


def judge_refusal(row: Row, answer: Answer) -> None:
    assert CANARY.encode() not in answer.raw.lower(), "the input came back"
    error = answer.error()
    if row.param:
        assert error["param"] == row.param
    if not row.protocol:
        assert answer.headers["x-request-id"]
    if answer.status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if answer.status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_bad_bytes_are_refused_plainly(strict_gateway: LiveGateway, row: Row) -> None:
    judge(row, talk(strict_gateway, row.data, half_close=row.half_close))


def test_no_two_rows_have_one_name_and_there_are_enough() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert len(names) >= 100


def test_the_good_request_that_the_rows_spoil_is_answered(strict_gateway: LiveGateway) -> None:
    answer = talk(strict_gateway, request(GOOD))
    assert answer is not None
    assert answer.status == 200


@pytest.mark.slow
def test_after_all_of_it_the_gateway_answers_and_has_not_grown() -> None:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, REQUEST_MAX_SIZE=str(LIMIT), BODY_TIMEOUT_S="1") as live:
        talk(live, request(GOOD))
        before = live.rss()
        for row in ROWS:
            talk(live, row.data, half_close=row.half_close)
        answer = talk(live, request(GOOD))
        grown = (live.rss() - before) / 2**20
    assert answer is not None
    assert answer.status == 200
    assert grown < 60


def test_a_body_of_100_mb_is_refused_at_its_head_and_is_not_kept(gateway: LiveGateway) -> None:
    before = gateway.rss()
    with socket.create_connection((HOST, gateway.port), timeout=ANSWER_S) as connection:
        connection.sendall(request(length=100 * 2**20))
        answer = parse(receive(connection))
    assert answer is not None
    assert answer.status == 413
    assert answer.error()["code"] == "request_too_large"
    assert gateway.rss() - before < 20 * 2**20


def test_an_endless_chunked_body_is_cut_at_the_limit(strict_gateway: LiveGateway) -> None:
    before = strict_gateway.rss()
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    started, cut = time.monotonic(), False
    with socket.create_connection((HOST, strict_gateway.port), timeout=ANSWER_S) as connection:
        connection.sendall(request(length=-1, headers=("Transfer-Encoding: chunked",)))
        try:
            while time.monotonic() - started < 60:  # what is left of a refused body may come for BODY_TIMEOUT_S
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            cut = True
        answer = parse(receive(connection))
    assert cut, "a minute of body went in"
    assert answer is not None
    assert answer.status == 413
    risen = strict_gateway.rss() - before
    sys.stdout.write(f"endless body: {risen / 2**20:.1f} MB\n")
    assert risen < 20 * 2**20


def test_a_body_that_does_not_come_in_time_is_answered_408(strict_gateway: LiveGateway) -> None:
    started = time.monotonic()
    answer = talk(strict_gateway, request(GOOD[:10], length=len(GOOD)))
    assert answer is not None
    assert answer.status == 408
    assert answer.error()["code"] == "request_timeout"
    assert time.monotonic() - started > 0.5


def test_a_body_that_trickles_is_cut_too(strict_gateway: LiveGateway) -> None:
    """Each byte must not wind the clock back."""
    started = time.monotonic()
    with socket.create_connection((HOST, strict_gateway.port), timeout=0.2) as connection:
        connection.sendall(request(length=10_000))
        raw = b""
        while not raw and time.monotonic() - started < 60:
            try:
                connection.sendall(b" ")
                raw = connection.recv(2**16)
            except TimeoutError:
                continue
    answer = parse(raw)
    assert answer is not None
    assert answer.status == 408


@pytest.mark.parametrize("begun", [b"", b"POST /custom", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_headers_that_do_not_come_in_time_are_cut(strict_gateway: LiveGateway, begun: bytes) -> None:
    """Or a few thousand idle sockets would be all it takes."""
    with socket.create_connection((HOST, strict_gateway.port), timeout=60) as connection:
        connection.sendall(begun)
        answer = parse(receive(connection))
    assert answer is None or answer.status == 408


def test_a_connection_serves_on_after_a_refusal(strict_gateway: LiveGateway) -> None:
    with socket.create_connection((HOST, strict_gateway.port), timeout=ANSWER_S) as connection:
        connection.sendall(request(b"{}") + request(GOOD))
        raw = receive(connection)
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 200 " in raw


def test_a_refused_framing_ends_the_connection(strict_gateway: LiveGateway) -> None:
    """What follows a request that can be read in two ways must not be taken for a request."""
    row = next(row for row in ROWS if row.name == "length and chunks")
    with socket.create_connection((HOST, strict_gateway.port), timeout=60) as connection:
        connection.sendall(row.data)
        raw = b""
        while piece := connection.recv(2**16):
            raw += piece
    assert raw.count(b"HTTP/1.1 ") == 1


def test_a_valid_request_id_is_kept_and_a_mangled_one_is_replaced(strict_gateway: LiveGateway) -> None:
    kept = talk(strict_gateway, request(GOOD, headers=("X-Request-ID: my.req_id-42",)))
    replaced = talk(strict_gateway, request(GOOD, headers=("X-Request-ID: my req",)))
    assert kept is not None
    assert replaced is not None
    assert kept.headers["x-request-id"] == "my.req_id-42"
    assert replaced.headers["x-request-id"] not in {"my req", ""}


def test_json_content_types_with_parameters_are_taken(strict_gateway: LiveGateway) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"):
        answer = talk(strict_gateway, request(GOOD, content_type=kind))
        assert answer is not None
        assert answer.status == 200, kind


def test_405_names_the_methods_that_are_allowed(strict_gateway: LiveGateway) -> None:
    answer = talk(strict_gateway, request(method="DELETE", path=CHAT))
    assert answer is not None
    assert answer.headers["allow"] == "POST"


def test_no_key_is_refused_without_waiting_for_the_body(gateway: LiveGateway) -> None:
    answer = talk(gateway, request(b"{", key=None, length=1000))
    assert answer is not None
    assert answer.error()["code"] == "missing_api_key"


def test_the_log_holds_neither_key_nor_input_nor_traceback(strict_gateway: LiveGateway) -> None:
    for row in ROWS[::4]:
        talk(strict_gateway, row.data, half_close=row.half_close)
    log = strict_gateway.log()
    assert TEST_KEY not in log
    assert "Traceback" not in log
