"""docs/routing.md: each example is what the gateway takes, does what the page says, and each promise has its number."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.config.settings import Settings
from ai_gateway.routing.model_list.parse import parse_list
from ai_gateway.routing.rules import Rules, read_rules
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())
PROVIDERS = ("openai", "groq", "fireworks", "custom")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


TOML, JSON, SHELL = blocks("toml"), blocks("json"), blocks("sh")


def rules_of(text: str) -> Rules:
    import tomllib

    given: Any = tomllib.loads(text)
    return read_rules(Settings(**given), PROVIDERS)


def test_every_configuration_shown_is_valid_and_means_what_is_said() -> None:
    first, routes = (rules_of(block) for block in TOML)
    assert first.default_model == "fast"
    assert first.aliases.follow("gpt-3.5-turbo") == "openai/gpt-4o-mini"
    assert [target.provider for target in routes.routes["best"].order()] == ["openai", "groq"]
    assert list(routes.routes["shared"].weights or ()) == [3, 1]
    assert routes.aliases.follow("openai/gpt-4o") == "openai/gpt-4o"


def test_the_mapping_file_shown_is_valid_and_means_what_is_said(tmp_path: Path) -> None:
    mapping = tmp_path / "map.json"
    mapping.write_text(JSON[0], encoding="utf-8")
    rules = read_rules(Settings(model_mapping_file=mapping), PROVIDERS)
    led = {asked: rules.aliases.follow(asked) for asked in ("gpt-4o", "any-latest", "gpt-4-latest", "_comment")}
    assert led == {
        "gpt-4o": "openai/gpt-4o",
        "any-latest": "groq/llama-3.3-70b-versatile",
        "gpt-4-latest": "groq/llama-3.3-70b-versatile",
        "_comment": "_comment",
    }
    assert rules.default_model == "llama3"


def test_the_model_list_shown_is_valid() -> None:
    found = parse_list(JSON[1].encode())
    assert [(entry.id.split("/")[0], entry.provider) for entry in found.entries] == [
        ("gpt-4o", "openai"), ("accounts", "fireworks")
    ]  # fmt: skip
    assert found.problems == ()


@pytest.fixture(scope="module")
def live(gateway: LiveGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """The gateway of the page's first configuration; another gateway's built-in provider plays both upstreams."""
    config = tmp_path_factory.mktemp("page") / "gateway.toml"
    config.write_text(TOML[0], encoding="utf-8")
    url = f"{gateway.base_url}/custom/v1"
    upstreams = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": TEST_KEY, "GROQ_BASE_URL": url, "GROQ_API_KEY": TEST_KEY}
    with running_gateway(GATEWAY_CONFIG=str(config), **upstreams) as running:
        yield running


def test_every_request_shown_is_answered(live: LiveGateway) -> None:
    for block in SHELL:
        script = block.replace("http://127.0.0.1:9000", live.base_url).replace("curl ", "curl -sf -w '\\n' ")
        done = subprocess.run(["/bin/bash", "-e"], input=script, capture_output=True, text=True, timeout=60, check=True)
        models = [json.loads(line)["model"] for line in done.stdout.splitlines()]
        assert models == ["gpt-4o-mini", "gpt-4o", "gpt-4o-mini"]
