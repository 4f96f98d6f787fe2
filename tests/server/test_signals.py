"""Whatever is under way when signals come, in whatever order: everybody is told, the exit code is 0, nobody is left."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.bare_sockets import post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway, started_gateway
from tests.support.processes import is_alive
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

TERM, INT, HUP, QUIT = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT
LATER = b"HTTP/1.1 503 Later\r\nretry-after: 10\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
STOPPING = b'"code":"overloaded"'


@pytest.fixture(scope="module")
def upstream(upstream: Upstream) -> Upstream:
    upstream.program("later", LATER)
    return upstream


@contextmanager
def deaf() -> Iterator[str]:
    """An address that takes no connection and refuses none: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(3):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
        yield f"http://{HOST}:{listener.getsockname()[1]}/v1"


def in_flight(live: LiveGateway, upstream: Upstream, stack: ExitStack) -> dict[str, socket.socket]:
    """A client at every stage that a request can be in."""
    half = post("chat", "good", text="x" * 200_000)
    requests = {
        "streams": post("chat", "drip#signals", stream=True),
        "waits": post("chat", "hang-before-headers#signals"),
        "sends its body": half[: len(half) // 2],
        "connects": post("chat", "good", provider="deaf"),
        "waits for a retry": post("chat", "later"),
    }
    clients = {}
    for stage, request in requests.items():
        clients[stage] = stack.enter_context(socket.create_connection((HOST, live.port), timeout=60))
        clients[stage].sendall(request)
    for model in ("drip#signals", "hang-before-headers#signals", "later"):
        upstream.last(model)
    live.settle()
    return clients


def everything(connection: socket.socket) -> bytes:
    raw = b""
    while piece := connection.recv(2**16):
        raw += piece
    return raw


@pytest.mark.parametrize(
    ("signals", "at_once", "workers"),
    [
        ([TERM, TERM], False, "1"),
        ([TERM, TERM], False, "2"),
        ([INT, TERM, INT], True, "1"),
        ([INT, TERM, INT], True, "2"),
        ([QUIT], True, "1"),
        ([TERM, QUIT], True, "1"),
        ([*[HUP] * 30, TERM, *[HUP] * 30], False, "1"),
    ],
    ids=[
        "SIGTERM twice", "SIGTERM twice, two workers", "Ctrl-C twice", "Ctrl-C twice, two workers", "SIGQUIT",
        "SIGTERM and SIGQUIT", "a storm of SIGHUP",
    ],
)  # fmt: skip
def test_everybody_is_told_and_nobody_is_left(
    upstream: Upstream, signals: list[signal.Signals], at_once: bool, workers: str
) -> None:
    upstream.requests.clear()
    with (
        deaf() as nowhere,
        ExitStack() as stack,
        running_gateway(
            ALLOWED_API_KEYS=TEST_KEY,
            PROVIDER_LAB_BASE_URL=upstream.url,
            PROVIDER_DEAF_BASE_URL=nowhere,
            WORKERS=workers,
            GRACE_PERIOD_S="600" if at_once else "2",
        ) as live,
    ):
        clients = in_flight(live, upstream, stack)
        family = [psutil.Process(live.process.pid), *psutil.Process(live.process.pid).children()]
        began = time.monotonic()
        for each in signals:
            live.process.send_signal(each)
            time.sleep(0.01 if HUP in signals else 0.15)
        answers = {stage: everything(client) for stage, client in clients.items()}
        assert live.process.wait(60) == 0
        assert at_once or time.monotonic() - began > 1.5
        assert not [process for process in family if is_alive(process)]
        assert "Traceback" not in live.log()
    for stage, answer in answers.items():
        status = b"HTTP/1.1 200" if stage == "streams" else b"HTTP/1.1 503"
        assert answer.startswith(status), stage
        assert STOPPING in answer, stage
        assert b"[DONE]" not in answer


def test_a_body_that_is_still_sent_when_the_gateway_stops_is_served(upstream: Upstream) -> None:
    whole = post("chat", "good#slow-body", text="x" * 200_000)
    with started_gateway(ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        with socket.create_connection((HOST, live.port), timeout=60) as client:
            client.sendall(whole[:100_000])
            time.sleep(0.2)
            live.process.send_signal(TERM)
            time.sleep(0.2)
            client.sendall(whole[100_000:])
            assert everything(client).startswith(b"HTTP/1.1 200")
        assert live.process.wait(60) == 0


# -- before there is a server --


@contextmanager
def starting(tmp_path: Path, until: str, workers: str = "1") -> Iterator[subprocess.Popen[str]]:
    """A gateway that has just imported this module: with this option, the interpreter says so."""
    settings = {"SERVICE_PORT": "0", "WORKERS": workers, "HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "ai_gateway", "serve"],
        env={"PATH": os.environ["PATH"], **settings},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == until:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("until", "first", "workers"),
    [
        ("typer", TERM, "1"),
        ("typer", INT, "2"),
        ("gateway_contract.openai.models", QUIT, "1"),
        ("gateway_contract.openai.models", TERM, "2"),
        ("ai_gateway.providers.custom.provider", INT, "1"),
        ("ai_gateway.providers.custom.provider", QUIT, "2"),
    ],
)
def test_a_start_can_be_stopped_at_any_point(tmp_path: Path, until: str, first: signal.Signals, workers: str) -> None:
    with starting(tmp_path, until, workers) as process:
        process.send_signal(HUP)
        process.send_signal(first)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in rest


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reload_that_is_asked_for_too_early_is_done_later(tmp_path: Path, workers: str) -> None:
    with starting(tmp_path, "typer", workers) as process:
        process.send_signal(HUP)
        assert process.stderr is not None
        for _ in range(int(workers)):
            assert any('"configuration reloaded"' in line for line in process.stderr)
        process.send_signal(TERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
