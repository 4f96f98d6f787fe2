"""The command line, as an operator uses it."""

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2
import pytest

from tests.support.client import NO_CERTIFICATES
from tests.support.command import Ended, run_command
from tests.support.gateway import HOST, STARTUP_S, TEST_KEY, run_cli, running_gateway, started_gateway


def test_help_names_the_commands_and_serve_its_options() -> None:
    assert "serve" in run_command("--help").stdout
    text = run_command("serve", "--help", COLUMNS="200").stdout
    for option in ("--host", "--port", "--log-level"):
        assert option in text


def test_the_pages_of_the_documentation_are_listed_and_printed() -> None:
    folder = Path(__file__).parents[1] / "docs"
    names = run_command("docs").stdout.split()
    assert names == sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.md"))
    first = "OpenAI-EndPoint/01-chat-completions"
    assert run_command("docs", first).stdout == (folder / f"{first}.md").read_text("utf-8")
    assert "ai-gateway docs configuration" in " ".join(run_command("serve", "--help", COLUMNS="200").stdout.split())
    for written in ("errors", "errors.md", "docs/errors.md"):
        assert run_command("docs", written).stdout == (folder / "errors.md").read_text("utf-8")
    unknown = run_command("docs", "configurations")
    assert unknown.returncode == 2
    assert "did you mean configuration?" in unknown.stderr
    assert "`ai-gateway docs` lists them" in run_command("docs", "../../etc/passwd").stderr


def test_every_command_takes_h_for_help() -> None:
    for command in ([], ["serve"], ["check"], ["keys"], ["keys", "create"], ["openapi", "export"], ["usage"]):
        short = run_command(*command, "-h")
        assert (short.returncode, short.stdout) == (0, run_command(*command, "--help").stdout)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["serve", "-h"], ["keys", "create", "-h"], ["version"]])
def test_help_does_not_wait_for_what_commands_need(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from ai_gateway.cli import app\n"
        "try:\n    app()\n"
        "finally:\n"
        "    print({'fastapi', 'aiohttp', 'uvicorn', 'ai_gateway.config.settings'} & set(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=STARTUP_S, check=False)
    assert ended.stdout
    assert ended.stderr == "set()\n"


@pytest.mark.slow
def test_the_shell_completes_commands_and_options() -> None:
    asked = {"_AI_GATEWAY_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "ai-gateway ch"}
    script = Path(sys.executable).with_name("ai-gateway")
    ended = subprocess.run([script], env=asked, capture_output=True, text=True, timeout=STARTUP_S, check=False)
    assert set(ended.stdout.split()) == {"check", "chat"}


def test_files_are_named_before_the_command_and_must_exist(tmp_path: Path) -> None:
    config, dotenv = tmp_path / "own.toml", tmp_path / "own.env"
    config.write_text('[aliases]\nfast = "custom/custom-chat"\n')
    dotenv.write_text("DEFAULT_MODEL=fast\n")
    shown = run_command("--config", str(config), "--env-file", str(dotenv), "routes").stdout
    assert "fast" in shown
    assert "(no model)" in shown
    for option, variable in (("--config", "GATEWAY_CONFIG"), ("--env-file", "GATEWAY_ENV_FILE")):
        (line,) = complaints(run_command(option, str(tmp_path / "nowhere"), "routes"))
        assert line == f"ai-gateway: {variable}: no such file: {tmp_path / 'nowhere'}"
        (line,) = complaints(run_command(option, str(tmp_path), "routes"))
        assert line == f"ai-gateway: {tmp_path}: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("usage", "--by", "nonsense"), "'--by': 'nonsense' is not one of 'key'"),
        (("costs", "--by", "nonsense"), "'--by': 'nonsense' is not one of 'key'"),
        (("budget", "set", "5", "--per", "year"), "'--per': 'year' is not one of 'day'"),
        (("keys", "create", "alice", "--budget", "5", "--per", "year"), "'--per': 'year' is not one of 'day'"),
        (("serve", "--port", "abc"), "'--port': 'abc' is no whole number"),
        (("usage", "reconcile", __file__, "--tolerance", "x"), "'--tolerance': 'x' is no number"),
        (("probe", "http://127.0.0.1:1/v1", "--parallel", "99"), "'--parallel': '99' is more than the largest, 32"),
    ],
)
def test_an_option_that_is_wrong_is_told_in_plain_words(arguments: tuple[str, ...], words: str) -> None:
    ended = run_command(*arguments, COLUMNS="200")
    assert ended.returncode == 2
    assert words in ended.stderr


def test_version_prints_the_version() -> None:
    assert run_command("version").stdout.strip().count(".") == 2
    assert run_command("--version").stdout == run_command("version").stdout


def test_the_banner_says_where_what_and_how() -> None:
    with started_gateway() as gateway:
        banner = gateway.log()
    assert f"{gateway.base_url}/docs" in banner
    assert "custom (built in)" in banner
    assert "not required: open to this machine only" in banner
    assert f"curl {gateway.base_url}/custom/v1/chat/completions" in banner


def test_the_banner_counts_keys_and_providers_and_shows_no_secret() -> None:
    keys = {"ALLOWED_API_KEYS": f"{TEST_KEY},second-key", "OPENAI_API_KEY": "sk-upstream-secret"}
    with running_gateway(**keys) as gateway:
        banner = gateway.log()
    assert "required (2 configured)" in banner
    assert "openai (configured)" in banner
    for secret in (TEST_KEY, "second-key", "sk-upstream-secret"):
        assert secret not in banner


