"""`make real-upstreams`: the gateway in front of a real server, checked and probed. Exit code 1 if a check failed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts.real_upstreams import suite
from scripts.real_upstreams.server import (
    HOST,
    MODEL,
    await_ready,
    free_port,
    installed,
    model_file,
    running,
    running_server,
)

DIRECTORY = Path(__file__).resolve().parents[2] / ".real-upstreams"
THROUGH = "through the gateway"


def main() -> int:
    """Build the server, run it, check the gateway in front of it, print the results."""
    DIRECTORY.mkdir(exist_ok=True)
    python = installed(DIRECTORY)
    port = free_port()
    with running_server(python, model_file(python, DIRECTORY)) as upstream:
        env = {"LLAMACPP_BASE_URL": upstream, "SERVICE_HOST": HOST, "SERVICE_PORT": str(port)}
        command = [sys.executable, "-m", "ai_gateway", "serve"]
        with running(command, DIRECTORY / "gateway.log", **env) as gateway:
            await_ready(gateway, f"http://{HOST}:{port}/ready")
            base_url = f"http://{HOST}:{port}/llamacpp/v1"
            results = list(suite.run(base_url))
            probed = {"directly": _probe(upstream), THROUGH: _probe(base_url)}
    _show(results, probed)
    return 1 if any(problem for _, problem in results) else 0


def _probe(url: str) -> dict[str, Any]:
    """The result of `ai-gateway probe`. It includes the model's limits, so only the counts are of interest."""
    command = [sys.executable, "-m", "ai_gateway", "probe", url, "--json", "--parallel", "1"]
    options = ["--model", MODEL, "--embedding-model", MODEL]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=900, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _show(results: list[tuple[str, str]], probed: dict[str, dict[str, Any]]) -> None:
    console = Console(highlight=False)
    table = Table("the gateway in front of llama-cpp-python's server", "result")
    for name, problem in results:
        table.add_row(name, problem or "ok")
    console.print(table)
    probes = Table("ai-gateway probe", *(verdict for verdict in next(iter(probed.values()))["summary"]))
    for way, result in probed.items():
        probes.add_row(way, *(str(count) for count in result["summary"].values()))
    console.print(probes)
    failed = [outcome["id"] for outcome in probed[THROUGH]["checks"] if outcome["verdict"] == "failed"]
    console.print(f"Checks that this server and a model of random weights cannot pass: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
