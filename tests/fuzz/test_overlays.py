"""The overlay engine on any document and any action: a corrected document or a plain refusal, never half of either."""

import json
import tempfile
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from scripts.contract.overlay import apply_file, merge
from tests.fuzz.examples import BOUNDED

pytestmark = pytest.mark.slow

KEYS = st.sampled_from(["a", "b", "paths", "x-y", "é", "0"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=10
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)
TARGETS = st.sampled_from(
    [
        "$",
        "$.a",
        "$.b",
        "$['é']",
        "$.paths.a",
        "$.*",
        "$..a",
        "$.a[0]",
        "$.a[*]",
        "$.a[?@.b]",
        "$.none",
        "$[",
        "",
        "a b",
    ]
)
ACTIONS = st.builds(
    lambda target, change: {"target": target, "x-why": "because", **change},
    TARGETS,
    VALUES.map(lambda value: {"update": value}) | st.just({"remove": True}) | st.just({}),
)


def applied(document: dict[str, Any], actions: list[dict[str, Any]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "overlay.yaml"
        path.write_text(json.dumps({"overlay": "1.0.0", "actions": actions}), encoding="utf-8")
        return apply_file(document, path)


@BOUNDED
@given(document=DOCUMENTS, actions=st.lists(ACTIONS, min_size=1, max_size=3))
def test_actions_correct_or_refuse_and_never_change_what_they_were_given(
    document: dict[str, Any], actions: list[dict[str, Any]]
) -> None:
    before = deepcopy(document)
    with suppress(SystemExit):
        json.dumps(applied(document, actions))
    assert document == before


@BOUNDED
@given(target=VALUES, update=VALUES)
def test_an_update_arrives_and_takes_nothing_away_that_it_does_not_name(target: Any, update: Any) -> None:
    merged = merge(deepcopy(target), deepcopy(update))
    if isinstance(target, dict) and isinstance(update, dict):
        assert merged.keys() == target.keys() | update.keys()
        assert all(merged[key] == target[key] for key in target.keys() - update.keys())
    elif isinstance(target, list):
        assert merged[: len(target)] == target
    else:
        assert merged == update
