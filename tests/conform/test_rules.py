"""No rule loses content: whatever is repaired, every text, call and count of the upstream is still there."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from ai_gateway.conform.objects import REPAIRS, ReplyContext
from ai_gateway.conform.reply import repair
from ai_gateway.conform.rules import RULES, Rule
from ai_gateway.contract.write import to_json
from ai_gateway.errors import UpstreamError

CONTEXT = ReplyContext("requested-model", "r-1")
# Where an answer's content is. Each text is a mark of its own, so that none can stand in for another.
CONTENT = ("content", "refusal", "reasoning_content", "text", "arguments", "name", "embedding")


def marks(value: object, key: str = "") -> Iterator[object]:
    """Every piece of content inside a JSON value; arguments as what they say, however they are spelled."""
    if key == "arguments" and value:
        yield spelled(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from marks(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from marks(inner, key)
    elif key in CONTENT and value not in (None, ""):
        yield value


def spelled(arguments: object) -> object:
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return json.dumps(value, sort_keys=True) if value else ""


def letters(value: object) -> Counter[str]:
    """The content as a bag of letters, which joining texts does not change."""
    return Counter("".join(str(mark) for mark in marks(value)))


TEXT = st.text("abcdefgh", min_size=1, max_size=6)
ODD: st.SearchStrategy[object] = st.sampled_from([None, 0, "", "x", [], {}])
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}), min_size=1, max_size=3)
FUNCTION = st.fixed_dictionaries(
    {"name": TEXT}, optional={"arguments": st.sampled_from(["", '{"a":1}', {"b": 2}, None])}
)
CALL = st.fixed_dictionaries(
    {"function": FUNCTION}, optional={"id": st.just("c") | ODD, "type": st.just("function") | ODD, "index": ODD}
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant") | ODD,
        "content": TEXT | st.none() | PARTS,
        "refusal": TEXT | st.none(),
        "reasoning_content": TEXT,
        "tool_calls": st.lists(CALL, max_size=2),
    },
)
REASONS = st.sampled_from(["stop", "length", "end_turn", "odd", "", None, "tool_calls"])
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 1) | ODD,
        "finish_reason": REASONS,
        "message": MESSAGE,
        "delta": MESSAGE | TEXT | ODD,
        "text": TEXT,
        "logprobs": st.none() | ODD,
    },
)
USAGE = st.fixed_dictionaries({}, optional={"prompt_tokens": st.just(1), "input_tokens": st.just(1) | ODD})
REPLY = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("i") | ODD,
        "object": ODD,
        "created": st.just(1.5) | ODD,
        "model": st.just("m") | ODD,
        "choices": st.lists(CHOICE, max_size=2),
        "usage": USAGE | st.none(),
        "service_tier": ODD,
        "system_fingerprint": ODD,
    },
)


@pytest.mark.slow
@pytest.mark.parametrize("model", [model for model in REPAIRS if "choices" in model.model_fields])
@settings(max_examples=300, deadline=None)
@given(value=REPLY)
def test_a_repaired_reply_has_all_of_its_content(model: type[BaseModel], value: dict[str, Any]) -> None:
    before = letters(value)
    try:
        repaired, _ = repair(model, value, CONTEXT)
    except UpstreamError:
        return  # a failure is loud
    after = letters(json.loads(to_json(repaired)))
    assert not before - after


@pytest.mark.slow
@pytest.mark.parametrize("model", REPAIRS)
@settings(max_examples=100, deadline=None)
@given(value=REPLY)
def test_each_rule_by_itself_keeps_content_and_is_done_once(model: type[BaseModel], value: dict[str, Any]) -> None:
    for rule, apply in REPAIRS[model].items():
        before = letters(value)
        try:
            changed = apply(value, CONTEXT)
        except UpstreamError:
            return
        assert not before - letters(value), rule.name
        assert not (changed and apply(value, CONTEXT)), f"{rule.name} repairs what it has repaired"


def test_that_a_rule_loses_nothing_is_part_of_its_type() -> None:
    assert str(get_type_hints(Rule)["loses"]) == "typing.Literal[False]"
    assert not any(rule.loses for rule in RULES.values())
    assert all(rule.name == name and rule.repairs for name, rule in RULES.items())
