"""The drift report: what changed, in the words of those who have to follow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.contract.documents import Json
from scripts.contract.drift import report
from tests.scripts.contract.lantern import facts, write

NO_DRIFT = ["no drift: the selected operations are as vendored"]


@pytest.fixture
def current(tmp_path: Path) -> Path:
    return write(tmp_path / "facts.yaml", facts())


def changed(current: Path, change: Callable[[Json], Any]) -> list[str]:
    """The report when the official document is published again with `change`."""

    def apply(document: Json) -> None:
        change(document)

    return report(current, facts(apply), [])


def request(document: Json) -> Json:
    found: Json = document["components"]["schemas"]["CreateVerdictRequest"]["properties"]
    return found


def reply(document: Json) -> Json:
    found: Json = document["components"]["schemas"]["Lamp"]
    return found


def put(where: Callable[[Json], Json], **facts: object) -> Callable[[Json], None]:
    return lambda document: where(document).update(facts)


def depth(document: Json) -> Json:
    found: Json = request(document)["options"]["properties"]["depth"]
    return found


def test_the_same_document_has_not_drifted(current: Path) -> None:
    assert report(current, facts(), []) == NO_DRIFT


def test_everything_is_new_where_nothing_was_vendored(tmp_path: Path) -> None:
    lines = report(tmp_path / "nothing.yaml", facts(), [])
    assert lines[0] == "+ operation get /lamps: bind its handler, and decide in every adapter"
    assert "+ schema CreateVerdictRequest (request)" in lines
    assert "+ schema LampList (reply)" in lines


def test_prose_and_examples_are_no_drift(current: Path) -> None:
    assert (
        changed(current, put(request, title={"type": "string", "description": "Other words.", "example": 1}))
        == NO_DRIFT
    )


def test_the_order_of_enums_required_lists_unions_and_fields_does_not_matter(current: Path) -> None:
    def shuffle(document: Json) -> None:
        schemas = document["components"]["schemas"]
        schemas["Hue"]["enum"].reverse()
        schemas["TextPart"]["required"].reverse()
        schemas["VerdictPart"]["oneOf"].reverse()
        schemas["Lamp"]["properties"] = dict(reversed(schemas["Lamp"]["properties"].items()))

    assert changed(current, shuffle) == NO_DRIFT


def test_an_added_operation_has_to_be_bound_and_a_removed_one_has_to_go(tmp_path: Path) -> None:
    fewer = facts()
    del fewer["paths"]["/songs"]
    path = write(tmp_path / "facts.yaml", fewer)
    assert report(path, facts(), [])[0] == "+ operation post /songs: bind its handler, and decide in every adapter"
    path = write(tmp_path / "facts.yaml", facts())
    assert report(path, fewer, [])[0] == "- operation post /songs: its handler has to go"


def test_a_renamed_or_retyped_operation_is_reported(current: Path) -> None:
    def rename(document: Json) -> None:
        document["paths"]["/songs"]["post"]["operationId"] = "singSong"

    def silence(document: Json) -> None:
        del document["paths"]["/songs"]["post"]["responses"]["200"]["content"]["text/event-stream"]

    assert changed(current, rename) == ["~ operation post /songs: operationId: createSong -> singSong  [review]"]
    (line,) = changed(current, silence)
    assert line.startswith("~ operation post /songs: responses.200.content.text/event-stream")
    assert line.endswith("[review]")


def test_a_shared_reply_that_changed_is_reported(current: Path) -> None:
    def lose_header(document: Json) -> None:
        del document["components"]["responses"]["Busy"]["headers"]["Retry-After"]

    assert any(line.startswith("~ responses Busy: headers.Retry-After") for line in changed(current, lose_header))


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "type string"),
        ({"type": "string", "enum": ["a", "b"]}, "type string, enum ['a', 'b']"),
        ({"$ref": "#/components/schemas/Hue"}, "$ref #/components/schemas/Hue"),
        ({"type": "array", "items": {"type": "integer"}}, "type array, items.type integer"),
        ({}, "anything"),
    ],
)
def test_a_new_optional_request_field_is_one_line_for_which_adapters_owe_a_decision(
    current: Path, schema: Json, shown: str
) -> None:
    assert changed(current, put(request, fresh=schema)) == [
        f"~ CreateVerdictRequest (request): fresh added = {shown}  [new request field: adapters owe a decision]"
    ]


def test_a_new_nested_request_field_is_one_too(current: Path) -> None:
    lines = changed(
        current, lambda document: request(document)["options"]["properties"].update(width={"type": "integer"})
    )
    assert lines == [
        "~ CreateVerdictRequestOptions (request): width added = type integer"
        "  [new request field: adapters owe a decision]"
    ]


def test_a_new_reply_field_binds_nobody(current: Path) -> None:
    lines = changed(current, lambda document: reply(document)["properties"].update(colour={"type": "string"}))
    assert lines == ["~ Lamp (reply): colour added = type string"]


def test_a_removed_field_wants_a_review(current: Path) -> None:
    assert changed(current, lambda document: request(document).pop("summary")) == [
        "~ CreateVerdictRequest (request): summary removed (was type string)  [review]"
    ]


@pytest.mark.parametrize(
    ("where", "fact", "line"),
    [
        (depth, {"minimum": 2}, "~ CreateVerdictRequestOptions (request): depth.minimum: 1 -> 2  [review]"),
        (depth, {"maximum": 8}, "~ CreateVerdictRequestOptions (request): depth.maximum: 9 -> 8  [review]"),
        (depth, {"multipleOf": 2}, "~ CreateVerdictRequestOptions (request): depth.multipleOf added = 2  [review]"),
        (depth, {"type": "number"}, "~ CreateVerdictRequestOptions (request): depth.type: integer -> number  [review]"),
        (reply, {"required": ["id", "lit_since"]}, "~ Lamp (reply): required: ['id'] -> ['id', 'lit_since']  [review]"),
        (
            lambda document: document["components"]["schemas"]["Hue"],
            {"enum": ["red"]},
            "~ Hue (request): enum: ['green', 'red'] -> ['red']  [review]",
        ),
        (
            lambda document: document["components"]["schemas"]["CreateVerdictRequest"],
            {"required": ["input", "model"]},
            "~ CreateVerdictRequest (request): required: ['input'] -> ['input', 'model']  [review]",
        ),
    ],
    ids=["minimum up", "maximum down", "new bound", "type", "reply requires", "enum narrowed", "request requires"],
)
def test_what_was_tightened_wants_a_review(current: Path, where: Callable[[Json], Json], fact: Json, line: str) -> None:
    assert changed(current, put(where, **fact)) == [line]


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        ({"minimum": 0}, "depth.minimum: 1 -> 0"),
        ({"maximum": 99}, "depth.maximum: 9 -> 99"),
        ({"default": 3}, "depth.default added = 3"),
        ({"deprecated": True}, "depth.deprecated added = True"),
    ],
)
def test_what_was_loosened_or_only_noted_wants_none(current: Path, fact: Json, line: str) -> None:
    assert changed(current, put(depth, **fact)) == [f"~ CreateVerdictRequestOptions (request): {line}"]


def test_a_bound_that_is_gone_wants_no_review(current: Path) -> None:
    assert changed(current, lambda document: depth(document).pop("maximum")) == [
        "~ CreateVerdictRequestOptions (request): depth.maximum removed (was 9)"
    ]


def test_a_request_field_that_is_no_longer_required_wants_no_review(current: Path) -> None:
    lines = changed(current, lambda document: document["components"]["schemas"]["LampPart"].update(required=["type"]))
    assert lines == ["~ LampPart (request): required: ['lamp', 'type'] -> ['type']"]


def test_fields_named_like_keywords_are_reported_under_their_own_names(tmp_path: Path) -> None:
    def odd(kind: str) -> Callable[[Json], None]:
        names = ("required", "enum", "my_properties", "properties", "items")
        return lambda document: reply(document)["properties"].update({name: {"type": kind} for name in names})

    path = write(tmp_path / "facts.yaml", facts(odd("string")))
    assert report(path, facts(odd("integer")), []) == [
        f"~ Lamp (reply): {name}.type: string -> integer  [review]"
        for name in ("enum", "items", "my_properties", "properties", "required")
    ]


def test_inference_operations_beyond_the_selection_are_offered_and_nothing_else(current: Path) -> None:
    offered = [
        "post /verdicts",
        "get /lamps",
        "post /moderations",
        "post /files",
        "get /images/{id}",
        "post /audio/speech",
    ]
    assert report(current, facts(), offered) == [
        *NO_DRIFT,
        "offered but not selected: post /audio/speech, post /moderations",
    ]
