"""From a clone to the first streamed reply, by the script that times it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "quickstart.sh"
STEPS = ["cloned", "installed", "started", "first streamed reply"]


def run(source: Path) -> subprocess.CompletedProcess[str]:
    """With the environment of these tests: its installation takes the network, and is tried by `make install`.

    What it clones is beside the source, where nobody measures which lines ran.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "SERVICE_"))}
    environment |= {"QUICKSTART_PYTHON": sys.executable, "NO_PROXY": "127.0.0.1", "TMPDIR": str(source.parent)}
    return subprocess.run([SCRIPT, source], env=environment, capture_output=True, text=True, timeout=240, check=False)


def git(where: Path, *arguments: str) -> None:
    somebody = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *somebody, *arguments], cwd=where, check=True, capture_output=True)  # noqa: S607 - on the PATH


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What is in the working tree, committed: a tree without git has it as well."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("src", "generated"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(source, "init", "--quiet")
    git(source, "add", ".")
    git(source, "commit", "--quiet", "--message", "all")
    return source


def test_the_steps_are_timed_and_end_in_a_whole_stream(repository: Path) -> None:
    done = run(repository)
    assert done.returncode == 0, done.stderr
    timed = re.findall(r"^(\d+)ms (.+)$", done.stdout, re.MULTILINE)
    assert [step for _, step in timed] == STEPS
    times = [int(ms) for ms, _ in timed]
    assert times == sorted(times)


def test_a_gateway_that_does_not_start_is_a_failure_that_says_why(repository: Path) -> None:
    (repository / "src" / "ai_gateway" / "__main__.py").write_text("raise SystemExit('it does not start')\n")
    git(repository, "commit", "--quiet", "--all", "--message", "broken")
    done = run(repository)
    assert done.returncode != 0
    assert "it does not start" in done.stderr
