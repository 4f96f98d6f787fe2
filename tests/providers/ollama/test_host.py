"""OLLAMA_HOST in every form that Ollama's own programs take."""

import re

import pytest
from ollama._client import _parse_host

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.providers.config.upstreams import configured_upstreams
from ai_gateway.providers.ollama.host import ollama_url

SAME_AS_THE_SDK = [
    "1.2.3.4", ":56789", "1.2.3.4:56789", "http://1.2.3.4", "https://1.2.3.4", "https://1.2.3.4:56789", "example.com",
    "example.com:56789", "http://example.com", "https://example.com", "example.com/", "example.com:56789/",
    "example.com/path", "example.com:56789/path/", "https://example.com:56789/path", "[0001:002:003:0004::1]",
    "[0001:002:003:0004::1]:56789", "http://[0001:002:003:0004::1]", "[0001:002:003:0004::1]:56789/path/",
]  # fmt: skip


@pytest.mark.parametrize("given", SAME_AS_THE_SDK)
def test_a_host_is_read_as_the_sdk_reads_it(given: str) -> None:
    assert ollama_url(given) == _parse_host(given)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - what servers listen on, and clients are given
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("[::]:11434", "http://[::1]:11434"),
        (' "gpu:11434" ', "http://gpu:11434"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434"),
    ],
)
def test_a_servers_own_setting_leads_a_client_to_it(given: str, url: str) -> None:
    assert ollama_url(given) == url


@pytest.mark.parametrize(
    "given", ["http://h:99999999", "ftp://h", "http://u:p@h", "http://h?q=1", "http://[::1", "a b"]
)
def test_what_is_no_address_stops_the_start(given: str) -> None:
    with pytest.raises(SettingsError) as problem:
        configured_upstreams(Settings(), {"OLLAMA_HOST": given})
    assert problem.value.problems == [
        p for p in problem.value.problems if re.match(r"OLLAMA_HOST(: '.*')? \(environment\): the base URL must", p)
    ]


@pytest.mark.parametrize("env", [{"OLLAMA_HOST": "gpu"}, {"OLLAMA_API_KEY": "k"}])
def test_the_host_or_the_key_configures_it(env: dict[str, str]) -> None:
    (found,) = configured_upstreams(Settings(), env).upstreams
    assert found.base_url == ("http://gpu:11434" if "OLLAMA_HOST" in env else "http://127.0.0.1:11434")
    assert found.row.unknown_params == "drop"
