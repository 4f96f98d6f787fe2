"""Secrets in files, as container platforms mount them: a reload takes those that were rotated."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.client import CHAT, body_of, eventually, get, post
from tests.support.gateway import ONE_ATTEMPT, LiveGateway, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

NAMES = ("ALLOWED_API_KEYS", "ADMIN_API_KEY", "OPENAI_API_KEY", "PROVIDER_LAB_API_KEY")


def _write(folder: Path, generation: str) -> dict[str, str]:
    secrets = {name: f"sk-{name.lower().replace('_', '-')}-{generation}" for name in NAMES}
    for name, secret in secrets.items():
        (folder / name).write_text(f"{secret}\n", encoding="utf-8")
    return secrets


def _reload(live: LiveGateway) -> None:
    before = len(live.records("configuration reloaded"))
    os.kill(live.process.pid, signal.SIGHUP)
    eventually(lambda: len(live.records("configuration reloaded")) > before)


def _statuses(live: LiveGateway, secrets: dict[str, str]) -> tuple[int, int]:
    """What a caller and an administrator get with these keys."""
    chat = post(live, f"/openai/v1/{CHAT}", body_of(CHAT, "good#rotated"), key=secrets["ALLOWED_API_KEYS"])
    projects = get(live, "/v1/organization/projects", key=secrets["ADMIN_API_KEY"])
    return chat.status_code, projects.status_code


def test_a_reload_takes_rotated_secrets_of_every_kind(upstream: Upstream, tmp_path: Path) -> None:
    first = _write(tmp_path, "first")
    files = {f"{name}_FILE": str(tmp_path / name) for name in NAMES}
    addresses = {"OPENAI_BASE_URL": upstream.url, "PROVIDER_LAB_BASE_URL": upstream.url}
    with running_gateway(**files, **addresses, **ONE_ATTEMPT) as live:
        assert _statuses(live, first) == (200, 200)
        assert upstream.last("good#rotated").header("authorization") == f"Bearer {first['OPENAI_API_KEY']}"

        second = _write(tmp_path, "second")
        assert _statuses(live, first) == (200, 200)  # not before it is told
        _reload(live)
        assert _statuses(live, first) == (401, 401)
        assert _statuses(live, second) == (200, 200)
        assert upstream.last("good#rotated").header("authorization") == f"Bearer {second['OPENAI_API_KEY']}"
        key = second["ALLOWED_API_KEYS"]
        assert post(live, f"/lab/v1/{CHAT}", body_of(CHAT, "good#lab"), key=key).status_code == 200
        assert upstream.last("good#lab").header("authorization") == f"Bearer {second['PROVIDER_LAB_API_KEY']}"

        (tmp_path / "OPENAI_API_KEY").unlink()
        os.kill(live.process.pid, signal.SIGHUP)
        eventually(lambda: bool(live.records("configuration not reloaded")))
        assert "OPENAI_API_KEY_FILE" in str(live.records("configuration not reloaded")[-1]["problems"])
        assert _statuses(live, second) == (200, 200)  # it goes on with what it has
        log = live.log()
        assert not [secret for secret in (*first.values(), *second.values()) if secret in log]