def refused(**env: str) -> list[str]:
    """The lines of a start that is refused: exit code 2, nothing else, no traceback."""
    return complaints(run_command("serve", **{"SERVICE_PORT": "0", **env}))


def complaints(ended: Ended | subprocess.CompletedProcess[str]) -> list[str]:
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.strip().splitlines()
    assert all(line.startswith("ai-gateway: ") for line in lines), lines
    return lines


def test_a_busy_port_is_one_line() -> None:
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        (line,) = complaints(run_cli("serve", SERVICE_PORT=str(port)))
    assert f"port {port}" in line
    assert "--port" in line


def test_a_missing_key_is_one_line_that_names_it() -> None:
    (line,) = refused(OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    assert "OPENAI_API_KEY is missing" in line


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - refused is the point
def test_others_are_not_served_without_keys(host: str) -> None:
    (line,) = refused(SERVICE_HOST=host)
    assert "ALLOWED_API_KEYS" in line
    assert "ALLOW_ANONYMOUS=true" in line
    assert "ai-gateway keys create NAME" in line


@pytest.mark.parametrize("what", ["a table", "an administrator", "the store"])
def test_any_key_opens_the_gateway_to_others(what: str, tmp_path: Path) -> None:
    env = {"SERVICE_HOST": "0.0.0.0", "GATEWAY_DATA_DIR": str(tmp_path / "data")}  # noqa: S104 - it has keys
    if what == "a table":
        (tmp_path / "gateway.toml").write_text(f'[keys.alice]\ndigest = "{64 * "0"}"\n', encoding="utf-8")
        env["GATEWAY_CONFIG"] = str(tmp_path / "gateway.toml")
    elif what == "an administrator":
        env["ADMIN_API_KEY"] = TEST_KEY
    else:
        assert run_command("keys", "create", "alice", **env).returncode == 0
    with running_gateway(**env) as live:
        counted = "required (1 stored)" if what == "the store" else "required (1 configured)"
        assert counted in live.log()
        assert httpx2.get(f"{live.base_url}/v1/models", verify=NO_CERTIFICATES).status_code == 401


def test_the_banner_says_where_data_is_and_what_is_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with running_gateway(GATEWAY_DATA_DIR=str(tmp_path / "file" / "data")) as live:
        assert "data       in memory only: lost when the gateway stops" in live.log()
        (warning,) = [record for record in live.records() if "no place for keys" in record["event"]]
        assert "GATEWAY_DATA_DIR" in warning["advice"]
    with running_gateway(STORE_URL="off") as live:
        assert "data       none is kept (STORE_URL=off)" in live.log()


def test_workers_that_share_nothing_are_warned_of() -> None:
    with running_gateway(STORE_URL="memory", WORKERS="2") as live:
        warnings = {record["warning"] for record in live.records("configuration")}
    assert any("each worker has keys, limits and usage of its own" in warning for warning in warnings)


def test_an_address_that_is_not_ours_is_one_line() -> None:
    (line,) = refused(SERVICE_HOST="192.0.2.77", ALLOWED_API_KEYS="k")
    assert "cannot listen on 192.0.2.77" in line


def test_all_problems_are_told_at_once_with_value_and_source_but_no_secret() -> None:
    lines = refused(REQUEST_TIMEOUT_S="soon", GRACE_PERIOD_S="-1", ALLOWED_API_KEYS="sk-canary", LOG_LEVEL="loud")
    assert len(lines) == 3
    assert "ai-gateway: REQUEST_TIMEOUT_S: 'soon' is no number (environment)" in lines
    assert "sk-canary" not in "".join(lines)


def test_the_start_warns_of_variables_that_are_nearly_right_and_of_links_to_services() -> None:
    misspelt = {"OPENAI_API_KEYS": "sk-canary", "PROXY_PORT": "tcp://10.0.0.1:80"}
    with running_gateway(**misspelt) as gateway:
        reported = [record["warning"] for record in gateway.records("configuration")]
        body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
        reply = httpx2.post(f"{gateway.base_url}/v1/chat/completions", json=body, verify=NO_CERTIFICATES)
        assert "sk-canary" not in gateway.log()
    assert any(
        "OPENAI_API_KEYS" in warning and warning.endswith("did you mean OPENAI_API_KEY?") for warning in reported
    )
    assert any("PROXY_PORT is a link to a service" in warning for warning in reported)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (404, "model_not_found")
    assert "set OPENAI_API_KEY" in error["message"]


def test_bad_settings_and_missing_provider_keys_are_told_together() -> None:
    lines = refused(OPENAI_BASE_URL="http://h/v1", GROQ_BASE_URL="http://h/v1", SERVICE_HOST="0.0.0.0")  # noqa: S104 - refused
    assert len(lines) == 3


def test_any_asgi_server_can_run_the_factory() -> None:
    with tempfile.TemporaryDirectory() as home, socket.create_server((HOST, 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "ai_gateway.api.app:get_app", "--factory", "--fd", str(fd)]
        server = subprocess.Popen(
            command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[fd]
        )
        try:
            with httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=STARTUP_S, verify=NO_CERTIFICATES) as http:
                assert http.get("/healthz").json() == {"status": "ok"}
                listed = http.get("/custom/v1/models")
                assert listed.json()["object"] == "list"
        finally:
            server.terminate()
            server.wait(60)
