"""What settings, variables and files configure together, and what the operator is warned of."""

import socket
from pathlib import Path

import pytest

from ai_gateway.app.configuration import configure, read_configuration
from ai_gateway.app.own_address import is_own_address
from ai_gateway.config.near_misses import near_misses
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import ProviderSettings, Settings
from ai_gateway.config.sources import Sources
from tests.support.command import only


def warnings(**variables: str) -> list[str]:
    return list(configure(Settings(), Sources(variables)).warnings)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OPENAI_API_KEYS", "OPENAI_API_KEY"),
        ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("OPEN_AI_API_KEY", "OPENAI_API_KEY"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("OPENAI_API_TOKEN", "OPENAI_API_KEY"),
        ("OPNAI_API_KEY", "OPENAI_API_KEY"),
        ("openai_api_key", "OPENAI_API_KEY"),
        ("ANTROPIC_API_KEY", "ANTHROPIC_API_KEY"),
        ("OPENAI_URL", "OPENAI_BASE_URL"),
        ("GROQ_API_BASE", "GROQ_BASE_URL"),
        ("VLLM_HOST", "VLLM_BASE_URL"),
        ("ALLOWED_API_KEY", "ALLOWED_API_KEYS"),
        ("ALLOWED_KEYS", "ALLOWED_API_KEYS"),
        ("ALLOW_ANONYMUS", "ALLOW_ANONYMOUS"),
        ("MAX_RETRYS", "MAX_RETRIES"),
        ("REQUEST_TIMEOUTS", "REQUEST_TIMEOUT_S"),
        ("GATEWAY_CONFIGS", "GATEWAY_CONFIG"),
        ("PROVIDER_LAB_URL", "PROVIDER_LAB_BASE_URL"),
        ("PROVIDERS_LAB_API_KEY", "PROVIDER_LAB_API_KEY"),
        ("PROVIDER_LAB_KEY", "PROVIDER_LAB_API_KEY"),
    ],
)
def test_a_near_miss_of_a_variable_is_warned_of_and_its_value_is_not_shown(name: str, meant: str) -> None:
    (warning,) = warnings(**{name: "canary"})
    assert name in warning
    assert warning.endswith(f"did you mean {meant}?")
    assert "canary" not in warning


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "AWS_SECRET_ACCESS_KEY", "OPENAI_ORG_ID", "HOSTNAME", "KUBERNETES_SERVICE_HOST",
     "PROXY_PORT_80_TCP", "OPENAI_PORT", "OPENAI_SERVICE_HOST", "POSTGRES_HOST", "REDIS_URL", "SSH_AUTH_SOCK",
     "LOGNAME", "LANG", "NPM_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PYTHONPATH", "VIRTUAL_ENV",
     "WORKERS_AI", "JINA_API_KEY", "SECRET_KEY", "DATABASE_URL", "CI", "PROVIDER_LAB_BASE_URL",
     "OPENAI_API_KEY_FILE"],
)  # fmt: skip
def test_what_belongs_to_somebody_else_is_not_warned_of(name: str) -> None:
    known = {"OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "JAN_API_KEY", "SERVICE_HOST", "SERVICE_PORT", "PROXY_PORT",
             "LOG_LEVEL", "WORKERS", "OPENAI_BASE_URL", "GATEWAY_CONFIG", "MODEL_LIST_URL"}  # fmt: skip
    assert list(near_misses([name], known)) == []


def test_a_second_name_beside_the_right_one_is_not_warned_of() -> None:
    assert warnings(OPENAI_API_KEY="k", OPENAI_API_KEYS="k") == []


@pytest.mark.parametrize(
    ("url", "host", "port", "own"),
    [
        ("http://127.0.0.1:9000", "127.0.0.1", 9000, True),
        ("http://localhost:9000/v1", "127.0.0.1", 9000, True),
        ("http://[::1]:9000/v1", "localhost", 9000, True),
        ("http://0.0.0.0:9000/v1", "127.0.0.1", 9000, True),
        ("http://127.0.0.1/v1", "0.0.0.0", 80, True),  # noqa: S104 - compared
        ("http://GW.example.com:9000", "gw.example.com", 9000, True),
        (f"http://{socket.gethostname()}:9000", "0.0.0.0", 9000, True),  # noqa: S104 - compared
        ("http://127.0.0.1:9001", "127.0.0.1", 9000, False),
        ("http://192.0.2.7:9000", "0.0.0.0", 9000, False),  # noqa: S104 - compared
        ("http://gpu:9000", "127.0.0.1", 9000, False),
        ("http://127.0.0.1:9000", "127.0.0.1", 0, False),
        ("http://127.0.0.1:9000", "192.0.2.7", 9000, False),
        ("http://127.0.0.1:99999", "127.0.0.1", 9000, False),
    ],
)
def test_the_own_address_is_known_in_all_its_forms(url: str, host: str, port: int, *, own: bool) -> None:
    assert is_own_address(url, host, port) is own


