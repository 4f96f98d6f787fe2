"""A running gateway takes over another configuration without dropping a stream, or says why it does not."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, override

import psutil
import pytest

from ai_gateway.app.configuration import read_configuration
from ai_gateway.server.last_configuration import LastConfiguration
from ai_gateway.server.pid_file import Address, Reload, pid_file, record_reload_outcome, reloads_since, running
from ai_gateway.server.reload_command import reload
from tests.support.behaviours import TEXT, behave
from tests.support.client import CHAT, ask, body_of, client_of, eventually, get, post
from tests.support.command import run_command
from tests.support.gateway import HOST, STARTUP_S, LiveGateway, closed_port, running_gateway
from tests.support.upstream import Upstream, running_upstream


def table(name: str, upstream: Upstream, **more: str) -> str:
    lines = [f'{key} = "{value}"' for key, value in {"base_url": upstream.url, **more}.items()]
    return "\n".join([f"[providers.{name}]", *lines, ""])


@contextlib.contextmanager
def configured(path: Path, text: str, **env: str) -> Iterator[LiveGateway]:
    path.write_text(text, encoding="utf-8")
    settings = {"XDG_CACHE_HOME": str(path.parent), "MAX_RETRIES": "0", **env}
    with running_gateway(GATEWAY_CONFIG=str(path), **settings) as live:
        yield live


class Reloading:
    """A gateway, and the file that it reads its configuration from."""

    def __init__(self, live: LiveGateway, path: Path) -> None:
        self.live, self.path = live, path

    def reload(self, text: str, outcome: str = "configuration reloaded") -> dict[str, Any]:
        """Write the file, tell the gateway, and wait for its record of that."""
        before = len(self.live.records(outcome))
        self.path.write_text(text, encoding="utf-8")
        os.kill(self.live.process.pid, signal.SIGHUP)
        eventually(lambda: len(self.live.records(outcome)) > before)
        return self.live.records(outcome)[-1]

    def status(self, provider: str, model: str = "good", key: str | None = None) -> int:
        path = f"/{provider}/v1" if provider else "/v1"
        return post(self.live, f"{path}/chat/completions", body_of(CHAT, model), key=key).status_code


@pytest.fixture(scope="module", name="running")
def reloading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloading]:
    """One for all tests that need no start of their own: each begins with a reload."""
    path = tmp_path_factory.mktemp("reload") / "gateway.toml"
    with configured(path, "") as live:
        yield Reloading(live, path)


def status(live: LiveGateway, provider: str) -> int:
    return ask(live, "good", provider=provider).status_code


def test_providers_and_aliases_come_and_go(running: Reloading, upstream: Upstream) -> None:
    running.reload(table("first", upstream))
    assert (running.status("first"), running.status("second"), running.status("", "nick")) == (200, 404, 404)
    record = running.reload(f'{table("second", upstream)}[aliases]\nnick = "second/good"\n')
    assert record["providers"] == ["second", "custom"]
    assert (running.status("first"), running.status("second"), running.status("", "nick")) == (404, 200, 200)
    contract = get(running.live, "/openapi.json").json()
    parameters = contract["paths"]["/{provider}/v1/models"]["get"]["parameters"]
    (parameter,) = (each for each in parameters if each["name"] == "provider")
    assert parameter["schema"]["enum"] == ["custom", "second"]


def test_streams_go_on_when_their_provider_is_taken_away(running: Reloading, upstream: Upstream) -> None:
    running.reload(table("first", upstream))
    body = body_of(CHAT, "paced", stream=True)
    with (
        client_of(running.live) as client,
        client.stream("POST", "/first/v1/chat/completions", json=body) as stream,
    ):
        lines = stream.iter_lines()
        read = [next(lines)]
        running.reload("")
        assert running.status("first") == 404
        read += lines
    text = "".join(
        choice["delta"].get("content") or ""
        for line in read
        if line.startswith("data: {")
        for choice in json.loads(line.removeprefix("data: "))["choices"]
    )
    assert read[-2] == "data: [DONE]"
    assert text == TEXT


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[providers.lab", "not valid TOML"),
        ('[providers.lab]\nbase_url = "nowhere"', "must look like https://host/v1"),
        ('[aliases]\nnick = "nobody/x"', "nobody"),
        ('breaker_threshold = "many"', "BREAKER_THRESHOLD"),
    ],
)
def test_a_configuration_that_cannot_be_used_changes_nothing(
    running: Reloading, upstream: Upstream, text: str, problem: str
) -> None:
    running.reload(table("first", upstream))
    record = running.reload(text, "configuration not reloaded")
    assert problem in " ".join(record["problems"])
    assert running.status("first") == 200
    running.reload(table("second", upstream))
    assert running.status("second") == 200


def test_keys_are_taken_over_and_what_takes_a_restart_is_named(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "gateway.toml"
    with configured(path, table("first", upstream)) as live:
        own = Reloading(live, path)
        text = f'allowed_api_keys = ["sk-new-1"]\nrequest_max_size = 1000\n{table("first", upstream)}'
        assert own.reload(text)["takes_a_restart"] == ["REQUEST_MAX_SIZE"]
        assert "sk-new-1" not in live.log()
        assert [own.status("first", key=key) for key in (None, "sk-new-1")] == [401, 200]


def test_what_takes_a_restart_is_named_for_as_long_as_it_differs_from_what_runs(running: Reloading) -> None:
    pending = [
        running.reload(text)["takes_a_restart"]
        for text in ("max_in_flight = 8", "max_in_flight = 8\nmax_retries = 1", "")
    ]
    assert pending == [["MAX_IN_FLIGHT"], ["MAX_IN_FLIGHT"], []]


def test_a_client_that_reads_nothing_is_cut_off_after_the_reloaded_time(running: Reloading, upstream: Upstream) -> None:
    provider = table("first", upstream)
    body = json.dumps(body_of(CHAT, "flood#reloaded", stream=True)).encode()
    lines = ["POST /first/v1/chat/completions HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json",
             f"Content-Length: {len(body)}", "", ""]  # fmt: skip
    running.reload(f"stream_idle_timeout_s = 600\n{provider}")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((HOST, running.live.port))
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        running.reload(f"stream_idle_timeout_s = 1\n{provider}")
        connection.sendall("\r\n".join(lines).encode() + body)
        assert upstream.last("flood#reloaded").gone.wait(30)


def test_connections_of_a_provider_that_stays_are_kept(running: Reloading, upstream: Upstream) -> None:
    running.reload(table("first", upstream))
    assert running.status("first", "good#kept-1") == 200
    running.reload(table("first", upstream) + table("other", upstream))
    assert running.status("first", "good#kept-2") == 200
    assert upstream.last("good#kept-2").peer == upstream.last("good#kept-1").peer


def test_the_command_tells_the_gateway_on_a_port(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "gateway.toml"
    with configured(path, table("first", upstream)) as live:
        env = {"XDG_CACHE_HOME": str(tmp_path), "GATEWAY_CONFIG": str(path)}
        path.write_text(table("second", upstream), encoding="utf-8")
        done = run_command("reload", "--port", str(live.port), **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert str(live.process.pid) in done.stdout
        assert status(live, "second") == 200
        path.write_text("breaker_threshold = -1", encoding="utf-8")
        refused = run_command("reload", XDG_CACHE_HOME=str(tmp_path))
        assert refused.returncode == 2
        assert "BREAKER_THRESHOLD: -1 has to be at least 0 (gateway.toml)" in refused.stderr
        assert "goes on with what it has" in refused.stderr
        assert len(live.records("configuration not reloaded")) == 1
    path.write_text("", encoding="utf-8")
    gone = run_command("reload", "--port", str(live.port), **env)
    assert (gone.returncode, "no gateway of this user runs on port" in gone.stderr) == (1, True)
    assert not list(tmp_path.glob("ai-gateway/gateway-*"))


def test_the_command_tells_what_the_gateways_own_environment_makes_of_it(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "gateway.toml"
    with configured(path, table("first", upstream)) as live:
        path.write_text(f'max_in_flight = 8\n{table("first", upstream)}[aliases]\nx = "groq/y"\n', encoding="utf-8")
        shell = {
            "MAX_RETRIES": "-1",
            "GATEWAY_CONFIG": "/nowhere.toml",
            "SERVICE_PORT": "1",
        }  # its own, not the gateway's
        done = run_command("reload", XDG_CACHE_HOME=str(tmp_path), **shell)
        assert done.returncode == 0, done.stderr
        assert f"port {live.port}" in done.stdout
        assert "not before a restart: MAX_IN_FLIGHT" in done.stdout
        assert "warning: alias 'x' leads to 'groq/y', but that provider is not configured here: set GROQ_API_KEY" in (
            done.stderr
        )


def test_the_command_finds_a_gateway_whose_user_has_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "TMPDIR": str(tmp_path)}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with running_gateway(**nowhere, WORKERS="2") as live:
        done = run_command("reload", **nowhere)
        assert (done.returncode, done.stderr) == (0, "")
        assert str(live.process.pid) in done.stdout
        assert len(live.records("configuration reloaded")) == 2


def test_a_reload_never_opens_a_gateway_that_had_keys(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    with configured(path, 'allowed_api_keys = ["sk-1"]') as live:
        for text in ("", "allowed_api_keys = []", "allow_anonymous = true", 'allowed_api_keys = ",,"'):
            path.write_text(text, encoding="utf-8")
            refused = run_command("reload", XDG_CACHE_HOME=str(tmp_path))
            assert refused.returncode == 2
            assert "ALLOWED_API_KEYS: " in refused.stderr
            assert get(live, "/v1/models", key=None).status_code == 401
        path.write_text('allowed_api_keys = ["sk-2"]', encoding="utf-8")
        assert run_command("reload", XDG_CACHE_HOME=str(tmp_path)).returncode == 0
        assert get(live, "/v1/models", key="sk-2").status_code == 200


def test_every_worker_takes_it_over_and_so_does_the_next_one(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "gateway.toml"
    with configured(path, table("first", upstream), WORKERS="2") as live:
        eventually(lambda: status(live, "first") == 200)
        path.write_text(table("second", upstream), encoding="utf-8")
        os.kill(live.process.pid, signal.SIGHUP)
        eventually(lambda: len(live.records("configuration reloaded")) == 2)
        assert [status(live, "second") for _ in range(8)] == [200] * 8
        psutil.Process(live.process.pid).children()[0].kill()
        eventually(lambda: len(live.records("ready")) == 3, within=STARTUP_S)
        assert [status(live, "second") for _ in range(8)] == [200] * 8


def test_a_terminal_that_is_closed_ends_the_gateway(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SERVICE_PORT": "0"}
    command = [sys.executable, "-m", "ai_gateway", "serve"]
    process = subprocess.Popen(
        ["/usr/bin/setsid", "--ctty", *command], stdin=follower, stdout=follower, stderr=follower, env=env, cwd=tmp_path
    )
    os.close(follower)
    read = b""
    while b"listening" not in read:
        read += os.read(leader, 4096)
    os.close(leader)
    assert process.wait(STARTUP_S) == 0


def test_what_a_provider_has_listed_is_known_after_a_reload(running: Reloading) -> None:
    with running_upstream(behave) as listing:
        running.reload(table("listing", listing))
        assert running.status("", "plain-model") == 200
        listing.program("models-list", b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
        running.reload(table("listing", listing) + "[aliases]\nnick = 'listing/x'\n")
        assert running.status("", "plain-model") == 200


def test_a_provider_at_another_address_is_asked_whatever_the_old_one_did(
    running: Reloading, upstream: Upstream
) -> None:
    with closed_port() as port:
        dead = f'[providers.moving]\nbase_url = "http://{HOST}:{port}/v1"\n'
        running.reload(f"breaker_threshold = 1\n{dead}")
        assert [running.status("moving"), running.status("moving")] == [502, 503]
        running.reload(f"breaker_threshold = 1\n{table('moving', upstream)}")
    assert running.status("moving") == 200


def test_the_model_list_stays_when_only_its_refresh_changes(running: Reloading, upstream: Upstream) -> None:
    listed = [{"model_version": "listed", "handle": "/first/v1/chat/completions"}]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
    with running_upstream(behave) as host:
        host.program("models-list", head, json.dumps(listed).encode())
        base = f'model_list_url = "{host.url}/models"\nmodel_list_cache = "/dev/null/nowhere"\n'
        running.reload(base + table("first", upstream))
        eventually(lambda: running.status("", "listed") == 200)
        host.program("models-list", b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
        running.reload(f"{base}model_list_refresh_s = 77\n{table('first', upstream)}")
        assert running.status("", "listed") == 200
    running.reload("")


# Python imports it before anything else: it notes which files the process opens.
OPENED = """
import os, sys
def note(event, arguments):
    if event == "open" and os.path.basename(str(arguments[0])) in {".env", "gateway.toml", "aliases.json"}:
        os.write(log, (os.path.basename(arguments[0]) + "\\n").encode())
log = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(note)
"""


def test_every_source_is_opened_once_a_start_and_once_a_reload(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(OPENED, encoding="utf-8")
    (tmp_path / ".env").write_text("SERVICE_PORT=0\nMODEL_MAPPING_FILE=aliases.json\n", encoding="utf-8")
    (tmp_path / "gateway.toml").write_text('[providers.lab]\nbase_url = "http://127.0.0.1:9/v1"\n', encoding="utf-8")
    (tmp_path / "aliases.json").write_text('{"nick": "lab/m"}', encoding="utf-8")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    env |= {"OPENED": str(tmp_path / "opened")}
    command = [sys.executable, "-m", "ai_gateway", "serve"]
    output = tmp_path / "output.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=sink, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: "listening" in output.read_text("utf-8"), within=STARTUP_S)
        started = Counter((tmp_path / "opened").read_text("utf-8").split())
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "configuration reloaded" in output.read_text("utf-8"))
        reloaded = Counter((tmp_path / "opened").read_text("utf-8").split())
    finally:
        process.terminate()
        process.wait(STARTUP_S)
    assert started == {".env": 1, "gateway.toml": 1, "aliases.json": 1}
    assert reloaded == {".env": 2, "gateway.toml": 2, "aliases.json": 2}


def test_a_worker_that_ends_takes_nothing_with_it(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "gateway.toml"
    with configured(path, table("first", upstream), WORKERS="2") as live:
        eventually(lambda: len(psutil.Process(live.process.pid).children()) == 2)
        worker = psutil.Process(live.process.pid).children()[0]
        worker.terminate()
        worker.wait(STARTUP_S)
        done = run_command("reload", "--port", str(live.port), XDG_CACHE_HOME=str(tmp_path), GATEWAY_CONFIG=str(path))
        assert (done.returncode, done.stderr) == (0, "")


def test_gateways_on_one_port_of_two_addresses_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    addresses = [Address("192.0.2.2", 9000), Address("192.0.2.1", 9000)]
    with contextlib.ExitStack() as stack:
        for address in addresses:
            stack.enter_context(pid_file(address, 1))
        assert reload(9000, None) == 1
        assert "on 192.0.2.1:9000, 192.0.2.2:9000: name one with --host" in capsys.readouterr().err
        assert reload(9000, "192.0.2.3") == 1
        assert "of 192.0.2.3: start one" in capsys.readouterr().err


def test_gateways_on_two_sockets_are_told_apart(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    paths = [str(tmp_path / f"{name}.sock") for name in ("one", "other")]
    with running_gateway(**env, SERVICE_SOCKET=paths[0]), running_gateway(**env, SERVICE_SOCKET=paths[1]) as other:
        done = run_command("reload", "--host", paths[1], **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"(process {other.process.pid}, port 0 of {paths[1]})" in done.stdout


def test_containers_that_share_the_folder_see_their_own_gateways_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    address = Address("::", 9000)
    with contextlib.ExitStack() as stack:
        files = []
        for name in ("first", "second"):
            monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
            files.append(stack.enter_context(pid_file(address, 1)))
        (found,) = running()
        assert found.reloads == files[1] != files[0]
        monkeypatch.setattr(socket, "gethostname", lambda: "third")
        assert running() == []
        folder = tmp_path / "ai-gateway"
        (folder / "gateway-killed.pid").touch()
        os.utime(folder / "gateway-killed.pid", (0, 0))
        for held in folder.glob("*.pid"):
            os.utime(held, (0, 0))
        stack.enter_context(pid_file(address, 1))
        assert len(list(folder.glob("*.pid"))) == 3  # and not that of one that was killed


def test_a_command_learns_of_a_reload_however_many_there_were_before(tmp_path: Path) -> None:
    path = tmp_path / "gateway.reloads"
    outcome = Reload(["a problem"], ["SERVICE_PORT"] * 100, [])
    while not path.exists() or path.stat().st_size < 300_000:
        record_reload_outcome(path, outcome)
    before = path.stat().st_size
    record_reload_outcome(path, outcome)
    assert reloads_since(path, before) == [outcome]


def replace_workers(live: LiveGateway) -> None:
    """Kill all workers at once, so that every request is answered by one that has taken another's place."""
    supervisor = psutil.Process(live.process.pid)
    former = supervisor.children()
    ready = len(live.records("ready"))
    for worker in former:
        worker.kill()
    eventually(lambda: len(live.records("ready")) == ready + len(former))


