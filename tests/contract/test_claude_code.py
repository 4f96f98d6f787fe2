"""The real Claude Code, as a client and nothing else, in front of an upstream that speaks chat completions only.

It gets a home of its own and only ever asks the gateway on loopback. Its package is installed from the npm registry by
the test itself; where it cannot be, the test says so.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.npm_program import npm_program
from tests.support.scripted_agent import scripted
from tests.support.upstream import Upstream, running_upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACKAGE = "@anthropic-ai/claude-code@2.1.197"
TASK = "Read a.txt and b.txt, replace alpha by omega in a.txt, and write gamma into c.txt."


@pytest.fixture(scope="module")
def claude() -> Path:
    """The program, installed once per machine; the one for this machine, since no package's scripts are run."""
    if os.environ.get("CI") != "true" and os.environ.get("CLAUDE_CODE_TESTS", "1") == "0":
        pytest.skip("CLAUDE_CODE_TESTS=0: Claude Code is not wanted here")
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return npm_program(PACKAGE, f"@anthropic-ai/claude-code-linux-{machine}/claude")


@dataclass(frozen=True)
class Bench:
    """A folder with the task's files, and the gateway with the upstream that works on it."""

    folder: Path
    gateway: LiveGateway
    upstream: Upstream


@pytest.fixture
def bench(tmp_path: Path, gateway_for: SharedGateways) -> Iterator[Bench]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("alpha\n")
    (folder / "b.txt").write_text("beta\n")
    with running_upstream(scripted(folder)) as upstream:
        live = gateway_for(PROVIDER_LAB_BASE_URL=upstream.url, MAX_RETRIES="0", BREAKER_THRESHOLD="0")
        yield Bench(folder, live, upstream)


def run(claude: Path, bench: Bench, model: str, home: Path) -> dict[str, object]:
    """What it reports of the task, done with this model."""
    home.mkdir()
    done = subprocess.run(
        [
            *(claude, "--print", TASK, "--model", f"lab/{model}", "--output-format", "json"),
            *("--permission-mode", "acceptEdits", "--allowedTools", "Read,Edit,Write"),
        ],
        cwd=bench.folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ANTHROPIC_BASE_URL": bench.gateway.base_url,
            "ANTHROPIC_AUTH_TOKEN": TEST_KEY,
            "ANTHROPIC_SMALL_FAST_MODEL": f"lab/{model}",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("model", ["works", "busy", "cut", "picky"])
def test_it_reads_edits_and_writes_files_whatever_happens_on_the_way(
    model: str, claude: Path, bench: Bench, tmp_path: Path
) -> None:
    report = run(claude, bench, model, tmp_path / "home")
    assert report["is_error"] is False, report
    assert (bench.folder / "a.txt").read_text() == "omega\n"
    assert (bench.folder / "c.txt").read_text() == "gamma\n"
    assert "as you wanted" in str(report["result"])
    asked = [seen.json for seen in bench.upstream.requests if seen.method == "POST"]
    with_results = [body for body in asked if any(message["role"] == "tool" for message in body["messages"])]
    assert with_results
    # Both results of the first turn, in the order of its calls, and right behind them.
    turns = [message["role"] for message in with_results[0]["messages"]]
    at = turns.index("tool")
    assert turns[at - 1 : at + 2] == ["assistant", "tool", "tool"]
    calls = with_results[0]["messages"][at - 1]["tool_calls"]
    results = with_results[0]["messages"][at : at + 2]
    assert [call["id"] for call in calls] == [result["tool_call_id"] for result in results]
    assert "alpha" in str(results[0]["content"])
    assert "x-anthropic-billing-header" not in json.dumps(asked[0]["messages"])