@pytest.mark.parametrize(
    ("variables", "setting"),
    [
        ({"OLLAMA_HOST": "127.0.0.1:9000"}, "OLLAMA_HOST"),
        ({"OLLAMA_HOST": "http://localhost:9000"}, "OLLAMA_HOST"),
        ({"OLLAMA_BASE_URL": "http://localhost:9000"}, "OLLAMA_BASE_URL"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:9000/v1", "OPENAI_API_KEY": "k"}, "OPENAI_BASE_URL"),
        ({"PROVIDER_LAB_BASE_URL": "http://127.0.0.1:9000/custom/v1"}, "PROVIDER_LAB_BASE_URL"),
    ],
)
def test_an_upstream_that_is_the_gateway_itself_is_refused(variables: dict[str, str], setting: str) -> None:
    with pytest.raises(SettingsError, match=f"^{setting}: .* is the gateway's own address") as caught:
        configure(Settings(), Sources(variables))
    assert ("OLLAMA_BASE_URL" in str(caught.value)) is ("OLLAMA" in setting)


def test_a_host_that_clients_read_is_no_matter_where_the_base_url_is_set() -> None:
    variables = {"OLLAMA_HOST": "http://127.0.0.1:9000", "OLLAMA_BASE_URL": "http://gpu:11434"}
    (upstream,) = configure(Settings(), Sources(variables)).upstreams
    assert upstream.base_url == "http://gpu:11434"


def test_a_table_for_a_key_that_this_machine_lacks_is_a_warning() -> None:
    table = ProviderSettings(base_url="https://h/v1", api_key_env="THEIR_KEY")
    found = configure(Settings(providers={"theirs": table}, aliases={"fast": "theirs/m"}), Sources())
    assert found.missing == {"theirs": "set THEIR_KEY"}
    assert found.warnings == [
        "provider 'theirs' is not configured here: set THEIR_KEY",
        "alias 'fast' leads to 'theirs/m', but that provider is not configured here: set THEIR_KEY",
    ]


def test_what_is_said_of_a_provider_that_does_not_exist_is_a_warning() -> None:
    settings = Settings(provider_conformance={"opnai": "enforce", "openai": "repair", "custom": "observe"})
    (warning,) = configure(settings, Sources()).warnings
    assert warning == "provider_conformance.opnai: there is no such provider: did you mean openai?"


def test_the_source_of_a_bad_base_url_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("VLLM_BASE_URL=gpu:8000\n", encoding="utf-8")
    with only({"HOME": str(tmp_path)}), pytest.raises(SettingsError) as caught:
        read_configuration()
    assert caught.value.problems == ["VLLM_BASE_URL: 'gpu:8000' (.env): the base URL must look like https://host/v1"]


@pytest.mark.parametrize(
    ("variable", "url", "said"),
    [
        ("OPENAI_BASE_URL", "http://127.0.0.1:9", "has no path"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/", "has no path"),
        ("PROVIDER_LAB_BASE_URL", "http://127.0.0.1:9", "has no path"),
        ("OLLAMA_BASE_URL", "http://127.0.0.1:9", None),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9", None),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1", None),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/openai/deployments/x", None),
    ],
)
def test_a_base_url_without_a_path_is_warned_of(variable: str, url: str, said: str | None) -> None:
    found = warnings(**{variable: url, "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"})
    if said is None:
        assert found == []
    else:
        (warning,) = found
        assert warning.startswith(variable)
        assert said in warning


@pytest.mark.parametrize(
    "half", [{"SMTP_URL": "smtp://mail.example.com"}, {"SMTP_FROM": "Gateway <gateway@example.com>"}]
)
def test_a_mail_server_without_a_sender_stops_the_start_and_says_what_is_missing(
    half: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in half.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        read_configuration()
    assert caught.value.problems == ["SMTP_URL and SMTP_FROM: mails need both, a server and an address to be sent from"]


def test_both_or_neither_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_configuration().settings.smtp_url is None
    monkeypatch.setenv("SMTP_URL", "smtp://mail.example.com")
    monkeypatch.setenv("SMTP_FROM", "gateway@example.com")
    assert read_configuration().settings.smtp_from == "gateway@example.com"
