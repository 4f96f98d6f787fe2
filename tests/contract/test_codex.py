"""The real Codex, as a client and nothing else, in front of an upstream that speaks chat completions only.

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
from typing import Any

import pytest

from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.npm_program import npm_program
from tests.support.scripted_codex import PATCH, scripted
from tests.support.upstream import Upstream, running_upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACKAGE = "@openai/codex@0.171.0"
TASK = "Replace alpha by omega in a.txt and copy it to c.txt."
_TRIPLES = {"x86_64": ("x64", "x86_64"), "aarch64": ("arm64", "aarch64")}


@pytest.fixture(scope="module")
def codex() -> Path:
    """The program, installed once per machine; no package's scripts are run, so it is looked up."""
    short, long = _TRIPLES.get(platform.machine(), (platform.machine(), platform.machine()))
    return npm_program(PACKAGE, f"@openai/codex-linux-{short}/vendor/{long}-unknown-linux-musl/bin/codex")


@dataclass(frozen=True)
class Bench:
    """A folder with the task's file, and the gateway with the upstream that works on it."""

    folder: Path
    gateway: LiveGateway
    upstream: Upstream


@pytest.fixture
def bench(tmp_path: Path, gateway_for: SharedGateways) -> Iterator[Bench]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("alpha\n")
    with running_upstream(scripted()) as upstream:
        live = gateway_for(PROVIDER_LAB_BASE_URL=upstream.url, MAX_RETRIES="0", BREAKER_THRESHOLD="0")
        yield Bench(folder, live, upstream)


@dataclass(frozen=True)
class Report:
    """What Codex told of its work: how it ended, and the events that it printed."""

    status: int
    events: list[dict[str, Any]]

    @property
    def said(self) -> str:
        return json.dumps(self.events)


def run(codex: Path, bench: Bench, model: str, home: Path) -> Report:
    """The task, done with this model."""
    home.mkdir()
    (home / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "gateway"\n[analytics]\nenabled = false\n'
        f'[model_providers.gateway]\nname = "gateway"\nbase_url = "{bench.gateway.base_url}/lab/v1"\n'
        'env_key = "GATEWAY_KEY"\nwire_api = "responses"\n'
    )
    done = subprocess.run(
        [codex, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json", TASK],
        cwd=bench.folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CODEX_HOME": str(home),
            "GATEWAY_KEY": TEST_KEY,
            "NO_PROXY": "127.0.0.1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout, done.stderr
    return Report(done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")])


@pytest.mark.parametrize("trouble", ["works", "cut", "failing"])
def test_it_reads_patches_and_runs_whatever_happens_on_the_way(
    trouble: str, codex: Path, bench: Bench, tmp_path: Path
) -> None:
    report = run(codex, bench, f"gpt-5.5-{trouble}", tmp_path / "home")
    assert report.status == 0, report.said
    assert (bench.folder / "a.txt").read_text() == "omega\n"
    assert (bench.folder / "c.txt").read_text() == "omega\n"
    assert "as you wanted it" in report.said
    asked = [seen.json for seen in bench.upstream.requests if seen.method == "POST"]
    last = asked[-1]["messages"]
    calls = [call["function"] for message in last for call in message.get("tool_calls") or ()]
    assert [call["name"] for call in calls] == ["exec_command", "apply_patch", "exec_command"]
    assert json.loads(calls[1]["arguments"]) == {"input": PATCH}
    results = [str(message["content"]) for message in last if message["role"] == "tool"]
    assert "alpha" in results[0]
    assert len(results) == 3
    assert len(asked) == 4 + (trouble != "works")


@pytest.mark.parametrize(("trouble", "words"), [("limited", "429"), ("full", "context")])
def test_it_is_told_why_there_is_no_answer(trouble: str, words: str, codex: Path, bench: Bench, tmp_path: Path) -> None:
    report = run(codex, bench, f"gpt-5.5-{trouble}", tmp_path / "home")
    assert report.status != 0
    assert words in report.said, report.said
    assert (bench.folder / "a.txt").read_text() == "alpha\n"
