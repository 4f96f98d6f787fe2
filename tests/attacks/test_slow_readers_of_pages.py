"""Pages that need no key, asked for by many who do not read them."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.support.client import eventually, get
from tests.support.gateway import HOST, LiveGateway
from tests.support.raw_http import exchange

pytestmark = pytest.mark.live

READERS = 300
MB = 2**20
PAGES = ["/docs", "/openapi.json", "/openapi.yaml"]


@contextmanager
def non_readers(live: LiveGateway, path: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections with a small window, on which a page has been asked for and nothing is read."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((HOST, live.port))
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            sockets.append(reader)
        yield sockets


def status_line(reader: socket.socket) -> bytes:
    reader.settimeout(30)
    return reader.recv(12)


@pytest.mark.parametrize("path", PAGES)
def test_those_who_do_not_read_a_page_hold_little_and_stop_nothing_else(gateway: LiveGateway, path: str) -> None:
    assert get(gateway, path, key=None).status_code == 200
    before = gateway.rss()
    with non_readers(gateway, path, READERS) as sockets:
        statuses = [status_line(reader) for reader in sockets]
        assert set(statuses) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        assert gateway.rss() - before < 25 * MB
        assert get(gateway, path, key=None).status_code == 503
        assert get(gateway, path, key=None).headers["retry-after"] == "1"
        for other in ("/healthz", "/ready", "/custom/v1/models"):
            assert get(gateway, other).status_code == 200
    eventually(lambda: get(gateway, path, key=None).status_code == 200)


@pytest.mark.soak
def test_a_page_has_to_be_read_within_a_time(gateway: LiveGateway) -> None:
    """Also by those who read a byte now and then."""
    with non_readers(gateway, "/docs", 3) as sockets:
        ours = {reader.getsockname()[1] for reader in sockets}

        def are_cut() -> bool:
            for reader in sockets:
                reader.recv(1)
            time.sleep(0.2)
            open_ones = psutil.Process(gateway.process.pid).net_connections("tcp")
            return not ours & {getattr(each.raddr, "port", 0) for each in open_ones}

        assert not are_cut()
        eventually(are_cut, 100)
    assert "application ended without" not in gateway.log()


@pytest.mark.parametrize("path", PAGES)
def test_head_and_other_methods_are_answered_as_before(gateway: LiveGateway, path: str) -> None:
    reply = exchange(gateway, f"HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 200")
    assert reply.endswith(b"\r\n\r\n")
    reply = exchange(gateway, f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 405")
