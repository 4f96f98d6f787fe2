"""`ai-gateway init`: files to begin with, which change nothing and can be used when their marks are taken away."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ai_gateway.config.fields import FILE_ONLY
from ai_gateway.config.settings import Settings, marked
from ai_gateway.config.sources import read_settings, read_sources
from tests.support.gateway import STARTUP_S, clean_environment

pytestmark = pytest.mark.live


def in_directory(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ai_gateway", *arguments],
        cwd=path, env=clean_environment(str(path), {}), capture_output=True, text=True, timeout=STARTUP_S, check=False,
    )  # fmt: skip


def test_the_files_change_nothing_and_are_never_replaced_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_directory(tmp_path, "init").returncode == 0
    config, dotenv = tmp_path / "gateway.toml", tmp_path / ".env"
    assert dotenv.stat().st_mode & 0o777 == 0o600
    monkeypatch.chdir(tmp_path)
    for name in ("GATEWAY_CONFIG", "GATEWAY_ENV_FILE", "GATEWAY_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert read_settings(read_sources()) == Settings()

    # With the marks of comments taken away, each setting has its default, and tables are valid.
    config.write_text(re.sub(r"^# ([a-z_]+ = (?!#).*|\[.*\])$", r"\1", config.read_text(), flags=re.MULTILINE))
    assert len(tomllib.loads(config.read_text())) > 40
    settings = read_settings(read_sources())
    assert settings.model_copy(update={name: {} for name in marked(FILE_ONLY)}) == Settings()
    assert settings.routes
    assert settings.prices

    dotenv.write_text("MINE=1")
    refused = in_directory(tmp_path, "init")
    assert refused.returncode == 1
    assert "gateway.toml is there already" in refused.stderr
    assert ".env is there already" in refused.stderr
    assert dotenv.read_text() == "MINE=1"
    assert in_directory(tmp_path, "init", "--force").returncode == 0
    assert dotenv.read_text() != "MINE=1"


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    work = tmp_path / "work"
    work.mkdir()
    (work / ".env").symlink_to(elsewhere)
    assert in_directory(work, "init").returncode == 1
    assert list(work.iterdir()) == [work / ".env"]
    assert in_directory(work, "init", "--force").returncode == 0
    assert not elsewhere.exists()
