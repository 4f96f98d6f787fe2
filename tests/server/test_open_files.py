"""A worker that may open no more files: its operator is told, no upstream is blamed, and it goes on afterwards."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.support.client import ask, eventually, get
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

FILES = 120  # some thirty of which it needs itself


@pytest.fixture
def live(upstream: Upstream) -> Iterator[LiveGateway]:
    with running_gateway(
        PROVIDER_LAB_BASE_URL=upstream.url, ALLOWED_API_KEYS=TEST_KEY, MAX_RETRIES="0", BREAKER_THRESHOLD="1"
    ) as running:
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        yield running


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _serves(live: LiveGateway) -> bool:
    try:
        return get(live, "/ready").status_code == 200
    except httpx2.TransportError:  # it has not seen yet that the others are closed
        return False


def _with_one_left(live: LiveGateway) -> int:
    """The limit with which it can open one file more. Files get the lowest numbers that are free."""
    live.settle()
    used = {int(each.name) for each in Path(f"/proc/{live.process.pid}/fd").iterdir()}
    free = [number for number in range(FILES) if number not in used]
    return free[1]


def test_connections_beyond_it_are_told_of_and_later_ones_are_served(live: LiveGateway) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((HOST, live.port))) for _ in range(2 * FILES)]
        eventually(lambda: bool(live.records("no more files can be opened: new connections are closed")))
        (record,) = live.records("no more files can be opened: new connections are closed")
        assert (record["level"], record["limit"]) == ("error", FILES)
        assert _is_closed(opened[-1])
    eventually(lambda: _serves(live))


def test_what_an_upstream_is_not_asked_for_want_of_a_file_is_not_held_against_it(
    live: LiveGateway, upstream: Upstream
) -> None:
    assert ask(live, "custom-chat", provider="custom").status_code == 200  # what is opened once is open
    limit = _with_one_left(live)
    resource.prlimit(live.process.pid, resource.RLIMIT_NOFILE, (limit, FILES))  # for the client, not for an upstream
    refused = ask(live, "good#files", provider="lab")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert "as many connections in flight as it takes" in refused.text
    assert not upstream.seen("good#files")
    resource.prlimit(live.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    assert ask(live, "good#files", provider="lab").status_code == 200
