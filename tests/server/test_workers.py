"""Several workers behind one port: as one to their callers, and gone together."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

import httpx2
import psutil
import pytest

from tests.support.client import ask as ask_at, eventually
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.processes import children, is_alive
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live


@contextmanager
def two_workers(upstream: Upstream) -> Iterator[LiveGateway]:
    env = {"ALLOWED_API_KEYS": TEST_KEY, "PROVIDER_LAB_BASE_URL": upstream.url, "WORKERS": "2", "GRACE_PERIOD_S": "30"}
    with running_gateway(**env) as live:
        yield live


@pytest.fixture
def gateway(upstream: Upstream) -> Iterator[LiveGateway]:
    """For a test that ends it."""
    with two_workers(upstream) as live:
        yield live


@pytest.fixture(scope="module")
def lasting(upstream: Upstream) -> Iterator[LiveGateway]:
    """For those that leave it as it was: a worker that is killed is replaced."""
    with two_workers(upstream) as live:
        yield live


def workers_of(live: LiveGateway) -> list[psutil.Process]:
    return children(live.process.pid, lambda _: True)


def ask(live: LiveGateway) -> int:
    """A request on a connection of its own."""
    return ask_at(live, "custom-chat", provider="custom").status_code


def listening(live: LiveGateway) -> bool:
    try:
        socket.create_connection((HOST, live.port), timeout=2).close()
    except OSError:
        return False
    return True


def test_every_worker_serves_and_one_banner_is_shown(lasting: LiveGateway) -> None:
    eventually(lambda: len(workers_of(lasting)) == 2)
    before = [sum(worker.cpu_times()[:2]) for worker in workers_of(lasting)]
    clients = [threading.Thread(target=lambda: [ask(lasting) for _ in range(15)]) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    after = [sum(worker.cpu_times()[:2]) for worker in workers_of(lasting)]
    assert all(now > then for then, now in zip(before, after, strict=True))
    assert lasting.log().count("Universal AI Gateway") == 1
    assert "  workers    2\n" in lasting.log()


def test_a_worker_that_dies_is_replaced_and_the_others_serve_on(lasting: LiveGateway) -> None:
    eventually(lambda: len(workers_of(lasting)) == 2)
    victim, other = workers_of(lasting)
    victim.kill()
    eventually(lambda: len(workers_of(lasting)) == 2 and victim.pid not in {each.pid for each in workers_of(lasting)})
    assert other.pid in {each.pid for each in workers_of(lasting)}
    assert [ask(lasting) for _ in range(20)] == [200] * 20
    assert '"exit_code":-9' in lasting.log().replace(" ", "")


def test_a_worker_that_is_killed_takes_its_own_streams_and_no_others(lasting: LiveGateway, upstream: Upstream) -> None:
    eventually(lambda: len(workers_of(lasting)) == 2)
    ends: list[str] = []

    def stream(number: int) -> None:
        try:
            ends.append(ask_at(lasting, f"paced#killed-{number}", provider="lab", stream=True).text[-14:])
        except httpx2.TransportError:
            ends.append("broken")

    clients = [threading.Thread(target=stream, args=(number,)) for number in range(12)]
    for client in clients:
        client.start()
    seen = [upstream.last(f"paced#killed-{number}") for number in range(12)]
    held = {worker: len(worker.net_connections("tcp")) for worker in workers_of(lasting)}
    victim = max(held, key=lambda worker: held[worker])
    time.sleep(0.3)
    victim.kill()
    for client in clients:
        client.join()
    assert set(ends) <= {"broken", "data: [DONE]\n\n"}, "half an answer that looks whole, or the other way about"
    assert "broken" in ends

    def left() -> int:
        """The others' connections to the upstream are kept for the next request, such as one for its list of models."""
        kept = {each.peer for each in upstream.requests if each.method == "GET"}
        return sum(each.gone.is_set() and each.peer not in kept for each in seen)

    eventually(lambda: left() >= ends.count("broken"))
    assert left() == ends.count("broken"), "it was left for those, and only for those"
    assert ask(lasting) == 200


def test_sigterm_lets_streams_end_and_leaves_nobody(gateway: LiveGateway, upstream: Upstream) -> None:
    """One exit code 0, no process, and a port that refuses."""
    workers = workers_of(gateway)
    texts: list[str] = []

    def stream() -> None:
        texts.append(ask_at(gateway, "paced#sigterm", provider="lab", stream=True).text)

    clients = [threading.Thread(target=stream) for _ in range(6)]
    for client in clients:
        client.start()
    eventually(lambda: len(upstream.seen("paced#sigterm")) == 6)
    gateway.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join()
    assert gateway.process.wait(60) == 0
    assert [text.endswith("data: [DONE]\n\n") for text in texts] == [True] * 6
    assert not [worker for worker in workers if is_alive(worker)]
    assert not listening(gateway)
    assert "Traceback" not in gateway.log()


def test_no_worker_outlives_a_supervisor_that_was_killed(gateway: LiveGateway) -> None:
    eventually(lambda: len(workers_of(gateway)) == 2)
    assert ask(gateway) == 200
    workers = workers_of(gateway)
    gateway.process.kill()
    gateway.process.wait()
    gone, left = psutil.wait_procs(workers, timeout=60)
    assert (len(gone), left) == (2, [])
    assert not listening(gateway)


@pytest.mark.parametrize("supervisor_first", [True, False])
def test_ctrl_c_ends_all_of_them_once(gateway: LiveGateway, supervisor_first: bool) -> None:
    eventually(lambda: len(workers_of(gateway)) == 2)
    workers = workers_of(gateway)
    order = [gateway.process.pid, *(worker.pid for worker in workers)]  # as a terminal does, to the whole group
    for pid in order if supervisor_first else reversed(order):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        time.sleep(0.02)
    assert gateway.process.wait(60) == 0
    assert not [worker for worker in workers if is_alive(worker)]
    assert "Traceback" not in gateway.log()


def supervised(work: str, lines: int) -> tuple[int, str]:
    """A supervisor over this work, told to stop after so many lines: its exit code and what was written."""
    program = f"""
    import os, socket, sys, threading, time
    from ai_gateway.server.workers import Supervisor
    def work(context):
        os.write(1, b"start\\n")
        {work}
    sys.exit(Supervisor(1, work, socket.socket(), 1).run())
    """
    command = [sys.executable, "-u", "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        output = "".join(islice(process.stdout, lines))
        process.send_signal(signal.SIGTERM)
        output += process.stdout.read()
    return process.returncode, output


def test_a_worker_that_keeps_dying_is_started_ever_more_rarely() -> None:
    code, output = supervised("sys.exit(1)", 6)
    pauses = [float(pause) for pause in re.findall(r"next_in_s\W+([\d.]+)", output)]
    assert code == 0
    assert pauses[:3] == [0.4, 0.8, 1.6]


def test_a_start_that_cannot_succeed_is_not_tried_again() -> None:
    code, output = supervised("sys.exit(3)", 100)
    assert (code, output.count("start\n")) == (3, 1)


def test_a_worker_that_does_not_stop_is_killed_when_its_time_is_over() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'deaf\\n'); time.sleep(600)"
    started = time.monotonic()
    code, output = supervised(deaf, 2)
    assert (code, output.count("start\n")) == (0, 1)
    assert time.monotonic() - started > 5
