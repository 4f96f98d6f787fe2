"""Other programs for the same work, measured in the same run: nginx as the reference, and gateways from PyPI.

nginx neither reads nor checks anything, so it is the least that a hop costs on a machine: figures given as ratios to
it can be compared between machines. It takes part wherever it is installed; everything else only when it is named.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.bench.cells import LITELLM, NGINX, VLLM_ROUTER
from scripts.bench.processes import CHAT, HOST, KEY, ROOT, Program, Skipped, free_port

_INSTALL_S = 900
# One worker without a master; what a request costs is forwarding it and nothing else. Bodies stay in memory, and what
# arrives from the upstream goes out at once.
_NGINX_CONF = """\
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_buffer_size 8m;
  client_body_temp_path body;
  proxy_temp_path proxied;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  upstream mock {{
    server {host}:{upstream};
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {host}:{port} backlog=2048;
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
_LITELLM_CONF = """\
model_list:
  - model_name: "*"
    litellm_params: {{ model: "openai/*", api_base: "http://{host}:{upstream}/v1", api_key: none }}
general_settings: {{ master_key: {key} }}
"""


def peer_programs(
    names: Iterable[str], upstream: Program, install: Container[str]
) -> tuple[list[Program], list[Skipped]]:
    """The peers that can run here, and why the others cannot. Installs only those of `install` if they are missing."""
    programs: list[Program] = []
    skipped: list[Skipped] = []
    for name in names:
        found = PEERS[name](upstream, name in install)
        if isinstance(found, Program):
            programs.append(found)
        else:
            skipped.append(found)
    return programs, skipped


def nginx(upstream: Program, install: bool = False) -> Program | Skipped:
    """A plain reverse proxy with keep-alive on both sides."""
    path = shutil.which(NGINX) or shutil.which(NGINX, path="/usr/sbin:/usr/local/sbin")  # not in everybody's PATH
    if path is None:
        if not install:
            return Skipped("nginx is not installed: `apt-get install nginx`, or run with --peers nginx as root")
        if (reason := _install_nginx()) is not None:
            return Skipped(reason)
        return nginx(upstream)
    port = free_port()
    conf = _NGINX_CONF.format(host=HOST, port=port, upstream=upstream.port)
    command = (path, "-p", ".", "-e", "stderr", "-c", "nginx.conf")
    return Program(NGINX, port, CHAT, command, files={"nginx.conf": conf})


def _install_nginx() -> str | None:
    """Why it could not be installed."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "nginx is not installed, and installing it takes root and Debian's packages: `apt-get install nginx`"
    # The run level keeps the package from starting a server of its own.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", NGINX]):
        if (reason := _failure(command, env)) is not None:
            return f"nginx could not be installed: {reason}"
    return None


@dataclass(frozen=True, slots=True)
class Packaged:
    """A peer from PyPI, in an environment of its own. `program` starts it: from its command and the upstream."""

    name: str
    requirement: str
    program: Callable[[Path, Program], Program]
    cache: Path = ROOT / ".bench"

    def __call__(self, upstream: Program, install: bool = False) -> Program | Skipped:
        place = self.cache / self.name
        stamp = place / "installed.txt"
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != self.requirement:
            if not install:
                return Skipped(f"{self.name} is not installed: run with --peers {self.name}")
            if (reason := self._install(place)) is not None:
                return Skipped(f"{self.name} could not be installed: {reason}")
            stamp.write_text(self.requirement, encoding="utf-8")
        return self.program(place / "bin" / self.name, upstream)

    def _install(self, place: Path) -> str | None:
        uv = os.environ.get("UV", "uv")
        into = ["--quiet", "--python", str(place / "bin" / "python")]
        return _failure([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)]) or _failure(
            [uv, "pip", "install", *into, self.requirement]
        )


def _vllm_router(command: Path, upstream: Program) -> Program:
    port = free_port()
    options = {
        "--host": HOST,
        "--port": port,
        "--worker-urls": f"http://{HOST}:{upstream.port}",
        "--policy": "round_robin",
        "--prometheus-host": HOST,
        "--prometheus-port": free_port(),
        "--log-level": "warning",
    }
    arguments = (str(part) for option in options.items() for part in option)
    return Program(command.name, port, CHAT, (str(command), *arguments), start_s=120)


def _litellm(command: Path, upstream: Program) -> Program:
    port = free_port()
    conf = _LITELLM_CONF.format(host=HOST, upstream=upstream.port, key=KEY)
    arguments = ("--config", "litellm.yaml", "--host", HOST, "--port", str(port), "--num_workers", "1")
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    files = {"litellm.yaml": conf}
    # It takes ten seconds to start even where nothing else runs.
    return Program(command.name, port, CHAT, (str(command), *arguments), env, files, start_s=180)


PEERS: Final[dict[str, Callable[[Program, bool], Program | Skipped]]] = {
    NGINX: nginx,
    VLLM_ROUTER: Packaged(VLLM_ROUTER, "vllm-router==0.1.17", _vllm_router),
    LITELLM: Packaged(LITELLM, "litellm[proxy]==1.108.7", _litellm),
}


def _failure(command: list[str], env: dict[str, str] | None = None) -> str | None:
    """What a command that failed wrote last; None if it did not fail."""
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, errors="replace", timeout=_INSTALL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip()[-500:] or f"exit code {done.returncode}")
