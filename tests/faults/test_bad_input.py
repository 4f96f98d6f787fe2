"""Input that is odd, large or slow, on its way to an upstream that remembers what it was sent."""

import json
import resource
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.contract.raw_cases import chat, request
from tests.support.gateway import HOST, LiveGateway, SharedGateways
from tests.support.raw_http import Answer, talk
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

PATH = "/lab/v1/chat/completions"
LIMIT = 256 * 1024
SLOW_SOCKETS = 800


@pytest.fixture(scope="module")
def gateway(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return gateway_for(PROVIDER_LAB_BASE_URL=upstream.url, REQUEST_MAX_SIZE=str(LIMIT), BODY_TIMEOUT_S="2")


def post(live: LiveGateway, body: bytes, *headers: str) -> Answer:
    answer = talk(live, request(body, path=PATH, headers=headers))
    assert answer is not None
    return answer


def nested(levels: int) -> bytes:
    """A request whose deepest value lies at this level, the request itself being the first."""
    inside = levels - 1
    return chat(model="nested")[:-1] + b',"x":' + b"[" * inside + b"]" * inside + b"}"


def test_201_levels_are_taken_and_one_more_is_refused(gateway: LiveGateway) -> None:
    assert post(gateway, nested(201)).status == 200
    refused = post(gateway, nested(202))
    assert refused.status == 400
    assert "not valid JSON" in str(refused.error()["message"])


def test_of_duplicate_keys_the_upstream_sees_the_one_that_was_checked(gateway: LiveGateway, upstream: Upstream) -> None:
    """Two parsers that differ on this would let a value through that nobody has looked at."""
    body = chat(model="first", temperature=9)[:-1] + b',"temperature":1,"model":"duplicate"}'
    assert post(gateway, body).status == 200
    sent = upstream.last("duplicate").body
    assert sent.count(b'"model"') == sent.count(b'"temperature"') == 1
    assert json.loads(sent)["temperature"] == 1
    assert upstream.seen("first") == []


def test_integers_beyond_64_bits_stay_what_they_are(gateway: LiveGateway, upstream: Upstream) -> None:
    body = chat(model="integers", x_own=[2**64, -(2**70), 10**30])
    assert post(gateway, body).status == 200
    assert upstream.last("integers").json["x_own"] == [2**64, -(2**70), 10**30]


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_413_before_it_is_whole(gateway: LiveGateway, declared: bool) -> None:
    whole = (
        request(path=PATH, length=LIMIT + 1)
        if declared
        else request(path=PATH, length=-1, headers=("Transfer-Encoding: chunked",))
    )
    piece = b"%x\r\n%s\r\n" % (LIMIT // 4, b" " * (LIMIT // 4))
    answer = talk(gateway, whole if declared else whole + piece * 5)  # and no more, however long it would have been
    assert answer is not None
    assert (answer.status, answer.error()["code"]) == (413, "request_too_large")


def stream(live: LiveGateway) -> tuple[float, bool]:
    """Seconds to the first event of a stream, and whether it came to its end."""
    with socket.create_connection((HOST, live.port), timeout=30) as connection:
        started = time.monotonic()
        connection.sendall(request(chat(model="paced#meanwhile", stream=True), path=PATH))
        raw = connection.recv(2**16)
        first = time.monotonic() - started
        while b"0\r\n\r\n" not in raw:
            raw += connection.recv(2**16)
        return first, b"data: [DONE]" in raw


def test_hundreds_of_slow_senders_are_cut_in_time_and_hold_up_nobody(gateway: LiveGateway, upstream: Upstream) -> None:
    allow_open_files(2 * SLOW_SOCKETS)
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection((HOST, gateway.port), timeout=60)) for _ in range(SLOW_SOCKETS)
        ]
        for number, connection in enumerate(sockets):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nX-Slow: " if number % 2 else request(b"{", length=900))
        with ThreadPoolExecutor(5) as pool:
            streams = list(pool.map(lambda _: stream(gateway), range(5)))
        assert [done for _, done in streams] == [True] * 5
        sys.stdout.write(f"first event after {max(first for first, _ in streams) * 1000:.0f} ms\n")
        assert post(gateway, chat(model="meanwhile")).status == 200
        for connection in sockets:  # its time limit is far beyond the gateway's
            while connection.recv(2**16):
                pass
    assert upstream.last("meanwhile").json["model"] == "meanwhile"


def allow_open_files(count: int) -> None:
    """Let this process have so many, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
