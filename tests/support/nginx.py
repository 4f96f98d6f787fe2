"""A real nginx in front of gateways, as operators put it there: from a temporary directory, in the foreground."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.gateway import HOST, free_port

DEPLOYED = Path(__file__).parents[2] / "deploy" / "nginx" / "nginx.conf"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  upstream gateways {{
    {servers}
    keepalive 32;
  }}
  server {{
    listen {host}:{port};
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_read_timeout 600s;
      # A connection that waits to be accepted when a gateway stops is reset by the system.
      proxy_next_upstream error timeout non_idempotent;
    }}
  }}
}}
"""


def find_nginx(home: Path) -> str:
    """The nginx of this machine; in CI, if there is none, that of the system's packages, unpacked and not installed."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found:
        return found
    if os.environ.get("CI") != "true":
        pytest.skip("nginx is not installed")
    try:
        subprocess.run(["apt-get", "download", "nginx"], cwd=home, check=True, capture_output=True, timeout=60)  # noqa: S607
        (package,) = home.glob("nginx*.deb")
        subprocess.run(["dpkg", "-x", package, home / "root"], check=True, capture_output=True, timeout=60)  # noqa: S607
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        pytest.fail(f"nginx could not be had: {error}")
    return str(home / "root" / "usr" / "sbin" / "nginx")


@contextmanager
def running_nginx(home: Path, ports: Sequence[int]) -> Iterator[int]:
    """The port of an nginx that spreads requests over gateways at these ports."""
    port = free_port()
    servers = "\n    ".join(f"server {HOST}:{each} fail_timeout=1s;" for each in ports)
    user = "user root;" if os.getuid() == 0 else ""
    text = CONFIGURATION.format(home=home, host=HOST, port=port, servers=servers, user=user)
    with nginx_with(home, text):
        yield port


def deployed(home: Path, port: int, gateways: Sequence[int], certificate: Path) -> str:
    """The configuration that deploy/ has, with the addresses and files of a test."""
    text = DEPLOYED.read_text("utf-8")
    servers = "\n".join(f"server {HOST}:{each} max_fails=3 fail_timeout=5s;" for each in gateways)
    temporary = "\n".join(f"{kind}_temp_path {home}/{kind};" for kind in _TEMPORARY)
    changes = {
        "server gateway:9000 max_fails=3 fail_timeout=5s;": servers,
        "listen 443 ssl;": f"listen {HOST}:{port} ssl;",
        "/run/gateway/tls.crt": str(certificate),
        "/run/gateway/tls.key": str(certificate),
        "/run/nginx/nginx.pid": f"{home}/nginx.pid",
        "/dev/stderr": f"{home}/error.log",
        "worker_processes auto;": f"worker_processes 1; daemon off; {'user root;' if os.getuid() == 0 else ''}",
        "http {": f"http {{\n{temporary}",
    }
    for deployed_as, here in changes.items():
        assert text.count(deployed_as) == 1, deployed_as
        text = text.replace(deployed_as, here)
    return text


@contextmanager
def nginx_with(home: Path, text: str) -> Iterator[None]:
    """A running nginx that has this configuration."""
    (home / "nginx.conf").write_text(text, encoding="utf-8")
    command = [find_nginx(home), "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30, check=False)
    assert tried.returncode == 0, tried.stderr
    assert "[warn]" not in tried.stderr, tried.stderr
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (home / "nginx.pid").exists() or not (home / "nginx.pid").read_text("utf-8"):
            assert process.poll() is None, (home / "error.log").read_text("utf-8")
            assert time.monotonic() < deadline, "nginx did not start"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(60)
