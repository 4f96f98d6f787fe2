"""Corrections by the OpenAPI Overlay standard, with two things stricter: a reason each, and no target in vain."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from scripts.contract.documents import Json
from scripts.contract.overlay import apply_file, merge
from tests.scripts.contract.lantern import write

DOCUMENT: Json = {
    "info": {"title": "Old", "tags": ["a"]},
    "paths": {
        "/x": {"get": {"parameters": [{"name": "a", "in": "query"}, {"name": "b", "in": "query"}, {"name": "c"}]}}
    },
    "components": {"schemas": {"A": {"type": "object", "required": ["p"]}, "B": {"type": "string"}}},
}


def applied(tmp_path: Path, *actions: Json) -> Json:
    reasoned = [{"x-why": "A test.", **action} for action in actions]
    return apply_file(deepcopy(DOCUMENT), write(tmp_path / "fix.yaml", {"overlay": "1.0.0", "actions": reasoned}))


@pytest.mark.parametrize(
    ("target", "update", "expected"),
    [
        ({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}}, {"a": 1, "b": {"c": 1, "d": 2}}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 2}}, {"a": None}, {"a": None}),
        ({"a": [1]}, {"a": [2, 3]}, {"a": [1, 2, 3]}),
        ([1], 2, [1, 2]),
        ([1], {"a": 2}, [1, {"a": 2}]),
        ("old", "new", "new"),
    ],
    ids=[
        "objects merge",
        "a value becomes an object",
        "null is a value",
        "lists grow",
        "by one",
        "by an object",
        "texts",
    ],
)
def test_update_merges_as_the_standard_says(target: object, update: object, expected: object) -> None:
    before = deepcopy(target)
    assert merge(target, update) == expected
    assert target == before


def test_an_update_reaches_every_match(tmp_path: Path) -> None:
    found = applied(tmp_path, {"target": "$.components.schemas[*]", "update": {"deprecated": True}})
    assert all(schema["deprecated"] for schema in found["components"]["schemas"].values())


def test_matches_do_not_share_what_they_are_given(tmp_path: Path) -> None:
    found = applied(
        tmp_path,
        {"target": "$.components.schemas[*]", "update": {"x": {"y": 1}}},
        {"target": "$.components.schemas.A.x", "update": {"y": 2}},
    )
    assert found["components"]["schemas"]["B"]["x"] == {"y": 1}


def test_the_whole_document_can_be_extended(tmp_path: Path) -> None:
    found = applied(tmp_path, {"target": "$", "update": {"security": [], "info": {"title": "New"}}})
    assert found["security"] == []
    assert found["info"] == {"title": "New", "tags": ["a"]}


def test_an_item_of_a_list_is_found_by_what_it_says(tmp_path: Path) -> None:
    target = "$.paths['/x'].get.parameters[?@.name == 'b']"
    found = applied(tmp_path, {"target": target, "update": {"required": True}})
    assert found["paths"]["/x"]["get"]["parameters"][1] == {"name": "b", "in": "query", "required": True}


def test_remove_takes_away_what_it_names(tmp_path: Path) -> None:
    found = applied(tmp_path, {"target": "$.components.schemas.A.required", "remove": True})
    assert found["components"]["schemas"]["A"] == {"type": "object"}


def test_remove_takes_every_match_out_of_one_list_and_no_other(tmp_path: Path) -> None:
    found = applied(tmp_path, {"target": "$.paths['/x'].get.parameters[?@.in == 'query']", "remove": True})
    assert found["paths"]["/x"]["get"]["parameters"] == [{"name": "c"}]


def test_actions_build_on_one_another_in_order(tmp_path: Path) -> None:
    found = applied(
        tmp_path,
        {"target": "$.components.schemas.B", "remove": True},
        {"target": "$.components.schemas", "update": {"B": {"type": "integer"}}},
    )
    assert found["components"]["schemas"]["B"] == {"type": "integer"}


def test_the_input_is_left_as_it_was(tmp_path: Path) -> None:
    document = deepcopy(DOCUMENT)
    action = {"target": "$.info", "update": {"title": "New"}, "x-why": "A test."}
    apply_file(document, write(tmp_path / "fix.yaml", {"actions": [action]}))
    assert document == DOCUMENT


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        ({"target": "$.info", "update": {}, "x-why": " "}, "fix.yaml, action 1 .* needs an `x-why`"),
        ({"target": "$.info", "update": {}, "x-why": None}, "needs an `x-why`"),
        ({"target": "$.nowhere", "update": {}}, r"fix.yaml, action 1 \(\$\.nowhere\): the target matches nothing"),
        ({"target": "$.nowhere", "remove": True}, "matches nothing"),
        ({"target": "$", "remove": True}, "cannot remove the whole document"),
        ({"target": "$.info"}, "`update` or `remove`"),
        ({"update": {}}, "has a `target`"),
    ],
    ids=["blank why", "no why", "lost", "lost removal", "everything", "no action", "no target"],
)
def test_an_action_that_cannot_be_meant_fails_by_name(tmp_path: Path, action: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        applied(tmp_path, action)
