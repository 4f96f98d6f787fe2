"""The real gateway as a process of its own: started, watched, and ended as an operator would."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"
TEST_KEY = "sk-test-0123456789abcdef"
STARTUP_S = 30.0
SHUTDOWN_S = 10.0


@dataclass(frozen=True)
class LiveGateway:
    """A gateway that answers. `log()` is everything it has written so far, both streams."""

    port: int
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def log(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_gateway(**env: str) -> Iterator[LiveGateway]:
    """A gateway with only the environment given; it must go when told to, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as home:
        live = _start(Path(home), env)
        try:
            yield live
        finally:
            _stop(live)


def run_cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, such as `--help` or a start that must be refused; output captured."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as home:
        return subprocess.run(
            [sys.executable, "-m", "ai_gateway", *arguments],
            env=_clean_environment(home, env),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=STARTUP_S,
            check=False,
        )


def _clean_environment(home: str, env: dict[str, str]) -> dict[str, str]:
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "HOME": home, **measured, **env}


def _start(home: Path, env: dict[str, str]) -> LiveGateway:
    live = _launch(home, env)
    if _becomes_ready(live):
        return live
    if " in use" in live.log().lower():  # a neighbour took the port between finding and binding it
        live = _launch(home, env)
        if _becomes_ready(live):
            return live
    raise AssertionError(f"the gateway did not start (exit {live.process.returncode}):\n{live.log()}")


def _launch(home: Path, env: dict[str, str]) -> LiveGateway:
    port = int(env.get("SERVICE_PORT") or free_port())
    output = home / "output.log"
    settings = {"SERVICE_HOST": HOST, "SERVICE_PORT": str(port), **env}
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "ai_gateway", "serve"],
            env=_clean_environment(str(home), settings),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    return LiveGateway(port, process, output)


def _becomes_ready(live: LiveGateway) -> bool:
    deadline = time.monotonic() + STARTUP_S
    while live.process.poll() is None:
        if _healthy(live):
            return True
        if time.monotonic() > deadline:
            live.process.kill()
            live.process.wait()
            return False
        time.sleep(0.05)
    return False


def _healthy(live: LiveGateway) -> bool:
    try:
        with urllib.request.urlopen(f"{live.base_url}/healthz", timeout=1) as reply:
            return int(reply.status) == 200
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def _stop(live: LiveGateway) -> None:
    process = live.process
    if process.poll() is not None:
        return  # the test ended it itself, or it died: the test that asked will have failed
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(SHUTDOWN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"the gateway did not end within {SHUTDOWN_S} s of SIGTERM:\n{live.log()}") from None
    assert code == 0, f"the gateway ended with {code}:\n{live.log()}"
