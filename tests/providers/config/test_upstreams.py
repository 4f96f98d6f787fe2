"""Which upstreams are configured, and what is missing for them."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import ProviderSettings, Settings
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.config.upstreams import configured_upstreams
from ai_gateway.providers.upstream import KeySource, Upstream


def configured(env: dict[str, str], **providers: ProviderSettings) -> dict[str, Upstream]:
    return {upstream.name: upstream for upstream in configured_upstreams(Settings(providers=providers), env).upstreams}


@pytest.mark.parametrize("row", [row for row in ROWS if row.needs_key], ids=lambda row: row.name)
def test_a_key_configures_its_row_at_its_own_address(row: Any) -> None:
    account = {name: f"own-{at}" for at, name in enumerate(row.url_variables)}
    (upstream,) = configured({row.key_env: "k", **account}).values()
    assert (upstream.name, upstream.base_url) == (row.name, row.base_url.format(**account))
    assert upstream.api_key == SecretStr("k")


@pytest.mark.parametrize("row", [row for row in ROWS if not row.needs_key], ids=lambda row: row.name)
def test_a_local_server_is_configured_by_its_address_alone(row: Any) -> None:
    (upstream,) = configured({row.base_url_env: "http://127.0.0.1:5/v1"}).values()
    assert (upstream.name, upstream.base_url) == (row.name, "http://127.0.0.1:5/v1")
    assert (upstream.api_key, upstream.row) == (None, row)


def test_another_address_needs_the_key_too() -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is missing"):
        configured({"OPENAI_BASE_URL": "http://127.0.0.1:5/v1"})


@pytest.mark.parametrize(
    ("address", "newer"),
    [("https://api.openai.com/v1", True), ("https://api.openai.com/v1/", True), ("http://127.0.0.1:5/v1", False)],
)
def test_what_only_openai_itself_has_is_asked_of_no_other_server(address: str, *, newer: bool) -> None:
    upstreams = configured({"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "k"})
    assert upstreams["openai"].row.quirks.max_completion_tokens_only is newer


def test_a_provider_of_ones_own_comes_from_the_environment_or_the_file() -> None:
    upstreams = configured(
        {"PROVIDER_MINE_BASE_URL": "http://127.0.0.1:5/v1", "PROVIDER_MINE_API_KEY": "k", "THEIR_KEY": "t"},
        theirs=ProviderSettings(base_url="https://example.org/v1", api_key_env="THEIR_KEY"),
    )
    assert upstreams["mine"].api_key == SecretStr("k")
    assert upstreams["theirs"].api_key == SecretStr("t")


@pytest.mark.parametrize(
    ("env", "providers", "complaint"),
    [
        ({"PROVIDER_MINE_BASE_URL": "ftp://host"}, {}, "must look like https://host/v1"),
        ({"PROVIDER_MINE_BASE_URL": "no-address"}, {}, "must look like https://host/v1"),
        ({"PROVIDER_MINE_BASE_URL": "https://user:pw@host/v1"}, {}, "no credentials"),
        ({"PROVIDER_MINE_BASE_URL": "http://[::1/v1"}, {}, "must look like https://host/v1"),
        ({"PROVIDER_MINE_BASE_URL": "http://host:99999/v1"}, {}, "must look like https://host/v1"),
        ({"OPENAI_API_KEY": "two\nlines"}, {}, "characters that no header can carry"),
        ({"PROVIDER_LAB_API_KEY": "k"}, {}, "PROVIDER_LAB_BASE_URL is missing"),
        ({"PROVIDER_CUSTOM_BASE_URL": "https://host/v1"}, {}, "'custom' cannot be used"),
        ({"PROVIDER_V1_BASE_URL": "https://host/v1"}, {}, "'v1' cannot be used"),
        ({"OPENAI_API_KEY": "k", "PROVIDER_OPENAI_BASE_URL": "https://host/v1"}, {}, "'openai' is configured twice"),
        (
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://h/v1/chat/completions"},
            {},
            "leave '/chat/completions' off",
        ),
        (
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://h/v1/models/"},
            {},
            "OPENAI_BASE_URL: .*leave '/models/' off",
        ),
        ({"PROVIDER_LAB_BASE_URL": "https://h/v1/v1"}, {}, "PROVIDER_LAB_BASE_URL: .*/v1 is there twice"),
        ({}, {"lab": ProviderSettings(base_url="https://h/v1/embeddings")}, "providers.lab.base_url: .*off"),
        ({"GROQ_API_KEY_FILE": "/nowhere/key"}, {}, "GROQ_API_KEY_FILE: '/nowhere/key' cannot be read: No such file"),
        ({}, {"odd": ProviderSettings(base_url="https://h/v1", wire="odd")}, "no wire 'odd'. Known: .*groq"),
        ({}, {"Bad Name": ProviderSettings(base_url="https://h/v1")}, "'Bad Name' cannot be used"),
    ],
)
def test_what_cannot_work_is_refused(env: dict[str, str], providers: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        configured(env, **providers)
    assert "pw" not in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        configured({"OPENAI_BASE_URL": "http://h/v1", "GROQ_BASE_URL": "http://h/v1", "VLLM_BASE_URL": "h"})
    assert len(caught.value.problems) == 3


def test_a_table_without_an_address_adds_to_what_a_known_providers_variables_say() -> None:
    table = ProviderSettings(request_timeout_s=7, conformance="enforce", dropped=["user"])
    upstream = configured({"GROQ_API_KEY": "k", "GROQ_BASE_URL": "http://127.0.0.1:5/v1"}, groq=table)["groq"]
    assert (upstream.base_url, upstream.api_key) == ("http://127.0.0.1:5/v1", SecretStr("k"))
    assert (upstream.timeouts.request, upstream.conformance) == (7, "enforce")
    assert "user" in upstream.row.quirks.dropped


def test_a_table_may_bring_the_key_of_a_known_provider() -> None:
    upstream = configured({"TEAM": "k"}, openai=ProviderSettings(api_key_env="TEAM"))["openai"]
    assert (upstream.base_url, upstream.api_key) == ("https://api.openai.com/v1", SecretStr("k"))


def test_a_known_local_server_is_configured_by_a_table_alone() -> None:
    assert configured({}, vllm=ProviderSettings())["vllm"].base_url == "http://127.0.0.1:8000/v1"


def test_a_table_that_does_not_suffice_says_what_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"providers\.lab: base_url is missing"):
        configured({}, lab=ProviderSettings())


@pytest.mark.parametrize(
    ("name", "table", "hint"),
    [
        ("openai", ProviderSettings(), "set OPENAI_API_KEY"),
        ("openai", ProviderSettings(api_key_env="NOT_SET"), "set NOT_SET"),
        ("theirs", ProviderSettings(base_url="https://h/v1", api_key_env="NOT_SET"), "set NOT_SET"),
    ],
)
def test_a_table_without_its_key_is_left_out_because_another_machine_may_have_it(
    name: str, table: ProviderSettings, hint: str
) -> None:
    found = configured_upstreams(Settings(providers={name: table}), {})
    assert (found.upstreams, found.missing) == ([], {name: hint})


def test_every_key_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\ufeffsk-from-file\n", encoding="utf-8")
    names = [row.key_env for row in ROWS if row.key_env] + ["PROVIDER_LAB_API_KEY", "THEIR_KEY"]
    accounts = {name: value or "x" for row in ROWS for name, value in row.url_variables.items()}
    env = (
        {f"{name}_FILE": str(tmp_path / "key") for name in names} | {"PROVIDER_LAB_BASE_URL": "https://h/v1"} | accounts
    )
    found = configured(env, theirs=ProviderSettings(base_url="https://h/v1", api_key_env="THEIR_KEY"))
    assert len(found) == len(names)
    assert {upstream.secret for upstream in found.values() if not upstream.key_source} == {"sk-from-file"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_provider_can_have_its_key_in_a_file_that_its_table_names(row: Any, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-from-file\n", encoding="utf-8")
    account = {name: value or "x" for name, value in row.url_variables.items()}
    (upstream,) = configured(account, **{row.name: ProviderSettings(api_key_file=path)}).values()
    if row.key_rotates:  # read as calls are made, and not only by a reload
        assert upstream.key_source == KeySource(f"providers.{row.name}.api_key_file", file=path)
    else:
        assert upstream.secret == "sk-from-file"
    path.unlink()
    with pytest.raises(SettingsError, match=rf"providers.{row.name}.api_key_file: .* cannot be read: No such file"):
        configured(account, **{row.name: ProviderSettings(api_key_file=path)})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "is not UTF-8 text"), (b"x" * 70_000, "is too large")],
)
def test_a_file_without_a_key_stops_the_start(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match=f"OPENAI_API_KEY_FILE: .*{complaint}"):
        configured({"OPENAI_API_KEY_FILE": str(tmp_path / "key")})


def test_a_key_and_a_file_for_it_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set"):
        configured({"OPENAI_API_KEY": "k", "OPENAI_API_KEY_FILE": str(tmp_path)})


def test_ollamas_base_url_counts_before_the_host_that_its_clients_read() -> None:
    env = {"OLLAMA_HOST": "http://127.0.0.1:9000", "OLLAMA_BASE_URL": "http://gpu:11434"}
    assert configured(env)["ollama"].base_url == "http://gpu:11434"
