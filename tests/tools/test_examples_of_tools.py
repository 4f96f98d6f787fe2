"""The requests of docs/tools.md as they stand there, against a gateway that has every tool."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import LiveGateway, running_gateway
from tests.tools.test_mcp import running_server

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
EXAMPLES = [block for block in re.findall(r"```sh\n(curl .*?)```", TEXT, re.DOTALL) if "chat/completions" in block]
SAYS = {
    "gateway:web_search": "Results for: ",
    "gateway:code_execution": "5050",
    "gateway:memory": "",
    "gateway:mcp": "Good morning",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    config = tmp_path_factory.mktemp("examples") / "gateway.toml"
    with running_server() as (url, _):
        config.write_text(f'[mcp.tickets]\nurl = "{url}"\n')
        env = {"TOOL_CODE_EXECUTION": "monty", "TOOL_MEMORY": "true", "STORE_URL": "memory"}
        with running_gateway(GATEWAY_CONFIG=str(config), **env) as running:
            yield running


def kind_of(example: str) -> str:
    found = re.search(r'"type": "(gateway:\w+)"', example)
    return found[1] if found else ""


def test_there_is_one_for_each_tool() -> None:
    assert sorted(map(kind_of, EXAMPLES)) == sorted(SAYS)


@pytest.mark.parametrize("example", EXAMPLES, ids=map(kind_of, EXAMPLES))
def test_an_example_runs_its_tool(live: LiveGateway, example: str) -> None:
    command = example.replace("http://127.0.0.1:9000", live.base_url).replace(
        "curl ", "curl --silent --noproxy '*' ", 1
    )
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    reply = json.loads(done.stdout)
    (run,) = reply["choices"][0]["message"]["gateway_tool_calls"]
    assert (run["tool"], run["status"]) == (kind_of(example), "completed"), reply
    assert SAYS[kind_of(example)] in run["result"]["content"]
