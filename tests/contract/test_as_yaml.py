"""YAML of our own means to every reader what the JSON meant."""

import pytest
import yaml
from hypothesis import given, strategies

from ai_gateway.contract.as_yaml import as_yaml

ODD = [
    "",
    "yes",
    "NO",
    "on",
    "null",
    "~",
    "1e5",
    "0x1f",
    "2026-01-01",
    "- a",
    "a: b",
    "a #b",
    "*a",
    "&a",
    "{a}",
    "a\nb",
]
ODDER = [".inf", "=", "<<", " a ", "\t", "\x7f\x85", "a\u2028b", "\ufeff", "\U0001f600", '"', "'", "\\", "%", "@", "`"]
DATA = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.text()
    | strategies.floats(-1e9, 1e9),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize("text", [*ODD, *ODDER])
def test_odd_text_stays_text_as_a_key_and_as_a_value(text: str) -> None:
    data = {text: [text, [text], {text: text}]}
    assert yaml.safe_load(as_yaml(data)) == data


@given(DATA)
def test_any_data_is_read_back(data: object) -> None:
    assert yaml.safe_load(as_yaml(data)) == data


@pytest.mark.parametrize("data", [{}, [], [[]], [{}], {"a": {}}, [[1, [2]], {"b": [{"c": 1e-7}]}]])
def test_empty_and_nested_collections(data: object) -> None:
    assert yaml.safe_load(as_yaml(data)) == data
