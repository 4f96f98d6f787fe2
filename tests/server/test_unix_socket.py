"""A gateway on a socket in the file system: open to who may open the file, and gone when it ends."""

import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from ai_gateway.config.problems import SettingsError
from ai_gateway.server.unix_socket import bind_unix
from tests.support.client import KEY, TIMEOUT_S
from tests.support.gateway import TEST_KEY, free_port, run_cli, running_gateway

CHAT = {"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}


@contextmanager
def _client(path: Path) -> Iterator[httpx2.Client]:
    transport = httpx2.HTTPTransport(uds=str(path))
    with httpx2.Client(base_url="http://localhost", transport=transport, timeout=TIMEOUT_S) as client:
        yield client


def test_it_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # by a gateway that was killed: nobody listens there
    with running_gateway(SERVICE_SOCKET=str(path)) as live:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert f"--unix-socket {path}" in live.log()
        assert "open to this machine only" in live.log()
        with _client(path) as client:
            assert client.get("/ready").status_code == 200
            assert client.post("/custom/v1/chat/completions", json=CHAT).status_code == 200
            streamed = client.post("/custom/v1/chat/completions", json={**CHAT, "stream": True})
            assert streamed.text.endswith("data: [DONE]\n\n")
            proxied = client.post("/custom/v1/chat/completions", json=CHAT, headers={"x-forwarded-for": "203.0.113.9"})
            assert proxied.status_code == 401  # without keys it is for this machine
        program = "from ai_gateway.server.health_check import answers; raise SystemExit(not answers('/healthz'))"
        check = [sys.executable, "-c", program]
        for env, status in (
            ({"XDG_CACHE_HOME": str(live.output.parent / ".cache")}, 0),
            ({"SERVICE_SOCKET": str(path)}, 0),
            ({"SERVICE_PORT": str(free_port())}, 1),
        ):
            assert subprocess.run(check, env={"HOME": "/nonexistent", **env}, check=False).returncode == status
        second = run_cli("serve", SERVICE_SOCKET=str(path))
        assert second.returncode == 2
        assert f"SERVICE_SOCKET: cannot listen on '{path}': another process listens there" in second.stderr
    assert not path.exists()


def test_with_keys_and_workers_it_serves_what_a_proxy_passes_on(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with running_gateway(SERVICE_SOCKET=str(path), WORKERS="2", ALLOWED_API_KEYS=TEST_KEY), _client(path) as client:
        headers = {**KEY, "x-forwarded-for": "203.0.113.9"}
        for _ in range(5):
            assert client.post("/custom/v1/chat/completions", json=CHAT, headers=headers).status_code == 200
        assert client.post("/custom/v1/chat/completions", json=CHAT).status_code == 401
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "reported"), [("file", "something else is there"), ("missing/gateway.sock", "No such file or directory")]
)
def test_what_else_is_there_is_left_alone(name: str, reported: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    with pytest.raises(
        SettingsError, match=re.escape(f"SERVICE_SOCKET: cannot listen on '{tmp_path / name}': {reported}")
    ):
        bind_unix(tmp_path / name)
    assert (tmp_path / "file").read_text("utf-8") == "precious"
