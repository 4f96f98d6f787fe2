"""The fuzzing catches faults: each one seeded into the gateway turns it red, and none leaves it green."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.fuzz.__main__ import fuzz
from tests.contract.seeded import FAULTS, LINE_FAULTS
from tests.support.gateway import HOST, free_port

CHAT = ("--include-path-regex", r"^/\{provider\}/v1/(chat/completions|models)$")
OLLAMA = ("--include-path-regex", "^/api/(chat|generate)$")
LINES = [fault.__name__ for fault in LINE_FAULTS]


@contextmanager
def seeded_gateway(fault: str) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.contract.seeded", fault, str(port)])
    try:
        yield await_answer(f"http://{HOST}:{port}", process)
    finally:
        process.terminate()
        process.wait(10)


def await_answer(base_url: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{base_url}/openapi.json", timeout=1):
                return base_url
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the seeded gateway did not start")


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*(fault for fault in FAULTS if fault not in LINES), "no_auth"])
def test_a_seeded_fault_is_caught(fault: str) -> None:
    with seeded_gateway(fault) as base_url:
        ran = fuzz(base_url, 15, *CHAT, "--max-failures", "1", quiet=True)
    assert ran.returncode == 1, ran.stdout
    assert "FAILURES" in ran.stdout, ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("fault", LINES)
def test_a_fault_in_lines_is_caught(fault: str) -> None:
    with seeded_gateway(fault) as base_url:
        ran = fuzz(base_url, 15, *OLLAMA, "--max-failures", "1", quiet=True)
    assert ran.returncode == 1, ran.stdout
    assert "FAILURES" in ran.stdout, ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("operations", [CHAT, OLLAMA])
def test_without_a_fault_the_same_harness_is_green(operations: tuple[str, ...]) -> None:
    with seeded_gateway("none") as base_url:
        ran = fuzz(base_url, 15, *operations, quiet=True)
    assert ran.returncode == 0, ran.stdout
