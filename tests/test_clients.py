"""The quick starts of docs/clients.md, each run as it stands, and the versions that docs/compatibility.md names."""

import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.contract.test_agents import PACKAGES as AGENTS
from tests.contract.test_claude_code import PACKAGE as CLAUDE_CODE
from tests.contract.test_codex import PACKAGE as CODEX
from tests.contract.test_error_classes import LITELLM
from tests.contract.test_sdk_node import HERE as NODE_PROGRAMS, node
from tests.support.gateway import LiveGateway, SharedGateways

__all__ = ["node"]  # a fixture
ROOT = Path(__file__).parents[1]
ADDRESS = "http://127.0.0.1:9000"
BLOCKS = re.findall(r"^```(sh|python|js)\n(.*?)^```$", (ROOT / "docs/clients.md").read_text("utf-8"), re.M | re.S)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/compatibility.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| Client |")
]


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(ALLOWED_API_KEYS="")


def run(command: list[str | Path], code: str, live: LiveGateway, where: Path) -> str:
    done = subprocess.run(
        command,
        input=code.replace(ADDRESS, live.base_url),
        cwd=where,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(*languages: str) -> list[object]:
    return [pytest.param(code, id=code.split("\n")[0][:50]) for language, code in BLOCKS if language in languages]


@pytest.mark.parametrize("code", blocks("sh", "python"))
def test_a_quick_start_answers(live: LiveGateway, code: str, tmp_path: Path) -> None:
    command: list[str | Path] = ["bash", "-e"] if code.startswith("curl") else [sys.executable, "-"]
    assert "Hello" in run(command, code, live, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("code", blocks("js"))
def test_a_quick_start_in_node_answers(live: LiveGateway, node: Path, code: str) -> None:
    assert "Hello" in run([node, "--input-type=module"], code, live, NODE_PROGRAMS)


@cache
def _locked() -> set[tuple[str, str]]:
    """Name and version of every package in the lock files, and of those that have an environment of their own."""
    python = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    packages = json.loads((NODE_PROGRAMS / "package-lock.json").read_text("utf-8"))["packages"]
    alone = [package.partition("==") for package in (LITELLM, *AGENTS)]
    programs = [package.rpartition("@") for package in (CLAUDE_CODE, CODEX)]
    return {
        *((name.partition("[")[0], version) for name, _, version in [*alone, *programs]),
        *((package["name"], package["version"]) for package in python if "version" in package),
        *((path.removeprefix("node_modules/"), package["version"]) for path, package in packages.items() if path),
    }


@pytest.mark.parametrize("row", [row for row in ROWS if "every run" in row[3] and row[0] != "curl"], ids=lambda r: r[0])
def test_a_client_of_every_run_has_the_version_of_the_lock_file(row: list[str]) -> None:
    assert (row[0].split("`")[1], row[1]) in _locked()


def test_every_client_says_how_it_was_tried_and_by_which_test() -> None:
    assert len(ROWS) > 20
    for client, _, _, tried, test in ROWS:
        assert re.match(r"every run|replayed|once, \d{4}-\d\d-\d\d|not tried$|no$", tried), client
        named = re.findall(r"`(tests/[\w/]+\.py)`", test)
        assert all((ROOT / path).is_file() for path in named)
        assert bool(named) == (tried not in {"not tried", "no"}), client
