"""Corrections for whole classes of places."""

from pathlib import Path

import jsonschema_rs
import pytest

from scripts.contract.documents import Json, schema_ref
from scripts.contract.rules import (
    accepts_null,
    any_of,
    apply_file,
    camel_case_operations,
    doors,
    drop_formats,
    headers_on_every_reply,
    nullable_optional_request_fields,
    prefix_names,
    request_only,
)
from tests.scripts.contract.lantern import facts, one_schema, write

SCALAR: Json = {"type": "string"}


def test_a_format_is_dropped_wherever_it_stands_and_others_stay() -> None:
    schema: Json = {
        "type": "object",
        "properties": {
            "format": {"type": "string", "format": "uri"},
            "list": {"type": "array", "items": {"type": "string", "format": "uri"}},
            "other": {"type": "string", "format": "date"},
        },
    }
    found = drop_formats(one_schema(schema), {"formats": ["uri"]})["components"]["schemas"]["Body"]["properties"]
    assert found == {
        "format": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string"}},
        "other": {"type": "string", "format": "date"},
    }


def test_one_of_becomes_any_of_where_no_discriminator_tells_branches_apart() -> None:
    loose: Json = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"oneOf": [{"type": "integer"}, {}]}}]}
    tagged: Json = {"oneOf": [schema_ref("Body")], "discriminator": {"propertyName": "kind"}}
    document = one_schema({"type": "object", "properties": {"loose": loose, "tagged": tagged}})
    found = any_of(document, {})["components"]["schemas"]["Body"]["properties"]
    assert found == {
        "loose": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": [{"type": "integer"}, {}]}}]},
        "tagged": tagged,
    }


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("list-projects", "listProjects"),
        ("messages_post", "messagesPost"),
        ("createThing", "createThing"),
        ("Getmodels", "getmodels"),
        ("admin-api-keys-list", "adminApiKeysList"),
    ],
)
def test_operation_ids_are_written_as_names(published: str, name: str) -> None:
    document = one_schema({"type": "object"})
    document["paths"]["/things"]["post"]["operationId"] = published
    found = camel_case_operations(document, {})
    assert found["paths"]["/things"]["post"]["operationId"] == name


def test_request_only_is_what_no_reply_holds() -> None:
    only = request_only(facts())
    assert {"CreateVerdictRequest", "CreateVerdictRequestOptions", "TextPart", "CreateSongRequest"} <= only
    assert not {"CreateVerdictResponse", "Hue", "ErrorResponse"} & only


FIELDS: list[tuple[str, Json, list[object], list[object]]] = [
    ("text", {"type": "string"}, ["a"], [1]),
    ("bounded", {"type": "integer", "minimum": 1, "default": 3}, [1], [0]),
    ("closed names", {"type": "string", "enum": ["a"]}, ["a"], ["b"]),
    ("list", {"type": "array", "items": {"type": "string"}}, [["a"]], [[1]]),
    ("object", {"type": "object"}, [{}], ["a"]),
    ("union", {"oneOf": [{"type": "string"}, {"type": "integer"}]}, ["a", 1], [1.5]),
    ("several types", {"type": ["string", "integer"]}, ["a", 1], [1.5]),
    ("reference", {**schema_ref("Leaf"), "deprecated": True}, ["leaf"], ["root"]),
    ("tagged", {
        "oneOf": [schema_ref("One"), schema_ref("Two")],
        "discriminator": {"propertyName": "t", "mapping": {}},
    }, [{"t": "one"}, {"t": "two"}], [{"t": "three"}]),
    ("names without a type", {"enum": ["a"]}, ["a"], ["b"]),
    ("null already", {"type": ["string", "null"]}, ["a"], [1]),
    ("constant", {"const": "a"}, ["a"], ["b"]),
    ("untyped names", {"enum": ["a"]}, ["a"], ["b"]),
]  # fmt: skip
OTHERS: dict[str, Json] = {
    "Leaf": {"type": "string", "enum": ["leaf"]},
    "One": {"type": "object", "required": ["t"], "properties": {"t": {"enum": ["one"]}}},
    "Two": {"type": "object", "required": ["t"], "properties": {"t": {"enum": ["two"]}}},
}


@pytest.mark.parametrize(("name", "schema", "good", "bad"), FIELDS, ids=[row[0] for row in FIELDS])
def test_an_optional_request_field_takes_null_and_otherwise_what_it_took(
    name: str, schema: Json, good: list[object], bad: list[object]
) -> None:
    document = one_schema({"type": "object", "properties": {"f": schema, "g": schema}, "required": ["g"]}, **OTHERS)
    found = nullable_optional_request_fields(document, {})
    body = {**found["components"]["schemas"]["Body"], "components": found["components"]}
    validator = jsonschema_rs.validator_for(body)
    required = good[0]
    assert validator.is_valid({"f": None, "g": required})
    assert all(validator.is_valid({"f": value, "g": required}) for value in good)
    assert not any(validator.is_valid({"f": value, "g": required}) for value in bad)
    assert validator.is_valid({"g": None}) == (name == "null already")
    before = schema.get("default", schema.get("deprecated"))
    after = body["properties"]["f"]
    assert after.get("default", after.get("deprecated")) == before


