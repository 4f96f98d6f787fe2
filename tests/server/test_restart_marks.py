"""The settings marked RESTART are exactly those that a reload leaves as they are."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.config.fields import RESTART
from ai_gateway.config.settings import marked

ROOT = Path(__file__).parents[2]


@dataclass
class Reloaded:
    """What the program found, and what its log says about the reload."""

    report: dict[str, Any]
    record: dict[str, Any]


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory) -> Reloaded:
    home = tmp_path_factory.mktemp("settings-reads")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "tests.server.settings_reads", str(home)]
    done = subprocess.run(program, env=env, cwd=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    (record,) = [record for record in records if record["event"] == "configuration reloaded"]
    return Reloaded(json.loads(done.stdout), record)


@pytest.mark.slow
def test_what_only_the_start_reads_is_marked_and_nothing_else_is(reloaded: Reloaded) -> None:
    assert reloaded.report["problems"] == []
    built_in = reloaded.report["built_in"]
    assert built_in.keys() == set(marked(RESTART)), built_in


@pytest.mark.slow
def test_nothing_goes_on_reading_the_settings_of_the_start(reloaded: Reloaded) -> None:
    assert not reloaded.report["still_in_use"]


@pytest.mark.slow
def test_the_log_names_every_changed_setting_that_takes_a_restart(reloaded: Reloaded) -> None:
    assert reloaded.record["takes_a_restart"] == [name.upper() for name in marked(RESTART)]


def test_the_documentation_names_the_settings_that_take_a_restart() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"These settings take a restart:(.*?)\.\n", text, re.DOTALL)
    assert re.findall(r"`([A-Z_]+)`", sentence) == [name.upper() for name in marked(RESTART)]
