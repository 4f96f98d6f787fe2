"""The real gateway as a process of its own: started, watched, and ended as an operator would."""

import base64
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

import psutil

import ai_gateway
from tests.support.fork_server import Forked, can_fork, fork
from tests.support.processes import is_at_rest
from tests.support.upstream import Upstream

HOST = "127.0.0.1"

TEST_KEY = "sk-test-0123456789abcdef"
UPSTREAM_KEY = "sk-upstream-5c1e9f7a2b"
ONE_ATTEMPT = {"MAX_RETRIES": "0", "BREAKER_THRESHOLD": "0"}  # what one answer of an upstream does, and no more
IMPATIENT = {"REQUEST_TIMEOUT_S": "1", "STREAM_IDLE_TIMEOUT_S": "1", "CONNECT_TIMEOUT_S": "1"}
STARTUP_S = 60.0
SHUTDOWN_S = 60.0
SETTLED_S = 2.0
_BANNER = re.compile(r"^  listening  https?://(?:127\.0\.0\.[12]:(\d+)|localhost) ", re.MULTILINE)  # or a Unix socket


@dataclass(frozen=True)
class LiveGateway:
    """A gateway that answers. `log()` is everything it has written so far, both streams.

    Records are written by a thread beside the replies, so `log()` waits until it has.
    """

    port: int
    process: "Process"
    output: Path

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def settle(self) -> None:
        """Wait until it has done all it can do by now; not for long, since it may be amid something."""
        deadline = time.monotonic() + SETTLED_S
        rests = 0
        while rests < 2 and time.monotonic() < deadline:  # the thread that writes sleeps up to 10 ms between two lines
            time.sleep(0.015)
            rests = rests + 1 if is_at_rest(self.process.pid) else 0

    def log(self) -> str:
        self.settle()
        return self.output.read_text(encoding="utf-8", errors="replace")

    def records(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's records, or those of one event."""
        found = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [record for record in found if event in {None, record["event"]}]

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


class SharedGateways:
    """Gateways that live until the end, one for each environment: for tests that leave them as they found them."""

    def __init__(self) -> None:
        self._running: dict[frozenset[tuple[str, str]], LiveGateway] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for live in self._running.values():
            _tell_to_stop(live)  # all at once: what each does at its end it does beside the others
        self._stack.close()

    def __call__(self, **env: str) -> LiveGateway:
        """The one with this environment, and with the tests' key unless `ALLOWED_API_KEYS` says otherwise."""
        # All tests come from one address, and many send wrong keys.
        env = {"ALLOWED_API_KEYS": TEST_KEY, "WRONG_KEYS_PER_MINUTE": "0", **env}
        key = frozenset(env.items())
        if key not in self._running:
            self._running[key] = self._stack.enter_context(running_gateway(**env))
        live = self._running[key]
        assert live.process.poll() is None, f"a shared gateway was ended by an earlier test:\n{live.log()}"
        return live


def in_front_of(upstream: Upstream) -> dict[str, str]:
    """The environment of a gateway that has this upstream as `openai` and as `lab`, and asks it once."""
    addresses = {"OPENAI_BASE_URL": upstream.url, "PROVIDER_LAB_BASE_URL": upstream.url}
    return {**addresses, "OPENAI_API_KEY": UPSTREAM_KEY, **ONE_ATTEMPT}


# No system gives these out by itself, to connections or to who binds port 0: those begin at 32768, or further up.
_PORTS = range(12_000, 32_000)


def free_port() -> int:
    """A port on which nobody listens, and that nobody will have soon who did not choose it by number.

    For servers that cannot be told to bind port 0. Two that look at once do not find the same one.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else can take meanwhile: bound, but not listened on."""
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        yield int(holder.getsockname()[1])


@contextmanager
def running_gateway(**env: str) -> Iterator[LiveGateway]:
    """A gateway with only the environment given; it must go when told to, and leave nothing behind.

    It is forked from a process that has imported it, which takes a tenth of a start.
    """
    with _running(_fork if can_fork(env) else _execute, env) as live:
        yield live


@contextmanager
def started_gateway(**env: str) -> Iterator[LiveGateway]:
    """The same, but started as an operator starts it: for tests of the start, and of what Python does at the end."""
    with _running(_execute, env) as live:
        yield live


@contextmanager
def _running(launch: "Launch", env: dict[str, str]) -> Iterator[LiveGateway]:
    with tempfile.TemporaryDirectory(prefix="gateway-") as home:
        live = _start(launch, Path(home), env)
        try:
            yield live
        finally:
            _stop(live)


@contextmanager
def running_program(home: Path, command: Sequence[str], **env: str) -> Iterator[LiveGateway]:
    """A gateway started by this command, in this directory: for one that is installed elsewhere than the tests."""
    live = _start(partial(_execute, command=command), home, env)
    try:
        yield live
    finally:
        _stop(live)


def run_cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, such as `--help` or a start that must be refused; output captured.

    It is forked as gateways are.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-") as home:
        if can_fork(env):
            done = run_forked(arguments, clean_environment(home, env), Path(home))
            return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        return subprocess.run(
            [sys.executable, "-m", "ai_gateway", *arguments],
            env=clean_environment(home, env),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=STARTUP_S,
            check=False,
        )


def run_forked(
    arguments: Sequence[str], env: dict[str, str], home: Path, said: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """The same with this environment and no more, in this directory, and with `said` to read."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write(said)
        stdin.seek(0)
        process = fork(arguments, env, home, out.fileno(), err.fileno(), stdin=stdin.fileno())
        try:
            code = process.wait(STARTUP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(process.args, code, out.read(), err.read())


def clean_environment(home: str, env: dict[str, str]) -> dict[str, str]:
    """Nothing of this process's environment but what a program needs to start, and to be measured."""
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    if (config := measured.get("COVERAGE_PROCESS_CONFIG")) is not None:
        measured["COVERAGE_PROCESS_CONFIG"] = _only_what_runs(config)
    return {"PATH": os.environ["PATH"], "HOME": home, **measured, **env}


@cache
def _only_what_runs(config: str) -> str:
    """Coverage's configuration for a process of the gateway, which need not list the files that it has not run.

    The tests' own process lists all of them anyway; five hundred at each end took half of what measuring took. The form
    is that of `CoverageConfig.serialize`, by which coverage itself hands it on.
    """
    known = json.loads(base64.b64decode(config))
    known |= {"source": None, "run_include": [f"{_SOURCE}/*"]}
    known["disable_warnings"] = [*known["disable_warnings"], "already-imported"]
    return base64.b64encode(json.dumps(known).encode()).decode()


type Process = subprocess.Popen[bytes] | Forked
type Launch = Callable[[dict[str, str], Path, int], Process]


_SOURCE = Path(ai_gateway.__file__).parent
_SERVE = (sys.executable, "-m", "ai_gateway", "serve")


def _execute(env: dict[str, str], home: Path, output: int, command: Sequence[str] = _SERVE) -> Process:
    return subprocess.Popen(
        command,
        env=env,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def _fork(env: dict[str, str], home: Path, output: int) -> Process:
    return fork(["serve"], env, home, output, output)


def _start(launch: Launch, home: Path, env: dict[str, str]) -> LiveGateway:
    """Start it on a port of the system's choice and read from its banner which that is."""
    output = home / "output.log"
    settings = {"SERVICE_HOST": HOST, "SERVICE_PORT": "0", "CUSTOM_PACE_MS": "0", **env}
    with output.open("wb") as sink:
        process = launch(clean_environment(str(home), settings), home, sink.fileno())
    deadline = time.monotonic() + STARTUP_S
    while (shown := _BANNER.search(output.read_text(encoding="utf-8", errors="replace"))) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            code = process.wait()
            raise AssertionError(f"the gateway did not start (exit {code}):\n{output.read_text('utf-8')}")
        time.sleep(0.02)
    return LiveGateway(int(shown[1] or 0), process, output)


_told_to_stop: set[Process] = set()


def _tell_to_stop(live: LiveGateway) -> None:
    """Once: a second signal may come when the first one's handler is gone, and Python ends."""
    process = live.process
    if process not in _told_to_stop and process.poll() is None:
        _told_to_stop.add(process)
        process.send_signal(signal.SIGTERM)


def _stop(live: LiveGateway) -> None:
    process = live.process
    _tell_to_stop(live)
    if process not in _told_to_stop:
        return  # the test ended it itself, or it died: the test that asked will have failed
    _told_to_stop.discard(process)
    try:
        code = process.wait(SHUTDOWN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"the gateway did not end within {SHUTDOWN_S} s of SIGTERM:\n{live.log()}") from None
    assert code == 0, f"the gateway ended with {code}:\n{live.log()}"
