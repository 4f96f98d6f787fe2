"""Standard output and error that are full, closed, or read by nobody: the gateway serves, and ends when it is told."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.support.client import ask, eventually
from tests.support.gateway import (
    HOST,
    ONE_ATTEMPT,
    SHUTDOWN_S,
    STARTUP_S,
    TEST_KEY,
    LiveGateway,
    clean_environment,
    closed_port,
    free_port,
)
from tests.support.raw_http import talk
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

type Stream = int | IO[bytes]

LONG_PATH = b"/" + b"x" * 1_000
FILLS_A_PIPE = 100  # records of such a path, each of them


WITHOUT_SOME = """
import os, sys
for fd in sys.argv[1].split():
    os.close(int(fd))
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def gateway_with(
    env: dict[str, str],
    *,
    stdout: Stream = subprocess.DEVNULL,
    stderr: Stream = subprocess.DEVNULL,
    closed: tuple[int, ...] = (),
) -> Iterator[LiveGateway]:
    """A gateway with these streams, and without those that are `closed`. It has to end cleanly when it is told to."""
    port = free_port()
    serve = [sys.executable, "-m", "ai_gateway", "serve", "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="gateway-") as home:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", WITHOUT_SOME, " ".join(map(str, closed)), *serve],
            env=clean_environment(home, {"ALLOWED_API_KEYS": TEST_KEY, "SERVICE_HOST": HOST, **ONE_ATTEMPT, **env}),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        try:
            eventually(lambda: process.poll() is not None or listens(port), STARTUP_S)
            assert process.poll() is None
            yield LiveGateway(port, process, Path(os.devnull))
            process.send_signal(signal.SIGTERM)
            assert process.wait(SHUTDOWN_S) == 0
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children():
                    child.kill()
                process.kill()
            process.wait()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def fill_the_log(live: LiveGateway) -> None:
    for _ in range(FILLS_A_PIPE):
        answer = talk(live, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % LONG_PATH)
        assert answer is not None
        assert answer.status == 404


@pytest.fixture
def lab(upstream: Upstream) -> dict[str, str]:
    """Two upstreams, and a model that falls from the one that is down to the other."""
    return {"PROVIDER_LAB_BASE_URL": upstream.url, "PROVIDER_DOWN_BASE_URL": f"http://{HOST}:1/v1"}


def fails_and_answers(live: LiveGateway) -> None:
    """What writes records on its way still answers as the contract has it."""
    assert ask(live, "good", provider="lab").status_code == 200
    failed = ask(live, "m", provider="down")
    assert failed.status_code == 502
    assert failed.json()["error"]["code"] == "upstream_unreachable"
    assert ask(live, "stream-cut", provider="lab", stream=True).status_code == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_log_that_nobody_reads_holds_nobody_up(lab: dict[str, str], workers: str) -> None:
    reading, writing = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, reading)
        with gateway_with({**lab, "WORKERS": workers}, stderr=writing) as live:
            os.close(writing)
            fill_the_log(live)
            fails_and_answers(live)


def test_when_it_is_read_again_one_record_says_how_many_were_lost(lab: dict[str, str]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as log, gateway_with(lab, stderr=writing) as live:
        os.close(writing)
        for _ in range(8):  # what is kept for a reader is 4 MB
            request = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"%e2%80%a8" * 5_000)
            with socket.create_connection((HOST, live.port), timeout=30) as connection:
                for _ in range(40):
                    connection.sendall(request)
                    received = b""
                    while b"\r\n\r\n" not in received:
                        received += connection.recv(65_536)
        os.set_blocking(reading, False)
        written = bytearray()

        def reported() -> bool:
            ask(live, "m", provider="custom")
            written.extend(log.read() or b"")
            return b'"event":"log records dropped"' in written

        eventually(reported)
    whole = written[: written.rindex(b"\n")]
    records = [json.loads(line) for line in whole.splitlines()]
    (dropped,) = (record for record in records if record["event"] == "log records dropped")
    assert 0 < dropped["count"] < 320


@pytest.mark.parametrize(("kind", "workers"), [("full", "1"), ("without a reader", "2")])
def test_a_log_that_cannot_be_written_fails_nobody(lab: dict[str, str], kind: str, workers: str) -> None:
    """Nor the process that watches over workers: one of them dies, and another one takes its place."""
    if kind == "full":
        stream = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, stream = os.pipe()
        os.close(reading)
    try:
        with gateway_with({**lab, "WORKERS": workers}, stdout=stream, stderr=stream) as live:
            fails_and_answers(live)
            if workers == "2":
                supervisor = psutil.Process(live.process.pid)
                first = supervisor.children()[0]
                first.kill()
                eventually(lambda: len({child.pid for child in supervisor.children()} - {first.pid}) == 2)
                eventually(lambda: ask(live, "good", provider="lab").status_code == 200)
    finally:
        os.close(stream)


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)], ids=["stdout", "all"])
def test_streams_that_are_closed_at_the_start_are_nothing_to_the_gateway(
    lab: dict[str, str], closed: tuple[int, ...]
) -> None:
    """Nor does a socket get their number, and with it what is written for them."""
    with gateway_with(lab, closed=closed) as live:
        fails_and_answers(live)
        for fd in closed:
            assert os.readlink(f"/proc/{live.process.pid}/fd/{fd}") == os.devnull


def test_a_start_that_is_refused_says_so_with_its_exit_code_whatever_its_streams_are() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with closed_port() as port, tempfile.TemporaryDirectory(prefix="gateway-") as home:
        for command in (["serve", "--port", str(port)], ["serve", "--log-level", "loud"]):
            done = subprocess.run(
                [sys.executable, "-m", "ai_gateway", *command],
                env=clean_environment(home, {"SERVICE_HOST": HOST}),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                timeout=STARTUP_S,
                check=False,
            )
            assert done.returncode in {1, 2}
    os.close(writing)
