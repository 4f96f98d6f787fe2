"""`ai-gateway openapi export`: what a gateway with the same configuration serves."""

import json
from pathlib import Path

import httpx2
import pytest
import yaml

from ai_gateway.cli.openapi import yaml_lines
from tests.support.client import NO_CERTIFICATES
from tests.support.command import run_command
from tests.support.gateway import TEST_KEY, SharedGateways

ENVIRONMENTS: list[dict[str, str]] = [{"ALLOWED_API_KEYS": TEST_KEY}, {"ALLOWED_API_KEYS": "", "STORE_URL": "off"}]


@pytest.mark.parametrize("env", ENVIRONMENTS, ids=["keys", "open"])
def test_the_exported_document_is_the_served_one(
    gateway_for: SharedGateways, env: dict[str, str], tmp_path: Path
) -> None:
    live = gateway_for(**env)
    served = httpx2.get(f"{live.base_url}/openapi.json", verify=NO_CERTIFICATES).content
    file = tmp_path / "openapi.json"
    assert run_command("openapi", "export", str(file), **env).returncode == 0
    assert file.read_bytes() == served
    assert run_command("openapi", "export", **env).stdout.encode() == served
    as_yaml = run_command("openapi", "export", "--yaml", **env).stdout
    assert yaml.safe_load(as_yaml) == json.loads(served)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"a": {}, "b": [], "c": [[], [1, [2]], {"x": {"y": None}}]},
        {"yes": "no", "on": True, "1": 1, "": "", "a b": "x: y # z", "é": "\u2028\x85\x7f\ufeff", "$ref": "#/a"},
        {"text": 'line\nline\t"quoted" \\ \U0001f600', "numbers": [1, -2.5, 0.001, 0]},
    ],
)
def test_yaml_says_what_json_says(value: object) -> None:
    assert yaml.safe_load("\n".join(yaml_lines(value))) == value


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    ended = run_command("openapi", "export", str(tmp_path / "nowhere" / "x"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "cannot be written" in ended.stderr
