"""Aliases and routes: what the operator may write, and what stops the start."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import RouteSettings, Settings
from ai_gateway.routing.aliases import Aliases
from ai_gateway.routing.route import Route, TargetRef
from ai_gateway.routing.rules import Rules, read_rules
from tests.support.command import run_command

PROVIDERS = ("openai", "groq", "custom")


def rules(tmp_path: Path | None = None, text: str = "", name: str = "map.json", **given: Any) -> Rules:
    if tmp_path is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        given["model_mapping_file"] = tmp_path / name
    return read_rules(Settings(**given), PROVIDERS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.json", '{"_note": "comment", "fast": "openai/a", "gpt-*": "groq/*", "default_model": "fast"}'),
        ("map.json", '\ufeff{"fast": "openai/a", "gpt-*": "groq/*", "default_model": "fast"}'),
        ("map", '{"fast": "openai/a", "gpt-*": "groq/*", "default_model": "fast"}'),
        ("map.toml", 'default_model = "fast"\nfast = "openai/a"\n"gpt-*" = "groq/*"'),
    ],
)
def test_the_file_is_a_flat_table_with_a_default(tmp_path: Path, name: str, text: str) -> None:
    found = rules(tmp_path, text, name)
    assert (found.aliases.follow("fast"), found.aliases.follow("gpt-5")) == ("openai/a", "groq/5")
    assert found.default_model == "fast"


def test_the_setting_wins_over_the_default_of_the_file(tmp_path: Path) -> None:
    assert rules(tmp_path, '{"default_model": "a"}', default_model="b").default_model == "b"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "MODEL_MAPPING_FILE map.json: not valid JSON"),
        ("[" * 100_000, "MODEL_MAPPING_FILE map.json: not valid JSON"),
        ("[]", "must be an object whose keys are aliases"),
        ('{"a": 1}', "'a' must lead to the name of a model"),
        ('{"a": ""}', "'a' must lead to the name of a model"),
        ('{"a": {"b": "c"}}', "'a' must lead to the name of a model"),
        ('{"a*": "x", "a*": "y"}', r"'a\*' stands there twice"),
        ('{"a": "opnai/gpt"}', "alias 'a' leads to 'opnai/gpt', but there is no provider 'opnai'"),
        ('{"a": "openai/"}', "'openai/', which names no model after the provider"),
        ('{"a": "b", "b": "c", "c": "a"}', "alias 'b' leads back to itself"),
        ('{"a": "a"}', "alias 'a' leads back to itself"),
        ('{"a*b*": "openai/x"}', r"has more than one \*"),
        ('{"a": "openai/*"}', r"nothing says what its \* stands for"),
        ('{"a*": "openai/*-*"}', r"nothing says what its \* stands for"),
        ('{"a\\nb": "openai/x"}', "no name that a request could carry"),
    ],
)
def test_a_file_that_cannot_mean_what_it_says_stops_the_start(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        rules(tmp_path, text)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        rules(model_mapping_file=tmp_path / "none.json")
    (tmp_path / "map.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        rules(model_mapping_file=tmp_path / "map.toml")
    with pytest.raises(SettingsError, match="not valid TOML"):
        rules(tmp_path, "a = ", "map.toml")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"targets": ["gpt-4o"]}, "the target 'gpt-4o' names no provider: write provider/model"),
        ({"targets": ["nobody/x"]}, "there is no provider 'nobody'"),
        ({"targets": ["openai/x", "openai/x"]}, "a target stands there twice"),
        ({"targets": ["openai/x"], "weights": [1]}, 'weights need mode = "weighted"'),
        ({"targets": ["openai/x"], "mode": "weighted"}, "needs weights"),
        ({"targets": ["openai/x"], "mode": "weighted", "weights": [1, 2]}, "2 weights for 1 targets"),
        ({"targets": ["openai/x", "groq/y"], "mode": "weighted", "weights": [0, 0]}, "all weights are 0"),
    ],
)
def test_a_route_that_cannot_work_stops_the_start(table: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        rules(routes={"r": RouteSettings(**table)})


def test_what_leads_to_a_provider_without_a_key_is_a_warning_because_another_machine_may_have_it() -> None:
    reported: list[str] = []
    route = RouteSettings(targets=["mistral/x", "openai/y", "lab/z"], mode="weighted", weights=[1, 0, 2])
    unreachable = RouteSettings(targets=["mistral/x"])
    settings = Settings(aliases={"a": "mistral/x"}, routes={"r": route, "s": unreachable})
    found = read_rules(settings, PROVIDERS, {"lab": "set LAB_KEY"}, reported)
    assert reported == [
        "alias 'a' leads to 'mistral/x', but that provider is not configured here: set MISTRAL_API_KEY",
        "route 'r' has the target 'mistral/x', but that provider is not configured here: set MISTRAL_API_KEY",
        "route 'r' has the target 'lab/z', but that provider is not configured here: set LAB_KEY",
        "route 's' has the target 'mistral/x', but that provider is not configured here: set MISTRAL_API_KEY",
    ]
    assert found.aliases.follow("a") == "mistral/x"
    assert found.routes["r"] == Route((TargetRef("openai", "y"),), None, ("mistral", "lab"))
    assert found.routes["s"] == Route((), None, ("mistral",))


def test_an_alias_that_leads_nowhere_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="alias 'a' leads nowhere"):
        rules(aliases={"a": ""})


def test_a_name_means_one_thing(tmp_path: Path) -> None:
    route = RouteSettings(targets=["openai/x"])
    with pytest.raises(SettingsError, match="'a' is both an alias and a route"):
        rules(aliases={"a": "openai/x"}, routes={"a": route})
    with pytest.raises(SettingsError, match=r"'a' is an alias in both gateway.toml and MODEL_MAPPING_FILE"):
        rules(tmp_path, '{"a": "openai/x"}', aliases={"a": "openai/x"})
    with pytest.raises(SettingsError, match=r"route 'r\*' has a \*"):
        rules(routes={"r*": route})


def test_the_start_reports_every_problem_at_once_and_nothing_of_a_secret(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[aliases]\na = "a"\nb = "nobody/x"\n[routes.r]\ntargets = ["openai/x"]\nweights = [1]\n', encoding="utf-8"
    )
    env = {"OPENAI_API_KEY": "sk-canary", "MODEL_MAPPING_FILE": str(tmp_path / "no.json"), "SERVICE_PORT": "0"}
    ended = run_command("serve", GATEWAY_CONFIG=str(config), **env)
    assert ended.returncode == 2
    for complaint in ("alias 'a' leads back", "no provider 'nobody'", "weights need mode", "cannot be read"):
        assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "sk-canary" not in ended.stderr


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("[routes.r]\ntargets = []", "routes.r.targets"),
        ("[routes.r]\ntargets = ['openai/x']\nmode = 'random'", "routes.r.mode"),
        ("[routes.r]\ntargets = ['custom/x']\nmode = 'weighted'\nweights = [-1]", "routes.r.weights.0"),
        ("[routes.r]\ntargets = ['custom/x']\nweight = [1]", "routes.r: unknown setting weight: did you mean weights"),
        ("model_list_url = 'file:///etc/passwd'", "MODEL_LIST_URL: .*must look like https://host"),
        ("model_list_url = 'https://user:canary@host/x'", "MODEL_LIST_URL: .*without credentials"),
        ("model_list_url = 'ftp://host/x'", "MODEL_LIST_URL"),
        ("model_list_refresh_s = 0", "MODEL_LIST_REFRESH_S"),
        ('model_list_api_key = "a\\nb"', "MODEL_LIST_API_KEY: .*no header can carry"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, toml: str, complaint: str) -> None:
    import re

    (tmp_path / "gateway.toml").write_text(toml, encoding="utf-8")
    ended = run_command("serve", SERVICE_PORT="0", GATEWAY_CONFIG=str(tmp_path / "gateway.toml"))
    assert ended.returncode == 2
    assert re.search(complaint, ended.stderr)
    assert "canary" not in ended.stderr


@given(
    st.dictionaries(st.text("ab*/", min_size=1, max_size=4), st.text("ab*/", min_size=1, max_size=4), max_size=6),
    st.text("ab*/", max_size=6),
)
def test_following_an_alias_always_ends(table: dict[str, str], asked: str) -> None:
    aliases = Aliases(table, ["a"], ["b"])
    assert isinstance(aliases.follow(asked), str)
    if not list(aliases.loops()) and asked in aliases.names:
        end = aliases.follow(asked)
        assert end not in aliases.names or end == "b" or end.startswith("a/")


def test_weights_decide_who_is_first_and_the_others_follow_in_order() -> None:
    from random import Random

    targets = tuple(TargetRef(name, "m") for name in "abc")
    plan = Route(targets, (3, 1, 0))
    chance = Random(1)
    drawn = [plan.order(chance) for _ in range(4_000)]
    firsts = [order[0].provider for order in drawn]
    assert 2_800 < firsts.count("a") < 3_200
    assert firsts.count("c") == 0
    assert {"".join(target.provider for target in order) for order in drawn} == {"abc", "bac"}
    assert plan.order() == targets
    assert Route(targets).order(chance) == targets