def keys(*names: str) -> str:
    """A table for each key, `sk-NAME-0123456789abcdef`."""
    return "".join(f'[keys.{name}]\ndigest = "{sha256(key(name).encode()).hexdigest()}"\n' for name in names)


def key(name: str) -> str:
    return f"sk-{name}-0123456789abcdef"


@pytest.mark.parametrize("then", ["[providers.lab", keys("revoked", "kept"), None])
def test_a_worker_that_replaces_another_serves_what_was_taken_last(tmp_path: Path, then: str | None) -> None:
    """Whatever the file contains by then: what is unusable, what nobody has reloaded yet, or nothing."""
    path = tmp_path / "gateway.toml"
    with configured(path, keys("revoked", "kept"), WORKERS="2") as live:
        eventually(lambda: len(live.records("ready")) == 2)
        running = Reloading(live, path)
        assert [running.status("custom", "custom-chat", key(name)) for name in ("revoked", "kept")] == [200, 200]
        path.write_text(f'log_level = "debug"\n[aliases]\nnick = "custom/custom-chat"\n{keys("kept")}', "utf-8")
        run_command("reload", "--port", str(live.port), XDG_CACHE_HOME=str(tmp_path))
        assert len(live.records("configuration reloaded")) == 2
        path.write_text(then, "utf-8") if then is not None else path.unlink()
        for _ in range(2):  # those that have replaced others are replaced as well
            replace_workers(live)
            assert {running.status("custom", "custom-chat", key("revoked")) for _ in range(10)} == {401}
            assert {running.status("", "nick", key("kept")) for _ in range(10)} == {200}


