"""What the command line says where it cannot reach what it should administer."""

import os
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.support.administration import ADMIN_KEY
from tests.support.gateway import LiveGateway, SharedGateways, closed_port
from tests.support.upstream import Upstream


@pytest.mark.parametrize(("url", "words"), [("off", "STORE_URL=off"), ("memory", "administer it with --url")])
def test_a_store_that_no_other_process_can_see_is_refused(cli: CommandLine, url: str, words: str) -> None:
    assert words in cli.refused("keys", "create", "alice", code=2, STORE_URL=url)


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    reported = cli.refused("keys", "list", code=2, GATEWAY_DATA_DIR=str(tmp_path / "file" / "data"))
    assert "GATEWAY_DATA_DIR" in reported
    assert "--url" in reported
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "gateway.db").write_text("no database at all" * 100, encoding="utf-8")
    assert "not a database" in cli.refused("keys", "list", code=2, GATEWAY_DATA_DIR=str(tmp_path / "broken"))


def test_settings_that_are_wrong_are_named(cli: CommandLine) -> None:
    assert "WORKERS" in cli.refused("keys", "list", code=2, WORKERS="many")


def test_what_nobody_listens_on_is_said(cli: CommandLine) -> None:
    with closed_port() as port:
        reported = cli.refused("keys", "list", "--url", f"http://127.0.0.1:{port}", "--admin-key", "k")
    assert "ai-gateway serve" in reported


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--url", "http://127.0.0.1:9"], "--admin-key"),
        (["--url", "gateway", "--admin-key", "k"], "is no address"),
        (["--url", "http://127.0.0.1:9", "--admin-key", "k\u00e9y"], "no header can carry"),
    ],
)
def test_options_that_cannot_be_used_are_refused(cli: CommandLine, options: list[str], words: str) -> None:
    assert words in cli.refused("keys", "list", *options, code=2)


def test_a_key_that_does_not_administer_is_told_where_one_comes_from(beside: CommandLine, remote: CommandLine) -> None:
    key = beside.json("keys", "create", "no-administrator")["value"]
    assert "keys create NAME --admin" in remote.refused("keys", "list", "--admin-key", key)
    assert "ADMIN_API_KEY" in remote.refused("keys", "list", "--admin-key", "sk-gw-admin-wrong")


def test_the_administrators_key_may_be_in_a_file(administered: tuple[LiveGateway, Path], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(ADMIN_KEY + "\n", encoding="utf-8")
    cli = CommandLine({"ADMIN_API_KEY_FILE": str(tmp_path / "key")}, ("--url", administered[0].base_url + "/v1/"))
    cli("projects", "list")


def test_a_gateway_without_a_store_says_so(cli: CommandLine, gateway_for: SharedGateways) -> None:
    live = gateway_for(STORE_URL="off", ADMIN_API_KEY=ADMIN_KEY)
    assert "STORE_URL=off" in cli.refused("keys", "list", "--url", live.base_url, "--admin-key", ADMIN_KEY)


def test_what_is_no_gateway_is_said(cli: CommandLine, shared_upstream: Upstream) -> None:
    reported = cli.refused("keys", "list", "--url", shared_upstream.url, "--admin-key", "k")
    assert "check --url" in reported


def test_a_store_that_only_others_may_write_is_no_traceback(cli: CommandLine, tmp_path: Path) -> None:
    cli("keys", "create", "alice")
    data = tmp_path / "data"
    if os.geteuid() == 0:  # whom no permission stops
        data = Path("/proc/ai-gateway")
    else:
        data.chmod(0o500)
    assert "cannot be used" in cli.refused("keys", "create", "bob", code=2, GATEWAY_DATA_DIR=str(data))
