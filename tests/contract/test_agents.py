"""Agents' libraries against the live gateway, on the wires that they take by default."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_sdk_node import HERE as NODE_PROGRAMS, names, node
from tests.support.gateway import TEST_KEY, LiveGateway
from tests.support.uv import ROOT, find_uv

__all__ = ["node"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACKAGES = (
    "openai-agents==0.24.0",
    "langchain-openai==1.7.4",
    "langchain-anthropic==1.7.10",
    "pydantic-ai-slim[openai,anthropic]==2.68.0",
)
IN_NODE = names("agents.mjs")
WIRES = ("responses", "messages")
INTRODUCTION = "test double"


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with the libraries, which is made once."""
    place = ROOT / ".clients" / "agents-1"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        uv = find_uv()
        commands: list[list[str | Path]] = [
            [uv, "venv", "--quiet", "--python", sys.executable, place],
            [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", *PACKAGES],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                pytest.skip(f"the libraries of agents cannot be installed here: {done.stderr[-500:]}")
        (place / "complete").touch()
    return place / "bin" / "python"


def run(command: list[str | Path], live: LiveGateway) -> str:
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "GATEWAY_URL": live.base_url, "GATEWAY_KEY": TEST_KEY},
        cwd=NODE_PROGRAMS,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(python: Path, gateway: LiveGateway) -> dict[str, Any]:
    """What the program got."""
    results: dict[str, Any] = json.loads(run([python, NODE_PROGRAMS.parent / "agents_program.py"], gateway))
    return results


@pytest.fixture(scope="module")
def in_node(node: Path, gateway: LiveGateway) -> dict[str, str]:
    """The line that the script printed for each check."""
    lines = [line for line in run([node, "agents.mjs"], gateway).splitlines() if line.startswith(("ok ", "not ok "))]
    return {line.removeprefix("not ").removeprefix("ok ").partition(": ")[0]: line for line in lines}


@pytest.mark.parametrize("name", IN_NODE)
def test_in_node_it_is_seen_that(in_node: dict[str, str], name: str) -> None:
    assert in_node.get(name, "the script ended before it") == f"ok {name}"


def test_openais_agents_run_tools_whole_and_streamed(found: dict[str, Any]) -> None:
    reported = found["agents"]
    assert reported["whole"] == reported["streamed"]
    assert reported["called"] == 2
    kinds = reported["kinds"]
    first = [kind for kind in kinds if kind.startswith("response.")][:3]
    assert first == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds.count("response.completed") == 2
    assert "response.function_call_arguments.delta" in kinds
    assert isinstance(reported["structure"]["score"], int)


def test_openais_agents_are_told_of_a_stream_that_is_cut(found: dict[str, Any]) -> None:
    assert found["agents"]["cut"] not in {"nothing", "ValidationError", "KeyError", "IndexError"}


@pytest.mark.parametrize("wire", WIRES)
def test_langchain_reads_texts_tools_and_structures(found: dict[str, Any], wire: str) -> None:
    reported = found["langchain"][wire]
    assert INTRODUCTION in reported["text"]
    assert reported["streamed"] == reported["text"]
    assert reported["pieces"] > 5
    assert reported["usage"] > 0
    assert reported["called"] == reported["streamed_call"] == "get_weather"
    assert reported["same"]
    assert reported["after"]
    assert isinstance(reported["structure"]["score"], int)


@pytest.mark.parametrize("wire", WIRES)
def test_pydantic_ai_runs_tools_whole_and_streamed(found: dict[str, Any], wire: str) -> None:
    reported = found["pydantic"][wire]
    assert reported["whole"] == reported["streamed"]
    assert reported["pieces"] > 5
    assert reported["tokens"] > 0
    assert reported["called"] == 2
    assert isinstance(reported["structure"]["score"], int)


@pytest.mark.parametrize("wire", WIRES)
def test_pydantic_ai_is_told_of_a_stream_that_is_cut(found: dict[str, Any], wire: str) -> None:
    assert found["pydantic"][wire]["cut"] not in {"nothing", "ValidationError", "KeyError", "IndexError"}
