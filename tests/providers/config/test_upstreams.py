"""Which upstreams are configured, and what is missing for them."""

from typing import Any

import pytest
from pydantic import SecretStr

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import ProviderSettings, Settings
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.config.upstreams import configured_upstreams
from ai_gateway.providers.upstream import Upstream


def configured(env: dict[str, str], **providers: ProviderSettings) -> dict[str, Upstream]:
    return {upstream.name: upstream for upstream in configured_upstreams(Settings(providers=providers), env)}


@pytest.mark.parametrize("row", [row for row in ROWS if row.needs_key], ids=lambda row: row.name)
def test_a_key_configures_its_row_at_its_own_address(row: Any) -> None:
    (upstream,) = configured({row.key_env: "k"}).values()
    assert (upstream.name, upstream.base_url) == (row.name, row.base_url)
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
        ({}, {"theirs": ProviderSettings(base_url="https://h/v1", api_key_env="NOT_SET")}, "NOT_SET is missing"),
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


@pytest.mark.parametrize(
    ("name", "table", "complaint"),
    [
        ("openai", ProviderSettings(), "OPENAI_API_KEY is missing, but .providers.openai. is there"),
        ("openai", ProviderSettings(api_key_env="NOT_SET"), "NOT_SET is missing"),
        ("lab", ProviderSettings(), "providers.lab: base_url is missing"),
    ],
)
def test_a_table_that_does_not_suffice_says_what_is_missing(name: str, table: ProviderSettings, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        configured({}, **{name: table})
