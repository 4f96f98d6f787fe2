"""Settings from the environment, .env and gateway.toml."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from ai_gateway.config.fields import SECRET
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import PerProvider, ProviderSettings, Settings, marked
from ai_gateway.config.sources import ALIASES, read_settings, read_sources


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*map(str.upper, Settings.model_fields), *ALIASES.values(), *ALIASES, "GATEWAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def load(**options: object) -> Settings:
    return read_settings(read_sources(**options))


def test_the_defaults_serve_this_machine_without_keys() -> None:
    settings = load()
    assert (settings.service_host, settings.service_port) == ("127.0.0.1", 9000)
    assert settings.allowed_api_keys == ()
    assert not settings.allow_anonymous
    assert settings.request_max_size == 10 * 1024 * 1024


def test_keys_are_split_trimmed_and_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_API_KEYS", " alpha , ,omega,")
    settings = load()
    assert [key.get_secret_value() for key in settings.allowed_api_keys] == ["alpha", "omega"]
    assert "alpha" not in repr(settings)


def test_an_alias_stands_for_the_first_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "8123")
    monkeypatch.setenv("REQUEST_TIMEOUT", "7.5")
    monkeypatch.setenv("OPENAI_API_BASE_URL", "http://127.0.0.1:5/v1")
    settings = load()
    assert settings.service_port == 8123
    assert settings.request_timeout_s == 7.5
    assert read_sources().environment["OPENAI_BASE_URL"] == "http://127.0.0.1:5/v1"


def test_an_alias_that_disagrees_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "8123")
    monkeypatch.setenv("SERVICE_PORT", "8124")
    with pytest.raises(SettingsError, match="SERVICE_PORT and its alias PROXY_PORT disagree") as caught:
        load()
    assert "'8124' (environment), '8123' (environment)" in str(caught.value)


def test_the_same_value_under_both_names_is_no_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "8123")
    monkeypatch.setenv("SERVICE_PORT", "8123")
    assert load().service_port == 8123


def test_all_problems_are_told_at_once_with_value_and_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROXY_PORT", "lots")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("ENABLE_DOCS", "perhaps")
    (tmp_path / ".env").write_text("REQUEST_TIMEOUT_S=-1\nMAX_RETRIES=1.5\n")
    (tmp_path / "gateway.toml").write_text('bodies_max_size = "much"\ncors_origins = 7\n[routes.r]\ntargets = []\n')
    with pytest.raises(SettingsError) as caught:
        load(workers=1_000, service_host=7)
    assert sorted(caught.value.problems) == sorted(
        [
            "SERVICE_PORT: 'lots' is no whole number (PROXY_PORT in environment)",
            "LOG_LEVEL: 'loud' is not one of 'debug', 'info', 'warning' or 'error' (environment)",
            "ENABLE_DOCS: 'perhaps' is neither true nor false (environment)",
            "REQUEST_TIMEOUT_S: '-1' has to be more than 0 (.env)",
            "MAX_RETRIES: '1.5' is no whole number (.env)",
            "BODIES_MAX_SIZE: 'much' is no whole number (gateway.toml)",
            "CORS_ORIGINS: 7 has to be a list (gateway.toml)",
            "routes.r.targets: the value has to have an entry (gateway.toml)",
            "WORKERS: 1000 is more than the largest, 256 (option --workers)",
            "SERVICE_HOST: 7 has to be a text (option --host)",
        ]
    )


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('allowed_api_keys = ["canary", 5]', "canary"),
        ('model_list_api_key = "can ary"', "can ary"),
        ('[providers.lab]\nbase_url = "https://h/v1"\napi_key = 77123', "77123"),
        ('[providers.lab]\nbase_url = "https://h/v1"\nheaders = { x = 77123 }', "77123"),
        ('service_port = "sk-proj-0123456789abcdef"', "0123456789"),
        ('model_list_url = "ftp://user:canary@host/x?key=canary"', "canary"),
    ],
)
def test_no_secret_is_shown_wherever_it_was_put(tmp_path: Path, text: str, secret: str) -> None:
    (tmp_path / "gateway.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load()
    assert secret not in str(caught.value)
    assert "gateway.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "[providers.lab]\nbase_ulr = 'https://h/v1'",
            "providers.lab: unknown setting base_ulr: did you mean base_url?",
        ),
        ("[keys.a]\nkey_evn = 'A'", "keys.a: unknown setting key_evn: did you mean key_env?"),
        ("[prices.'a/b']\ninput = 1\noutptu = 1", "prices.a/b: unknown setting outptu: did you mean output?"),
        (
            "[prices.'a/b']\ninput = 1\noutput = 1\nabove = [{tokens = 1, input = 1, output = 1, outptu = 1}]",
            "prices.a/b.above.0: unknown setting outptu: did you mean output?",
        ),
        ("[routes.r]\ntarget = ['a/b']\ntargets = ['a/b']", "routes.r: unknown setting target: did you mean targets?"),
        ("[providers.lab]\nzzz = 1", "providers.lab: unknown setting zzz. Known: "),
        ("SERVICE_PORT = 1", "unknown setting SERVICE_PORT: did you mean service_port?"),
        ("[provider.lab]\nbase_url = 'https://h/v1'", "unknown setting provider: did you mean providers?"),
    ],
)
def test_an_unknown_setting_names_the_near_one_at_any_depth(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "gateway.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load()
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("providers = 3", "providers: 3 has to be a table (gateway.toml)"),
        ("routes = []", "routes: the value has to be a table (gateway.toml)"),
        ("[aliases]\nfast = 7", "aliases.fast: 7 has to be a text (gateway.toml)"),
        ("[providers]\nlab = 'x'", "providers.lab: 'x' has to be a table (gateway.toml)"),
        ("retry_refusals = '408,abc'", "RETRY_REFUSALS: 'abc' is not one of 408, 409 or 429 (gateway.toml)"),
        ("[providers.a]\nrequest_timeout_s = 'x'", "providers.a.request_timeout_s: 'x' is no number (gateway.toml)"),
        ("[routes.r]\nmode = 'fallback'", "routes.r.targets: is missing (gateway.toml)"),
        (
            "[routes.r]\nmode = 'fallbak'\ntargets = ['a/b']",
            "routes.r.mode: 'fallbak' is not one of 'fallback' or 'weighted': did you mean fallback? (gateway.toml)",
        ),
        (
            "[keys.a]\nspend_interval = 'weekly'",
            "keys.a.spend_interval: 'weekly' is not one of 'day', 'week', 'month' or 'total': did you mean week? "
            "(gateway.toml)",
        ),
        ("[prices.'a/b']\ninput = 1", "prices.a/b.output: is missing (gateway.toml)"),
        (
            "trusted_proxies = '10.0.0.0/99'",
            "TRUSTED_PROXIES: '10.0.0.0/99' is no address or network such as 10.0.0.0/8 (gateway.toml)",
        ),
    ],
)  # fmt: skip
def test_what_a_value_should_be_is_said_in_plain_words(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "gateway.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load()
    assert caught.value.problems == [problem]


@pytest.mark.parametrize("given", [",,", " , ", "\n", " "])
def test_keys_that_are_none_are_no_way_to_have_none(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("ALLOWED_API_KEYS", given)
    with pytest.raises(SettingsError, match="ALLOWED_API_KEYS: it names no key"):
        load()


def test_an_empty_list_of_keys_in_the_file_says_none(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("allowed_api_keys = []")
    assert load().allowed_api_keys == ()


@pytest.mark.parametrize("name", [name.upper() for name in marked(SECRET)])
def test_every_secret_setting_can_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    forms = {"SMTP_URL": "smtp://me:sk-in-a-file@mail\n", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=sk-in-a-file\n"}
    (tmp_path / "secret").write_text(forms.get(name, "sk-in-a-file\n"))
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert "sk-in-a-file" in str(shown_secrets(getattr(load(), name.lower())))
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=f"{name}_FILE: .* cannot be read: No such file"):
        load()


def shown_secrets(value: object) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    return [each.get_secret_value() for each in values if isinstance(each, SecretStr)]


def test_every_setting_that_holds_a_secret_is_marked_as_one() -> None:
    holding = [name for name, field in Settings.model_fields.items() if "SecretStr" in repr(field.annotation)]
    assert holding == marked(SECRET)


@pytest.mark.parametrize("name", ["PROXY_PORT", "SERVICE_PORT"])
def test_what_kubernetes_sets_for_a_service_of_the_name_is_no_port(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    monkeypatch.setenv(f"{name}_80_TCP", "tcp://10.0.0.1:80")
    sources = read_sources()
    assert read_settings(sources).service_port == 9000
    assert [name in warning for warning in sources.warnings] == [True]


def test_a_file_sets_what_the_environment_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(
        'service_port = 8200\nlog_level = "error"\nallowed_api_keys = ["a", "b"]\n'
        '[providers.mine]\nbase_url = "http://127.0.0.1:1/v1"\n'
    )
    monkeypatch.setenv("SERVICE_PORT", "8201")
    settings = load()
    assert settings.service_port == 8201
    assert settings.log_level == "error"
    assert len(settings.allowed_api_keys) == 2
    assert settings.providers["mine"].base_url == "http://127.0.0.1:1/v1"


def test_a_dotenv_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SERVICE_PORT=8300\n")
    assert load().service_port == 8300


def test_an_empty_variable_leaves_the_next_source_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERVICE_PORT", "")
    monkeypatch.setenv("GROQ_API_KEY", "")
    (tmp_path / ".env").write_text("SERVICE_PORT=8300\nGROQ_API_KEY=k\nWORKERS=\n")
    sources = read_sources()
    assert (read_settings(sources).service_port, read_settings(sources).workers) == (8300, 1)
    assert sources.environment["GROQ_API_KEY"] == "k"


def test_the_process_counts_before_a_dotenv_file_however_the_names_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SERVICE_PORT", "8301")
    monkeypatch.setenv("log_level", "error")
    (tmp_path / ".env").write_text("SERVICE_PORT=8300\nservice_port=8302\nLOG_LEVEL=debug\n")
    settings = load()
    assert (settings.service_port, settings.log_level) == (8301, "error")


def test_every_source_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SERVICE_PORT=8300\n")
    (tmp_path / "gateway.toml").write_text("workers = 2\n")
    sources = read_sources()
    for path in tmp_path.iterdir():
        path.unlink()
    monkeypatch.setenv("SERVICE_PORT", "1")
    settings = read_settings(sources)
    assert (settings.service_port, settings.workers) == (8300, 2)


def test_sources_show_no_secret_when_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "canary-1")
    (tmp_path / "gateway.toml").write_text('allowed_api_keys = ["canary-2"]\n')
    sources = read_sources()
    assert sources.environment["GROQ_API_KEY"] == "canary-1"
    assert sources.file["allowed_api_keys"] == ["canary-2"]
    assert "canary" not in repr(sources)


def test_an_unknown_setting_in_the_file_names_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("servce_port = 1\n")
    with pytest.raises(SettingsError, match="unknown setting servce_port: did you mean service_port"):
        load()


def test_a_broken_file_is_one_clear_problem(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("service_port = = 1\n")
    with pytest.raises(SettingsError, match=r"gateway\.toml: not valid TOML"):
        load()


def test_a_file_that_is_named_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", "nowhere.toml")
    with pytest.raises(SettingsError, match="GATEWAY_CONFIG: no such file"):
        load()


def test_options_count_before_every_source_and_settle_a_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "8123")
    monkeypatch.setenv("SERVICE_PORT", "8124")
    assert load(service_port=0).service_port == 0


@pytest.mark.parametrize("value", ["x", "{}"])
def test_providers_cannot_come_from_one_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PROVIDERS", value)
    with pytest.raises(SettingsError, match="PROVIDERS: cannot be set in the environment"):
        load()


def test_unknown_params_takes_one_of_three_words_for_all_and_for_one_provider(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load().unknown_params is None
    monkeypatch.setenv("UNKNOWN_PARAMS", "Reject")
    table = '[providers.lab]\nbase_url = "http://127.0.0.1:5/v1"\n'
    (tmp_path / "gateway.toml").write_text(f'{table}unknown_params = "drop"\n', encoding="utf-8")
    settings = load()
    assert (settings.unknown_params, settings.providers["lab"].unknown_params) == ("reject", "drop")
    (tmp_path / "gateway.toml").write_text(f'{table}unknown_params = "lose"\n', encoding="utf-8")
    monkeypatch.setenv("UNKNOWN_PARAMS", "perhaps")
    with pytest.raises(SettingsError) as caught:
        load()
    assert {problem.split(":")[0] for problem in caught.value.problems} == {
        "UNKNOWN_PARAMS",
        "providers.lab.unknown_params",
    }


def test_a_file_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.toml").write_text("", encoding="utf-8")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", "gateway.toml")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError) as caught:
        load()
    assert caught.value.problems == ["gateway.toml: cannot be read: Permission denied"]


@pytest.mark.parametrize("name", [".env", "gateway.toml"])
def test_a_directory_in_place_of_a_file_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # as Docker makes one where the file to be mounted is missing
    with pytest.raises(SettingsError) as caught:
        load()
    assert caught.value.problems == [f"{name}: cannot be read: Is a directory"]


@pytest.mark.parametrize("name", [".env", "gateway.toml"])
def test_a_file_that_is_no_text_is_one_problem_beside_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"A=\xff\xfe\n")
    monkeypatch.setenv("WORKERS", "none")
    with pytest.raises(SettingsError) as caught:
        load()
    assert caught.value.problems[0] == f"{name}: not UTF-8 text"
    assert [problem.split(":")[0] for problem in caught.value.problems[1:]] == ["WORKERS"]


def test_a_message_of_ours_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://app.example.com/")
    with pytest.raises(
        SettingsError, match=r"^CORS_ORIGINS: 'https://app.example.com/': an origin is \* or such as https://"
    ):
        load()


@pytest.mark.parametrize("field", PerProvider.model_fields)
def test_a_provider_has_the_value_of_its_table_before_that_for_all(field: str) -> None:
    values: dict[str, dict[str, object]] = {
        "conformance": {"all": "observe", "lab": "enforce"},
        "unknown_params": {"all": "drop", "lab": "reject"},
        "disable_ssl_verification": {"all": True, "lab": False},
    }
    value = values.get(field, {"all": 11.0, "lab": 7.0})
    tables = {"lab": ProviderSettings.model_validate({field: value["lab"]}), "plain": ProviderSettings()}
    settings = Settings.model_validate({field: value["all"], "providers": tables})
    assert getattr(settings.for_provider("lab"), field) == value["lab"]
    for name in ("plain", "another"):
        assert settings.for_provider(name) == PerProvider.model_validate({field: value["all"]})


def test_a_providers_conformance_counts_from_its_table_then_from_the_table_of_all() -> None:
    settings = Settings(
        conformance="observe",
        provider_conformance={"lab": "repair", "groq": "repair"},
        providers={"lab": ProviderSettings(conformance="enforce")},
    )
    modes = [settings.for_provider(name).conformance for name in ("lab", "groq", "openai")]
    assert modes == ["enforce", "repair", "observe"]


@pytest.mark.parametrize("field", PerProvider.model_fields)
def test_a_table_has_the_bounds_of_the_setting(field: str) -> None:
    for model in (Settings, ProviderSettings):
        with pytest.raises(ValidationError):
            model.model_validate({field: -1})


@pytest.mark.parametrize("url", ["smtp://mail", "smtps://user:p%40ss@mail.example.com:465/", "smtp://[::1]:2525"])
def test_a_mail_server_is_an_address_of_smtp_and_a_secret(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_URL", url)
    settings = load()
    assert settings.smtp_url is not None
    assert settings.smtp_url.get_secret_value() == url
    assert url not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com",
        "http://mail",
        "smtp://",
        "smtp://mail:99999",
        "smtp://mail/path",
        "smtp://mail?x",
        "smtp://m l",
    ],
)
def test_another_address_is_no_mail_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_URL", url)
    with pytest.raises(SettingsError, match="SMTP_URL: must look like smtp://") as caught:
        load()
    assert f"{url} " not in str(caught.value)


@pytest.mark.parametrize(
    "sender", ["a@example.com", "Gateway <a@example.com>", '"Gateway, the" <a@mail>', "Zürich <a@b.c>"]
)
def test_mails_are_from_an_address(sender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_FROM", sender)
    assert load().smtp_from == sender


@pytest.mark.parametrize("sender", ["gateway", "@example.com", "a@", "a@b c", "a@exa\nmple.com", "a@b.c\r\nBcc: d@e.f"])
def test_what_is_no_address_sends_no_mails(sender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_FROM", sender)
    with pytest.raises(SettingsError, match="SMTP_FROM"):
        load()
