"""The fuzzing catches faults: each one seeded into the gateway turns it red, and none leaves it green."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from scripts.fuzz.__main__ import PROFILE, fuzz
from tests.contract.seeded import FAULTS, LINE_FAULTS, MESSAGE_FAULTS, RESPONSE_FAULTS
from tests.support.gateway import HOST, SHUTDOWN_S, STARTUP_S

pytestmark = pytest.mark.slow

CHAT = ("--include-path-regex", r"^/\{provider\}/v1/(chat/completions|models)$")
OLLAMA = ("--include-path-regex", "^/api/(chat|generate)$")
RESPONSES = ("--include-path-regex", r"^/v1/responses$")
MESSAGES = ("--include-path-regex", r"^/v1/messages$")
EVENTS = {
    **{fault.__name__: RESPONSES for fault in RESPONSE_FAULTS},
    **{fault.__name__: MESSAGES for fault in MESSAGE_FAULTS},
}
LINES = [fault.__name__ for fault in LINE_FAULTS]


# One of each kind of fault runs always; all of them in `make fuzz-selftest`.
ALWAYS = {"crash_on_null", "undocumented_status", "drops_required_field", "no_auth", "spoils_a_line"} | {
    "missing_item_done",
    "unclosed_block",
}


@contextmanager
def seeded_gateway(fault: str) -> Iterator[str]:
    with socket.create_server((HOST, 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        process = subprocess.Popen([sys.executable, "-m", "tests.contract.seeded", fault, str(fd)], pass_fds=[fd])
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/openapi.json", timeout=STARTUP_S):
                pass  # it answers as soon as it can
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()
            process.wait(SHUTDOWN_S)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile, but for what it does after a failure: one is enough to see that a fault is caught."""
    text = PROFILE.read_text(encoding="utf-8")
    assert text.count("continue-on-failure = true") == 1
    profile = tmp_path_factory.mktemp("profile") / "profile.toml"
    profile.write_text(text.replace("continue-on-failure = true", "continue-on-failure = false"), encoding="utf-8")
    return profile


def faults(names: Iterable[str]) -> list[ParameterSet]:
    return [pytest.param(name, marks=pytest.mark.slow if name in ALWAYS else pytest.mark.soak) for name in names]


@pytest.mark.parametrize("fault", faults([*(fault for fault in FAULTS if fault not in {*LINES, *EVENTS}), "no_auth"]))
def test_a_seeded_fault_is_caught(fault: str, impatient: Path) -> None:
    with seeded_gateway(fault) as base_url:
        ran = fuzz(base_url, 25, *CHAT, "--max-failures", "1", quiet=True, profile=impatient)
    assert ran.returncode == 1, ran.stdout
    assert "FAILURES" in ran.stdout, ran.stdout


@pytest.mark.parametrize("fault", faults(LINES))
def test_a_fault_in_lines_is_caught(fault: str, impatient: Path) -> None:
    with seeded_gateway(fault) as base_url:
        ran = fuzz(base_url, 25, *OLLAMA, "--max-failures", "1", quiet=True, profile=impatient)
    assert ran.returncode == 1, ran.stdout
    assert "FAILURES" in ran.stdout, ran.stdout


@pytest.mark.parametrize("fault", faults(EVENTS))
def test_a_fault_in_the_order_of_events_is_caught(fault: str, impatient: Path) -> None:
    with seeded_gateway(fault) as base_url:
        asked = (*EVENTS[fault], "--phases", "examples", "--max-failures", "1")
        ran = fuzz(base_url, 5, *asked, quiet=True, profile=impatient)
    assert ran.returncode == 1, ran.stdout
    assert "streams_keep_to_their_grammar" in ran.stdout, ran.stdout


def test_without_a_fault_the_same_harness_is_green() -> None:
    with seeded_gateway("none") as base_url:
        # What the harness itself might spoil, it spoils in each reply; thousands are of the phase Coverage.
        ran = fuzz(base_url, 3, CHAT[0], f"{CHAT[1]}|{OLLAMA[1]}", quiet=True, coverage_one_of=4)
    assert ran.returncode == 0, ran.stdout
    assert "Operations:       4 selected" in ran.stdout, ran.stdout


def test_without_a_fault_the_order_of_events_is_legal() -> None:
    with seeded_gateway("none") as base_url:
        paths = f"{RESPONSES[1]}|{MESSAGES[1]}"
        ran = fuzz(base_url, 5, RESPONSES[0], paths, "--phases", "examples", quiet=True)
    assert ran.returncode == 0, ran.stdout
