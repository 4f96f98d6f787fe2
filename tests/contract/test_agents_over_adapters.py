"""Agents' libraries on the Responses API where the provider speaks another wire: their tools run, streamed."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_agents import node, python
from tests.contract.test_sdk_node import HERE as NODE_PROGRAMS
from tests.support import able_model, behaviours, fake_ollama
from tests.support.anthropic_targets import in_front_of_all
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.upstream import Exchange, running_upstream

__all__ = ["node", "python"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIGNATURE = {"google": {"thought_signature": "c2ln"}}


@behaviours.behaviour("signing")
async def signing(exchange: Exchange) -> None:
    """A model that signs its calls, as Gemini does, and refuses those that come back without their signature."""
    turns = exchange.seen.json["messages"]
    calls = [call for turn in turns for call in turn.get("tool_calls") or ()]
    if any(call.get("extra_content") != SIGNATURE for call in calls):
        error = {"message": "Function call is missing a thought_signature.", "type": "invalid_request_error"}
        await exchange.json({"error": error}, status=400)
        return
    made = {"name": "zebra", "arguments": '{"z": "a", "n": 1}'}
    call = {"index": 0, "id": "c", "type": "function", "function": made, "extra_content": SIGNATURE}
    delta = {"content": "It says: rain"} if calls else {"tool_calls": [call]}
    await exchange.open_stream()
    for each, finish in ((delta, None), ({}, "stop" if calls else "tool_calls")):
        piece = behaviours.piece(exchange, None, finish=finish)
        piece["choices"][0]["delta"] = each
        await exchange.event(piece)
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


# Each calls the tool that it is offered, and answers once it has the result; Claude must get its signed thinking back.
MODELS = {
    f"lab/{able_model.ABLE}": "It says: rain",
    "lab/signing": "It says: rain",
    f"ollama/{able_model.ABLE}": "It says: rain",
    "anthropic/claude-sonnet-4-5-thinking-call": "",
}
LIBRARIES = ("agents", "langchain", "pydantic", "sdk", "agents-js")


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways) -> Iterator[LiveGateway]:
    with (
        running_upstream(behaviours.behave) as lab,
        running_upstream(fake_ollama.behave) as ollama,
        in_front_of_all(gateway_for, lab, ollama) as running,
    ):
        yield running


def run(command: list[str | Path], live: LiveGateway) -> str:
    access = {"GATEWAY_URL": live.base_url, "GATEWAY_KEY": TEST_KEY, "MODELS": ",".join(MODELS)}
    environment = {"PATH": os.environ["PATH"], **access}
    done = subprocess.run(
        command, env=environment, cwd=NODE_PROGRAMS, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(python: Path, node: Path, live: LiveGateway) -> dict[str, Any]:
    """What each library got of each model."""
    results: dict[str, Any] = json.loads(run([python, NODE_PROGRAMS.parent / "adapters_program.py"], live))
    for line in run([node, "adapters.mjs"], live).splitlines():
        reported = json.loads(line)
        results[reported["key"]] = reported
    return results


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_runs_its_tool_over_another_wire(found: dict[str, Any], library: str, model: str) -> None:
    reported = found[f"{library} {model}"]
    if (library, model) == ("pydantic", "lab/signing"):
        # It sends sealed reasoning back to models with the names of OpenAI's alone: what refuses that is told.
        assert "thought_signature" in reported["told"]
        return
    assert reported["called"] == 1, reported
    assert "Error" not in reported["told"]
    assert reported["told"].startswith(MODELS[model])
    assert reported["told"]
