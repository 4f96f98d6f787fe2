"""The gateway's own certificate: shown, renewed by a reload, and never replaced by one that cannot be used."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.server.certificate import certificate_of
from tests.support.certificate import Authority
from tests.support.client import KEY, TIMEOUT_S, eventually
from tests.support.gateway import HOST, LiveGateway, in_front_of, run_cli, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
CHAT = "/openai/v1/chat/completions"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@dataclass(frozen=True)
class Site:
    """A gateway that speaks TLS only, and the files that it reads."""

    live: LiveGateway
    authority: Authority
    certificate: Path
    key: Path

    @contextmanager
    def client(self) -> Iterator[httpx2.Client]:
        url = f"https://{HOST}:{self.live.port}"
        trust = ssl.create_default_context(cafile=str(self.authority.certificate))
        with httpx2.Client(base_url=url, headers=KEY, verify=trust, timeout=TIMEOUT_S, trust_env=False) as client:
            yield client

    def shown(self) -> str:
        """Whose certificate a new connection gets to see."""
        trust = ssl.create_default_context(cafile=str(self.authority.certificate))
        with (
            socket.create_connection((HOST, self.live.port), TIMEOUT_S) as plain,
            trust.wrap_socket(plain, server_hostname=HOST) as encrypted,
        ):
            assert encrypted.version() in {"TLSv1.2", "TLSv1.3"}
            found = re.search(r"'commonName', '(\w+)'", str(encrypted.getpeercert()))
            assert found
            return found[1]

    def install(self, name: str) -> None:
        certificate, key = self.authority.issue(name)
        shutil.copy(certificate, self.certificate)
        shutil.copy(key, self.key)

    def reload(self, outcome: str) -> None:
        before = len(self.live.records(outcome))
        os.kill(self.live.process.pid, signal.SIGHUP)
        eventually(lambda: len(self.live.records(outcome)) > before)


@pytest.fixture(scope="module")
def site(authority: Authority, shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    certificate, key = (shutil.copy(path, folder) for path in authority.issue("first"))
    files = {"SSL_CERTFILE": str(certificate), "SSL_KEYFILE": str(key)}
    environment = {
        "ALLOWED_API_KEYS": KEY["authorization"].removeprefix("Bearer "),
        "REQUEST_MAX_SIZE": "100000",
        "BODY_TIMEOUT_S": "3",
    }
    with running_gateway(**in_front_of(shared_upstream), **files, **environment) as live:
        yield Site(live, authority, Path(certificate), Path(key))


def _body(model: str, content: str = "hello", *, stream: bool = False) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream}


def test_calls_are_answered_whole_and_streamed(site: Site) -> None:
    with site.client() as client:
        assert client.post(CHAT, json=_body("good#tls")).status_code == 200
        with client.stream("POST", CHAT, json=_body("good#tls-stream", stream=True)) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert client.post(CHAT, json=_body("good#again")).status_code == 200


def test_the_banner_says_how_it_is_reached(site: Site) -> None:
    log = site.live.log()
    assert f"  listening  https://{HOST}:{site.live.port} " in log
    assert f"curl --insecure https://{HOST}:{site.live.port}/custom/v1/chat/completions" in log


def test_the_health_check_of_the_image_knows_that_it_speaks_tls(site: Site) -> None:
    joined = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text("utf-8"))
    (check,) = re.findall(r"^HEALTHCHECK .* CMD (.*)$", joined, re.MULTILINE)
    command = [sys.executable, *json.loads(check)[1:]]

    def healthy(**env: str) -> bool:
        return subprocess.run(command, env={"HOME": "/nonexistent", **env}, check=False).returncode == 0

    port = str(site.live.port)
    assert healthy(XDG_CACHE_HOME=str(site.live.output.parent / ".cache"))  # where the gateway itself says so
    assert healthy(SERVICE_PORT=port, SSL_CERTFILE=str(site.certificate))
    assert not healthy(SERVICE_PORT=port)


def test_a_client_that_leaves_ends_the_call(site: Site, shared_upstream: Upstream) -> None:
    with (
        site.client() as client,
        client.stream("POST", CHAT, json=_body("stalled-stream#tls", stream=True)) as answer,
    ):
        assert next(line for line in answer.iter_lines() if line.startswith("data:"))
    assert shared_upstream.last("stalled-stream#tls").gone.wait(TIMEOUT_S)


def test_a_body_that_is_too_large_is_refused_while_it_is_sent(site: Site) -> None:
    """TLS cannot be closed in one direction, as a plain connection is then."""
    with site.client() as client:
        refused = client.post(CHAT, json=_body("good#large", "x" * 3_000_000))
        assert refused.status_code == 413
        assert client.post(CHAT, json=_body("good#after")).status_code == 200
    assert not [record for record in site.live.records() if "exception" in record]


def test_who_speaks_no_tls_gets_no_answer(site: Site) -> None:
    answer = b""
    with socket.create_connection((HOST, site.live.port), TIMEOUT_S) as plain, suppress(ConnectionError):
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = plain.recv(4096)
    assert not answer.startswith(b"HTTP")


def test_who_says_nothing_is_not_waited_for_longer_than_for_a_request(site: Site) -> None:
    with socket.create_connection((HOST, site.live.port), TIMEOUT_S) as silent:  # half of what uvicorn waits
        assert silent.recv(1) == b""


def test_clients_that_do_not_close_their_side_hold_up_no_stop(authority: Authority, shared_upstream: Upstream) -> None:
    """An idle client reads that the encryption has ended when it next uses its connection."""
    certificate, key = authority.issue("stopped")
    files = {"SSL_CERTFILE": str(certificate), "SSL_KEYFILE": str(key)}
    trust = ssl.create_default_context(cafile=str(authority.certificate))
    with ExitStack() as clients, running_gateway(**in_front_of(shared_upstream), **files, GRACE_PERIOD_S="60") as live:
        for end in ["", "Connection: close\r\n"]:
            plain = clients.enter_context(socket.create_connection((HOST, live.port), TIMEOUT_S))
            client = clients.enter_context(trust.wrap_socket(plain, server_hostname=HOST))
            client.sendall(f"GET /health HTTP/1.1\r\nHost: {HOST}\r\n{end}\r\n".encode())
            assert client.recv(12) == b"HTTP/1.1 200"
        began = time.monotonic()
        os.kill(live.process.pid, signal.SIGTERM)
        live.process.wait(60)
        assert time.monotonic() - began < 20  # half a minute if their answer is waited for


def test_a_client_that_reads_slowly_gets_all_of_a_reply_that_ends_its_connection(
    site: Site, shared_upstream: Upstream
) -> None:
    text = "x" * 6_000_000
    reply = {"id": "a", "object": "chat.completion", "created": 1, "model": "large", "choices": [_choice(text)]}
    content = json.dumps(reply).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    shared_upstream.program("large#tls", head.encode() + content)
    body = json.dumps(_body("large#tls")).encode()
    lines = [f"POST {CHAT} HTTP/1.1", f"Host: {HOST}", f"Authorization: {KEY['authorization']}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    trust = ssl.create_default_context(cafile=str(site.authority.certificate))
    with (
        socket.create_connection((HOST, site.live.port), TIMEOUT_S) as plain,
        trust.wrap_socket(plain, server_hostname=HOST) as client,
    ):
        client.sendall("\r\n".join(lines).encode() + body)
        received = client.recv(1000)
        time.sleep(3)  # longer than a connection whose client has everything is waited for
        while data := client.recv(1_000_000):
            received += data
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"x") >= len(text)


def _choice(text: str) -> dict[str, object]:
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": None}


def test_a_reload_shows_a_renewed_certificate_and_keeps_open_connections(site: Site) -> None:
    before = site.shown()
    with site.client() as client:
        with client.stream("POST", CHAT, json=_body("stalled-stream#renewed", stream=True)) as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if line.startswith("data:"))
            site.install("second")
            site.reload("configuration reloaded")
            assert next(line for line in lines if line)  # the stream goes on, if only with a comment
        assert (before, site.shown()) == ("first", "second")
        assert client.post(CHAT, json=_body("good#renewed")).status_code == 200


@pytest.mark.parametrize("what", ["another key", "no certificate", "no file"])
def test_a_reload_that_finds_no_pair_changes_nothing(site: Site, what: str) -> None:
    site.install("third")
    site.reload("configuration reloaded")
    if what == "another key":
        shutil.copy(site.authority.issue("stranger")[1], site.key)
    elif what == "no certificate":
        site.certificate.write_text("nothing", encoding="utf-8")
    else:
        site.certificate.unlink()
    site.reload("configuration not reloaded")
    (problem,) = site.live.records("configuration not reloaded")[-1]["problems"]
    assert problem.startswith("SSL_CERTFILE: ")
    assert site.shown() == "third"
    with site.client() as client:
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("what", ["another key", "no file", "a renewed one"])
def test_a_worker_that_replaces_another_shows_what_was_taken_last(
    authority: Authority, tmp_path: Path, what: str
) -> None:
    certificate, key = (Path(shutil.copy(path, tmp_path)) for path in authority.issue("before"))
    files = {"SSL_CERTFILE": str(certificate), "SSL_KEYFILE": str(key)}
    with running_gateway(**files, WORKERS="2", ALLOWED_API_KEYS="sk-test-0123456789abcdef") as live:
        site = Site(live, authority, certificate, key)
        eventually(lambda: len(live.records("ready")) == 2)
        site.install("taken")
        site.reload("configuration reloaded")
        eventually(lambda: len(live.records("configuration reloaded")) == 2)
        if what == "another key":
            shutil.copy(site.authority.issue("stranger")[1], key)
        elif what == "no file":
            certificate.unlink()
        else:
            site.install("not-yet")
        for worker in psutil.Process(live.process.pid).children():
            worker.kill()
        eventually(lambda: len(live.records("ready")) == 4)
        assert {site.shown() for _ in range(8)} == {"taken"}


def test_a_start_without_a_usable_pair_names_the_setting(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("start")
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", str(key), "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    for files, reported in (
        ((certificate, None), "and its key are no pair that can be used"),
        ((None, key), "SSL_KEYFILE is set, but SSL_CERTFILE is missing: set both"),
        ((certificate, encrypted), f"SSL_KEYFILE: '{encrypted}' holds a key that is encrypted"),
    ):
        with pytest.raises(SettingsError, match=re.escape(reported)):
            certificate_of(Settings(ssl_certfile=files[0], ssl_keyfile=files[1]))
    done = run_cli("serve", SSL_CERTFILE="/nowhere.crt")
    assert done.returncode == 2
    assert "SSL_CERTFILE: '/nowhere.crt' cannot be read: No such file or directory" in done.stderr
