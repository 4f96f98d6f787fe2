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
    (home / "nginx.conf").write_text(text, encoding="utf-8")
    command = [find_nginx(home), "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (home / "nginx.pid").exists():
            assert process.poll() is None, (home / "error.log").read_text("utf-8")
            assert time.monotonic() < deadline, "nginx did not start"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)