def test_replies_stay_exact() -> None:
    before = facts()
    after = nullable_optional_request_fields(facts(), {})
    schemas = before["components"]["schemas"].keys() - request_only(before)
    assert schemas
    for name in schemas:
        assert after["components"]["schemas"][name] == before["components"]["schemas"][name]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, True),
        ({"deprecated": True}, True),
        ({"type": "null"}, True),
        ({"type": ["string", "null"]}, True),
        ({"type": ["string", "null"], "enum": ["a"]}, False),
        ({"type": ["string", "null"], "enum": ["a", None]}, True),
        ({"enum": ["a", None]}, True),
        ({"enum": ["a"]}, False),
        ({"const": None}, True),
        ({"const": "a"}, False),
        ({"anyOf": [{"type": "string"}, {"anyOf": [{"type": "null"}]}]}, True),
        ({"type": "string", "anyOf": [{}, {"type": "null"}]}, False),
        (schema_ref("Leaf"), False),
    ],
)
def test_accepts_null_agrees_with_a_validator(schema: Json, *, expected: bool) -> None:
    document = {"components": {"schemas": OTHERS}}
    assert accepts_null(document, schema) is expected
    assert jsonschema_rs.validator_for({**schema, **document}).is_valid(None) is expected


def test_every_operation_is_served_behind_every_door() -> None:
    entry = {
        "doors": [
            {"prefix": "/{who}", "parameters": [{"name": "who", "in": "path"}]},
            {"prefix": "/all", "suffix": "Routed", "description": "Whoever it is."},
        ]
    }
    found = doors(facts(), entry)["paths"]
    assert list(found) == [door + path for door in ("/{who}", "/all") for path in facts()["paths"]]
    named, routed = found["/{who}/lamps/{lamp}"]["get"], found["/all/lamps/{lamp}"]["get"]
    assert (named["operationId"], routed["operationId"]) == ("retrieveLamp", "retrieveLampRouted")
    assert [parameter["name"] for parameter in named["parameters"]] == ["who", "lamp"]
    assert [parameter["name"] for parameter in routed["parameters"]] == ["lamp"]
    assert routed["description"] == "Whoever it is."
    assert "description" not in named
    assert "parameters" not in found["/all/lamps"]["get"]


def test_doors_share_nothing_that_a_later_rule_could_change_for_both() -> None:
    found = doors(facts(), {"doors": [{"prefix": "/a"}, {"prefix": "/b", "suffix": "Routed"}]})["paths"]
    found["/a/lamps"]["get"]["responses"]["200"]["description"] = "Changed."
    assert "description" not in found["/b/lamps"]["get"]["responses"]["200"]


def test_headers_are_declared_on_inline_and_on_shared_replies_beside_their_own() -> None:
    found = headers_on_every_reply(facts(), {"headers": {"X-Trace": {"schema": SCALAR}}})
    assert found["components"]["responses"]["Busy"]["headers"].keys() == {"Retry-After", "X-Trace"}
    replies = found["paths"]["/verdicts"]["post"]["responses"]
    assert replies["200"]["headers"]["X-Trace"] == {"schema": SCALAR}
    assert replies["429"] == {"$ref": "#/components/responses/Busy"}


def test_rules_apply_in_order_and_only_to_the_documents_they_name(tmp_path: Path) -> None:
    document = one_schema({"type": "object", "properties": {"f": {"type": "string", "format": "uri"}}})
    rules: Json = {
        "rules": [
            {"rule": "drop-formats", "to": ["one"], "formats": ["uri"], "why": "A test."},
            {"rule": "nullable-optional-request-fields", "to": ["two"], "why": "A test."},
        ]
    }
    path = write(tmp_path / "rules.yaml", rules)
    assert apply_file(document, path, "one", {"one", "two"})["components"]["schemas"]["Body"]["properties"] == {
        "f": SCALAR
    }
    assert document["components"]["schemas"]["Body"]["properties"] == {"f": {"type": "string", "format": "uri"}}


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"rule": "drop-formats", "to": ["one"], "formats": []}, "rules.yaml: rule drop-formats needs a `why`"),
        ({"rule": "sing", "to": ["one"], "why": "x"}, "unknown rule sing. Known: drop-formats, "),
        ({"rule": "sing", "to": ["another"], "why": "x"}, "unknown rule sing"),
        (
            {"rule": "drop-formats", "to": ["nobody"], "formats": [], "why": "x"},
            "rule drop-formats goes to unknown documents: nobody",
        ),
    ],
)
def test_a_rule_without_reason_or_meaning_fails_by_name(tmp_path: Path, rule: Json, complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        apply_file(facts(), write(tmp_path / "rules.yaml", {"rules": [rule]}), "one", {"one", "another"})


def test_a_prefix_stands_before_every_name_and_every_reference_follows() -> None:
    document = one_schema({"type": "object", "properties": {"leaf": schema_ref("Leaf"), "$ref": SCALAR}}, Leaf=SCALAR)
    document["components"]["responses"] = {"Bad": {"description": "No.", "content": {}}}
    document["components"]["securitySchemes"] = {"Key": {"type": "http", "scheme": "bearer"}}
    operation = document["paths"]["/things"]["post"]
    operation["responses"]["400"] = {"$ref": "#/components/responses/Bad"}
    operation["x"] = {"mapping": {"leaf": "#/components/schemas/Leaf"}}
    found = prefix_names(document, {"prefix": "Lamp"})
    assert set(found["components"]["schemas"]) == {"LampBody", "LampLeaf"}
    assert set(found["components"]["responses"]) == {"LampBad"}
    assert set(found["components"]["securitySchemes"]) == {"Key"}
    properties = found["components"]["schemas"]["LampBody"]["properties"]
    assert properties == {"leaf": schema_ref("LampLeaf"), "$ref": SCALAR}
    operation = found["paths"]["/things"]["post"]
    assert operation["operationId"] == "lampCreateThing"
    assert operation["requestBody"]["content"]["application/json"]["schema"] == schema_ref("LampBody")
    assert operation["responses"]["400"] == {"$ref": "#/components/responses/LampBad"}
    assert operation["x"]["mapping"] == {"leaf": "#/components/schemas/LampLeaf"}
