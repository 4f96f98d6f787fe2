"""`ai-gateway check`: each setting with its source, and whether the providers answer."""

import json
import socket
from pathlib import Path

import pytest

from ai_gateway.config.fields import FILE_ONLY
from ai_gateway.config.settings import Settings, marked
from tests.support.command import run_command
from tests.support.gateway import HOST, closed_port
from tests.support.upstream import Upstream


def rows(shown: str) -> dict[str, tuple[str, str]]:
    """Value and source of each setting and variable."""
    split = (line.split("  ", 1) for line in shown.splitlines() if "  " in line and not line.startswith("provider "))
    return {name: (value.strip().rpartition("  ")[0].strip(), value.rpartition("  ")[2]) for name, value in split}


def test_each_setting_is_shown_with_its_value_and_source(tmp_path: Path, upstream: Upstream) -> None:
    config, dotenv = tmp_path / "own.toml", tmp_path / "own.env"
    config.write_text(
        f'max_retries = 7\nworkers = 1\n[providers.lab]\nbase_url = "{upstream.url}"\napi_key = "sk-canary-1"\n'
        '[aliases]\nfast = "lab/x"\n'
    )
    dotenv.write_text("BODY_TIMEOUT_S=3\nALLOWED_API_KEYS=sk-canary-2\nVLLM_API_KEY=canary-3\n")
    options = ("--config", str(config), "--env-file", str(dotenv))
    ended = run_command(*options, "check", "--port", "9123", MAX_IN_FLIGHT="9", REQUEST_TIMEOUT="5", LOG_LEVEL="warn")
    found = rows(ended.stdout)
    assert found["SERVICE_PORT"] == ("9123", "option --port")
    assert found["MAX_IN_FLIGHT"] == ("9", "environment")
    assert found["REQUEST_TIMEOUT_S"] == ("5", "REQUEST_TIMEOUT in environment")
    assert found["LOG_LEVEL"] == ("warning", "environment")
    assert found["BODY_TIMEOUT_S"] == ("3", "own.env")
    assert found["MAX_RETRIES"] == ("7", "own.toml")
    assert found["providers.lab.base_url"] == (upstream.url, "own.toml")
    assert found["providers.lab.api_key"] == ("(set, not shown)", "own.toml")
    assert found["aliases.fast"] == ("lab/x", "own.toml")
    assert found["ALLOWED_API_KEYS"] == ("(set, not shown)", "own.env")
    assert found["VLLM_API_KEY"] == ("(set, not shown)", "own.env")
    assert found["CONNECT_TIMEOUT_S"] == ("5", "default")
    assert {name.upper() for name in Settings.model_fields} - {name.upper() for name in marked(FILE_ONLY)} <= set(found)
    assert "canary" not in ended.stdout + ended.stderr


def test_a_provider_that_lists_its_models_is_reachable_and_all_is_well(upstream: Upstream) -> None:
    ended = run_command("check", OPENAI_BASE_URL=upstream.url, OPENAI_API_KEY="sk-canary")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "provider openai  reachable: 2 models" in ended.stdout
    assert upstream.last("models-list").header("authorization") == "Bearer sk-canary"


@pytest.mark.parametrize(
    ("status", "advice"), [("401", "check its key: VLLM_API_KEY"), ("404", "VLLM_BASE_URL"), ("500", "failed: ")]
)
def test_a_provider_that_refuses_is_named_with_what_to_do(upstream: Upstream, status: str, advice: str) -> None:
    body = b'{"error": {"message": "no sk-canary-12345678"}}'
    head = f"HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    upstream.program("models-list", head + body)
    ended = run_command("check", VLLM_BASE_URL=upstream.url, VLLM_API_KEY="sk-canary-12345678")
    assert ended.returncode == 1
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("provider vllm")]
    assert "failed" in line
    assert advice in line
    assert "canary" not in ended.stdout + ended.stderr


def test_who_cannot_be_reached_or_hangs_is_named_within_its_time() -> None:
    with closed_port() as port:
        ended = run_command("check", VLLM_BASE_URL=f"http://{HOST}:{port}/v1")
    assert ended.returncode == 1
    assert "cannot be reached" in ended.stdout
    assert "check VLLM_BASE_URL" in ended.stdout


def test_a_provider_that_hangs_costs_the_time_of_a_check_and_no_more() -> None:
    with socket.create_server((HOST, 0)) as silent:
        address = f"http://{HOST}:{silent.getsockname()[1]}/v1"
        ended = run_command("check", VLLM_BASE_URL=address, HEALTH_CHECK_TIMEOUT="0.2")
    assert ended.returncode == 1
    assert "took too long" in ended.stdout
    assert "HEALTH_CHECK_TIMEOUT_S (now 0.2 s)" in ended.stdout


def test_offline_asks_nobody(upstream: Upstream) -> None:
    before = len(upstream.requests)
    ended = run_command("check", "--offline", VLLM_BASE_URL=upstream.url)
    assert ended.returncode == 0
    assert "provider vllm    not checked" in ended.stdout
    assert len(upstream.requests) == before


def test_what_stops_serve_is_told_by_check_with_code_2() -> None:
    for env in ({"SERVICE_PORT": "lots"}, {"SERVICE_HOST": "192.0.2.1"}, {"SSL_CERTFILE": "/nowhere"}):
        checked = run_command("check", **env)
        assert checked.returncode == 2, checked.stdout
        assert checked.stderr == run_command("serve", **env).stderr


def test_warnings_are_told_and_nothing_is_kept_or_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    ended = run_command("check", OPENAI_API_KEYS="sk-x", GATEWAY_DATA_DIR=str(data))
    assert "warning: OPENAI_API_KEYS is not a variable that the gateway reads: did you mean OPENAI_API_KEY?" in (
        ended.stdout
    )
    assert ended.returncode == 0
    assert not data.exists()


# --- routes ----------------------------------------------------------------------------------------------------------


def test_routes_tell_where_names_lead_and_what_is_configured_here(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text(
        'default_model = "fast"\n[providers.lab]\nbase_url = "http://127.0.0.1:1/v1"\n'
        '[aliases]\nfast = "best"\n"gpt-*" = "openai/gpt-*"\nplain = "some-model"\n'
        '[routes.best]\ntargets = ["lab/a", "openai/b"]\nmode = "weighted"\nweights = [3, 1]\n'
    )
    ended = run_command("--config", str(config), "routes", "--json")
    assert ended.returncode == 0, ended.stderr
    assert [tuple(row.values()) for row in json.loads(ended.stdout)] == [
        ("fast", "alias", "best", "a route"),
        ("gpt-*", "alias", "openai/gpt-*", "not configured: set OPENAI_API_KEY"),
        ("plain", "alias", "some-model", "whichever provider lists it"),
        ("best", "route, weight 75%", "lab/a", "configured"),
        ("best", "route, weight 25%", "openai/b", "not configured: set OPENAI_API_KEY"),
        ("(no model)", "default", "fast", "whichever provider lists it"),
    ]
    assert "route, weight 75%" in run_command("--config", str(config), "routes").stdout
    assert run_command("routes", DEFAULT_MODEL="a\x1b[31m/b").stdout.isascii()


def test_routes_of_a_configuration_that_cannot_be_used_are_code_2(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('[aliases]\nfast = "nowhere/x"\n')
    ended = run_command("--config", str(config), "routes")
    assert ended.returncode == 2
    assert "there is no provider 'nowhere'" in ended.stderr
