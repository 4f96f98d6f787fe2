"""What the gateway keeps between runs lies in one directory."""

from pathlib import Path

import pytest

from ai_gateway.config.constants import cache_dir
from ai_gateway.routing.model_list.store import default_path
from ai_gateway.server.pid_file import places


def test_everything_lies_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "ai-gateway"
    path = default_path("https://lists.example/models")
    assert path is not None
    assert path.parent == places()[0] == cache_dir()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "ai-gateway"
