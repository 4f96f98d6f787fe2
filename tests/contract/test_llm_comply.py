"""`llm-comply`, which has requests and documents of three wires, finds nothing wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import TEST_KEY, LiveGateway
from tests.support.uv import ROOT, find_uv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JUDGE = "llm-comply==0.5.0"
MODEL = "custom-o3-claude-4"  # of such names it expects reasoning


@pytest.fixture(scope="module")
def judge() -> Path:
    place = ROOT / ".clients" / JUDGE
    command = place / "venv" / "bin" / "llm-comply"
    if not command.exists():
        python = str(place / "venv" / "bin" / "python")
        steps = (
            ["venv", "--quiet", "--clear", "--python", sys.executable, str(place / "venv")],
            [*("pip", "install", "--quiet", "--python", python, JUDGE)],
        )
        for made in steps:
            done = subprocess.run([find_uv(), *made], capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                pytest.skip(f"{JUDGE} cannot be installed here: {done.stderr[-500:]}")
    return command


@pytest.mark.parametrize(("form", "tests"), [("open-responses", 13), ("openai-chat", 9), ("anthropic", 9)])
def test_nothing_is_found_wrong(judge: Path, gateway: LiveGateway, form: str, tests: int) -> None:
    url = f"{gateway.base_url}/custom/v1"
    command: list[str | Path] = [judge, "-u", url, "-k", TEST_KEY, "-m", MODEL, "--format", form, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    report = json.loads(ran.stdout)
    found = {each.get("id") or each.get("name"): each["status"] for each in report["results"]}
    assert len(found) == tests, found
    assert [name for name, status in found.items() if status != "passed"] == [], ran.stdout[-4000:]
