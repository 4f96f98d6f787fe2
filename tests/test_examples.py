"""The requests and scripts of `examples/` against a live gateway: every operation of the contract, none refused.

A script says on standard error what it asked and which status it got.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.contract.schemas import CONTRACT
from tests.support.administration import ADMIN_KEY, ADMINISTERED
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path for path in (EXAMPLES / "curl").glob("*.sh") if path.name != "ask.sh")
REQUESTS = sorted((EXAMPLES / "requests").glob("*.json"))
ASKED = re.compile(r"^([A-Z]+) (/\S*) (\d{3})$", re.MULTILINE)
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
}


@dataclass(frozen=True)
class Asked:
    """One call of a script."""

    operation: str
    status: str


@pytest.fixture(scope="module")
def live() -> Iterator[LiveGateway]:
    with running_gateway(**ADMINISTERED, ALLOWED_API_KEYS=TEST_KEY) as running:
        yield running


def ask(live: LiveGateway, script: Path) -> tuple[str, list[Asked]]:
    """What it printed, and what it asked."""
    keys = {"GATEWAY_API_KEY": TEST_KEY, "ADMIN_API_KEY": ADMIN_KEY}
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "GATEWAY_URL": live.base_url, **keys}
    done = subprocess.run([str(script)], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, [
        Asked(operation_of(method, path), status) for method, path, status in ASKED.findall(done.stderr)
    ]


def operation_of(method: str, path: str) -> str:
    """The contract's operation at this path: of several that fit, the one that names most of it."""
    path = path.partition("?")[0]
    found = [
        (template.count("{"), name)
        for name, (verb, template, _) in OPERATIONS.items()
        if verb == method and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path)
    ]
    assert found, f"{method} {path}"
    return min(found)[1]


@pytest.fixture(scope="module")
def asked(live: LiveGateway) -> dict[str, tuple[str, list[Asked]]]:
    return {script.stem: ask(live, script) for script in SCRIPTS}


@pytest.mark.parametrize("script", [script.stem for script in SCRIPTS])
def test_every_call_of_a_script_has_a_status_of_the_contract(
    asked: dict[str, tuple[str, list[Asked]]], script: str
) -> None:
    printed, calls = asked[script]
    assert calls
    for call in calls:
        assert call.status in OPERATIONS[call.operation][2]["responses"], call
        assert call.status == ("501" if script == "ollama-models" else "200"), call
    assert ADMIN_KEY not in printed


def test_the_scripts_call_every_operation_of_the_contract(asked: dict[str, tuple[str, list[Asked]]]) -> None:
    assert {call.operation for _, calls in asked.values() for call in calls} == set(OPERATIONS)


def test_streams_end_and_vectors_come(asked: dict[str, tuple[str, list[Asked]]]) -> None:
    assert "data: [DONE]" in asked["chat"][0]
    assert "data: [DONE]" in asked["completions"][0]
    assert '"done":true' in asked["ollama"][0].replace(" ", "")
    assert asked["chat"][0].count('"tool_calls"') >= 1
    assert len(json.loads(asked["embeddings"][0].splitlines()[0])["data"][0]["embedding"]) == 8


def test_every_request_belongs_to_a_script_and_every_script_has_its_requests() -> None:
    text = "".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    words = set(re.findall(r"[\w-]+", text))
    assert {path.stem for path in REQUESTS} <= words
    named = re.findall(r"(?:POST|DELETE) \S+ ([\w-]+)$", text, re.MULTILINE)
    assert set(named) <= {path.stem for path in REQUESTS}


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_every_request_is_one_of_the_contract(path: Path) -> None:
    """Of at least one operation whose script names it."""
    body = json.loads(path.read_text(encoding="utf-8"))
    valid = [name for name, validator in _bodies().items() if validator.is_valid(body)]
    assert valid, path.stem


@cache
def _bodies() -> dict[str, jsonschema_rs.Validator]:
    """What says whether a body is one of an operation, by the operation's name."""
    return {
        name: jsonschema_rs.validator_for(
            {
                **operation["requestBody"]["content"]["application/json"]["schema"],
                "components": CONTRACT["components"],
            }
        )
        for name, (_, _, operation) in OPERATIONS.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
