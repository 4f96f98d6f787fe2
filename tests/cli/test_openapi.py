"""`ai-gateway openapi export`: what a gateway with the same configuration serves."""

from pathlib import Path

import httpx2
import pytest

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
    as_yaml = httpx2.get(f"{live.base_url}/openapi.yaml", verify=NO_CERTIFICATES).text
    assert run_command("openapi", "export", "--yaml", **env).stdout == as_yaml


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    ended = run_command("openapi", "export", str(tmp_path / "nowhere" / "x"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "cannot be written" in ended.stderr