def test_a_worker_that_replaces_another_answers_for_the_reload_that_it_missed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    with configured(path, keys("revoked", "kept"), WORKERS="2") as live:
        eventually(lambda: len(live.records("ready")) == 2)
        path.write_text(keys("kept"), "utf-8")
        for worker in psutil.Process(live.process.pid).children():
            worker.suspend()  # so that it does not hear of it
            worker.kill()
        done = run_command("reload", "--port", str(live.port), XDG_CACHE_HOME=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
        assert {Reloading(live, path).status("custom", "custom-chat", key("revoked")) for _ in range(10)} == {401}


class OfAPlugin:
    """What cannot be pickled."""

    @override
    def __reduce__(self) -> str:
        raise TypeError


def test_a_configuration_that_cannot_be_kept_is_read_again() -> None:
    last = LastConfiguration(2)
    assert last.newest() is None
    configuration = read_configuration()
    last.took(0, 1.0, configuration, (b"certificate", b"key"))
    last.refused(1, 2.0)
    taken = last.newest()
    assert taken is not None
    kept = taken.configuration()
    assert kept is not None
    assert (kept.settings, taken.certificate) == (configuration.settings, (b"certificate", b"key"))
    assert (last.answered(0), last.answered(1)) == (1.0, 2.0)
    last.took(1, 3.0, replace(configuration, upstreams=[OfAPlugin()]), None)  # type: ignore[list-item]
    unkept = last.newest()
    assert unkept is not None
    assert (unkept.at, unkept.configuration()) == (3.0, None)
