"""The normal form means what the original means: the same verdict on every sample, and the form that tools need."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

import jsonschema_rs
import pytest

from scripts.contract.documents import Json, refs, resolve, schema_ref
from scripts.contract.normalize import normalize
from tests.scripts.contract.lantern import facts, one_schema

TEXT: Json = {"type": "string"}
NULL: Json = {"type": "null"}
LEAF: Json = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string", "enum": ["leaf"]}}}
ROOT: Json = {
    "type": "object",
    "required": ["kind", "depth"],
    "properties": {"kind": {"type": "string", "enum": ["root"]}, "depth": {"type": "integer"}},
}
SAMPLES: tuple[object, ...] = (
    None, True, 0, 1, 1.0, 1.5, -3, 10, "", "a", "red", "green", "on", [], ["a"], ["a", "b", "c"], [1], [[1]], [None],
    {}, {"a": 1}, {"a": "x"}, {"a": None}, {"a": "x", "b": "y"}, {"a": {"b": "x"}}, {"a": {"b": 1}}, {"b": "y"},
    {"kind": "leaf"}, {"kind": "root"}, {"kind": "root", "depth": 2}, {"kind": "rose"}, [{"kind": "leaf"}],
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A schema as published, and the same converted by hand to plain JSON Schema 2020-12."""

    name: str
    published: Json
    meant: Json
    others: dict[str, Json] = field(default_factory=dict)


CASES = [
    Case("nullable text", {"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    Case("nullable false", {"type": "string", "nullable": False}, TEXT),
    Case(
        "nullable enum", {"type": "string", "enum": ["red"], "nullable": True}, {"anyOf": [{"enum": ["red"]}, NULL]}
    ),
    Case(
        "nullable enum that lists null",
        {"type": "string", "enum": ["red", None], "nullable": True},
        {"enum": ["red", None]},
    ),
    Case("nullable without a type", {"enum": ["red"], "nullable": True}, {"enum": ["red", None]}),
    Case(
        "nullable list",
        {"type": "array", "items": TEXT, "nullable": True},
        {"anyOf": [{"type": "array", "items": TEXT}, NULL]},
    ),
    Case(
        "nullable object",
        {"type": "object", "required": ["a"], "properties": {"a": TEXT}, "nullable": True},
        {"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": TEXT}}, NULL]},
    ),
    Case(
        "object or null in a type list",
        {"type": ["object", "null"], "required": ["a"], "properties": {"a": TEXT}},
        {"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": TEXT}}, NULL]},
    ),
    Case("list or null in a type list", {"type": ["array", "null"], "items": TEXT}, {
        "anyOf": [{"type": "array", "items": TEXT}, NULL]
    }),
    Case("type list that is nullable", {"type": ["string", "integer"], "nullable": True}, {
        "type": ["string", "integer", "null"]
    }),
    Case("nullable union", {"oneOf": [TEXT, {"type": "integer"}], "nullable": True}, {
        "type": ["string", "integer", "null"]
    }),
    Case("null inside a branch", {"anyOf": [{"type": ["string", "null"]}, {"type": "integer"}]}, {
        "type": ["string", "integer", "null"]
    }),
    Case(
        "null inside a branch with an enum",
        {"anyOf": [{"type": ["string", "null"], "enum": ["red", None]}, {"type": "integer"}]},
        {"anyOf": [{"enum": ["red", None]}, {"type": "integer"}]},
    ),
    Case("nullable union with a type beside it", {
        "type": "string", "nullable": True, "anyOf": [{"enum": ["red"]}, {"enum": ["green"]}],
    }, {"enum": ["red", "green", None]}),
    Case("a type list or null", {"anyOf": [{"type": ["string", "integer"]}, NULL]}, {
        "type": ["string", "integer", "null"]
    }),
    Case("a union of null alone", {"anyOf": [NULL]}, NULL),
    Case("a reference with nullable beside it", {**schema_ref("Hue"), "nullable": True}, {
        "enum": ["red", "green", None]
    }, {"Hue": {"type": "string", "enum": ["red", "green"]}}),
    Case("a wrapped reference with nullable beside it", {"allOf": [schema_ref("Hue")], "nullable": True}, {
        "enum": ["red", "green", None]
    }, {"Hue": {"type": "string", "enum": ["red", "green"]}}),
    Case("an open list of names", {"anyOf": [TEXT, {"type": "string", "enum": ["red"]}]}, TEXT),
    Case("an open list of names or null", {"anyOf": [TEXT, {"type": "string", "enum": ["red"]}, NULL]}, {
        "type": ["string", "null"]
    }),
    Case("a closed list of names", {"type": "string", "enum": ["red", "green"]}, {"enum": ["red", "green"]}),
    Case("a union of one", {"oneOf": [{"type": "integer", "minimum": 1}]}, {"type": "integer", "minimum": 1}),
    Case("allOf of two objects", {
        "allOf": [
            {"type": "object", "required": ["a"], "properties": {"a": TEXT}},
            {"type": "object", "required": ["b"], "properties": {"b": TEXT}},
        ]
    }, {"type": "object", "required": ["a", "b"], "properties": {"a": TEXT, "b": TEXT}}),
    Case("a chain of allOf through references", {
        "allOf": [schema_ref("Middle"), {"type": "object", "properties": {"b": TEXT}}]
    }, {"type": "object", "required": ["a"], "properties": {"a": TEXT, "b": TEXT}}, {
        "Middle": {"allOf": [schema_ref("First"), {"type": "object", "required": ["a"]}]},
        "First": {"type": "object", "properties": {"a": TEXT}},
    }),
    Case("allOf with properties beside it", {
        "allOf": [schema_ref("First")], "type": "object", "required": ["b"], "properties": {"b": TEXT},
    }, {"type": "object", "required": ["b"], "properties": {"a": TEXT, "b": TEXT}}, {
        "First": {"type": "object", "properties": {"a": TEXT}},
    }),
    Case("allOf whose part holds another allOf inside", {
        "allOf": [schema_ref("Outer"), {"type": "object", "required": ["a"]}]
    }, {
        "type": "object", "required": ["a"],
        "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": TEXT}}},
    }, {
        "Outer": {"type": "object", "properties": {"a": {"allOf": [schema_ref("Inner"), {"required": ["b"]}]}}},
        "Inner": {"type": "object", "properties": {"b": TEXT}},
    }),
    Case("nullable allOf", {
        "allOf": [{"type": "object", "required": ["a"]}, {"type": "object", "properties": {"a": TEXT}}],
        "nullable": True,
    }, {"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": TEXT}}, NULL]}),
    Case("an object in an object", {
        "type": "object", "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": TEXT}}},
    }, {"type": "object", "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": TEXT}}}}),
    Case("a union with bounded lists", {
        "oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2}]
    }, {"oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2}]}),
    Case("a union told apart by a tag", {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]}, {
        "oneOf": [LEAF, ROOT]
    }, {"Leaf": LEAF, "Root": ROOT}),
    Case("a list of tagged objects or null", {
        "type": "array", "nullable": True, "items": {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]},
    }, {"anyOf": [{"type": "array", "items": {"oneOf": [LEAF, ROOT]}}, NULL]}, {"Leaf": LEAF, "Root": ROOT}),
    Case("a reference to a name that is no class name", schema_ref("ro-ot_2"), ROOT, {"ro-ot_2": ROOT}),
    Case("a property that takes anything", {"type": "object", "required": ["a"], "properties": {"a": True}}, {
        "type": "object", "required": ["a"]
    }),
    Case("a map of bounded values", {
        "type": "object", "additionalProperties": {"type": "string", "maxLength": 1},
    }, {"type": "object", "additionalProperties": {"type": "string", "maxLength": 1}}),
    Case("a constant", {"type": "string", "const": "red"}, {"const": "red"}),
    Case("a union told apart by a constant", {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]}, {
        "oneOf": [LEAF, ROOT]
    }, {"Leaf": {**LEAF, "properties": {"kind": {"const": "leaf"}}}, "Root": ROOT}),
    Case("a reference that says it leads to an object", {"type": "object", **schema_ref("Root")}, ROOT, {"Root": ROOT}),
    Case("a reference that says it leads to an object where some do", {"type": "object", **schema_ref("Either")}, {
        "oneOf": [LEAF, ROOT]
    }, {"Either": {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]}, "Leaf": LEAF, "Root": ROOT}),
    Case("an older word for itself", {
        "$recursiveAnchor": True, "type": "object", "properties": {"a": {"$recursiveRef": "#"}, "b": TEXT},
    }, {"type": "object", "properties": {"a": {"$ref": "#"}, "b": TEXT}}),
    Case("a closed object", {
        "type": "object", "properties": {"a": TEXT}, "additionalProperties": False
    }, {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}),
]  # fmt: skip


def normal(case: Case) -> Json:
    return normalize(one_schema(case.published, **case.others))


def body(document: Json) -> Json:
    found: Json = document["components"]["schemas"]["Body"]
    return found


def subschemas(node: object) -> Iterator[Json]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from subschemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from subschemas(value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_normal_form_gives_the_verdicts_of_a_conversion_by_hand(case: Case) -> None:
    document = normal(case)
    ours = jsonschema_rs.validator_for({**schema_ref("Body"), "components": document["components"]})
    by_hand = jsonschema_rs.validator_for(case.meant)
    assert [ours.is_valid(sample) for sample in SAMPLES] == [by_hand.is_valid(sample) for sample in SAMPLES]
    assert len({by_hand.is_valid(sample) for sample in SAMPLES}) == 2, "samples that all agree prove nothing"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_normal_stays_as_it_is(case: Case) -> None:
    document = normal(case)
    assert normalize(deepcopy(document)) == document


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_that_tools_stumble_over_is_left(case: Case) -> None:
    for schema in subschemas(normal(case)["components"]["schemas"]):
        assert not {"nullable", "allOf", "const", "$recursiveRef", "$recursiveAnchor"} & set(schema)
        types = schema.get("type")
        assert not (isinstance(types, list) and {"object", "array"} & set(types))
        assert len(schema.get("enum", [])) == len({repr(value) for value in schema.get("enum", [])})
        for inline in schema.get("properties", {}).values():
            assert "properties" not in inline


def test_an_open_list_of_names_is_a_text_so_that_a_new_name_is_no_news() -> None:
    model = facts()["components"]["schemas"]["CreateVerdictRequest"]["properties"]["model"]
    assert model == {"type": "string", "default": "lantern-latest"}


def test_the_whole_lantern_document_is_brought_into_normal_form_once_and_for_all() -> None:
    document = facts()
    assert normalize(deepcopy(document)) == document
    for ref in refs(document):
        assert resolve(document, ref)
    for schema in subschemas(document):
        assert not {"nullable", "allOf"} & set(schema)


def test_of_a_property_declared_twice_the_last_declaration_counts() -> None:
    stamped = facts()["components"]["schemas"]["CreateVerdictResponse"]
    assert stamped["properties"]["note"] == {"type": ["string", "null"]}
    assert stamped["required"] == ["id", "made_at", "note", "verdicts"]


def test_allof_with_a_keyword_that_cannot_be_merged_fails_by_name() -> None:
    schema: Json = {"allOf": [{"type": "object", "minProperties": 1}, {"type": "object", "patternProperties": {}}]}
    with pytest.raises(SystemExit, match="cannot be merged: minProperties"):
        normalize(one_schema(schema))


def test_inline_objects_are_named_after_where_they_stand() -> None:
    names = set(facts()["components"]["schemas"])
    assert {"CreateVerdictRequestOptions", "LampPartLamp", "CreateVerdictResponseVerdict"} <= names
    assert "LampList" in names
    assert "Lamp-List" not in names


def test_objects_that_bodies_and_replies_describe_in_place_are_named_after_their_operation() -> None:
    document = one_schema({"type": "object"})
    inline = {"content": {"application/json": {"schema": {"type": "object", "properties": {"a": TEXT}}}}}
    document["paths"]["/things"]["post"] |= {"requestBody": inline, "responses": {"200": deepcopy(inline)}}
    found = normalize(document)
    operation = found["paths"]["/things"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == schema_ref("CreateThingRequest")
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == schema_ref("CreateThingResponse")
    assert found["components"]["schemas"].keys() == {"CreateThingRequest", "CreateThingResponse"}


def test_roots_that_nobody_reaches_stay_with_what_they_need() -> None:
    document = one_schema({"type": "object"}, **{"Odd-Root": schema_ref("Leaf"), "Leaf": LEAF, "Lost": ROOT})
    assert normalize(document, ["Odd-Root"])["components"]["schemas"].keys() == {"Body", "OddRoot", "Leaf"}


def test_bounded_lists_in_a_union_are_named_after_what_they_hold() -> None:
    branches = facts()["components"]["schemas"]["CreateVerdictRequest"]["properties"]["input"]["oneOf"]
    assert branches == [
        {"type": "string"},
        schema_ref("CreateVerdictRequestInputStrings"),
        schema_ref("CreateVerdictRequestInputParts"),
    ]


def test_a_bounded_list_of_files_is_named_after_them() -> None:
    file: Json = {"type": "string", "format": "binary"}
    image: Json = {"anyOf": [file, {"type": "array", "items": file, "maxItems": 2}]}
    found = normalize(one_schema({"type": "object", "properties": {"image": image}}))["components"]["schemas"]
    assert found["Body"]["properties"]["image"] == {"anyOf": [file, schema_ref("BodyImageFiles")]}


def test_an_inline_object_never_takes_the_name_of_another_schema() -> None:
    inline: Json = {"type": "object", "properties": {"b": TEXT}}
    other: Json = {"type": "object", "properties": {"c": TEXT}}
    document = normalize(
        one_schema({"type": "object", "properties": {"a": inline, "o": schema_ref("BodyA")}}, BodyA=other)
    )
    assert body(document)["properties"] == {"a": schema_ref("BodyAObject"), "o": schema_ref("BodyA")}
    assert document["components"]["schemas"]["BodyA"] == other


def test_two_schemas_that_would_share_one_class_name_fail_by_name() -> None:
    with pytest.raises(SystemExit, match=r"Lamp-2: another schema is called Lamp2 already"):
        normalize(one_schema(TEXT, **{"Lamp2": TEXT, "Lamp-2": TEXT}))


def test_tagged_unions_get_a_discriminator_whose_mapping_names_every_tag() -> None:
    schemas = facts()["components"]["schemas"]
    mapping = {"text": "#/components/schemas/TextPart", "lamp": "#/components/schemas/LampPart"}
    assert schemas["VerdictPart"]["discriminator"] == {"propertyName": "type", "mapping": mapping}
    assert schemas["CreateVerdictRequest"]["properties"]["part"]["discriminator"]["mapping"] == mapping


@pytest.mark.parametrize(
    "other",
    [
        {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string", "enum": ["leaf", "bud"]}}},
        {"type": "object", "properties": {"kind": {"type": "string", "enum": ["bud"]}}},
        {"type": "object", "required": ["kind"], "properties": {"kind": TEXT}},
    ],
    ids=["tags overlap", "tag may be missing", "tag is open"],
)
def test_a_union_that_no_tag_tells_apart_has_no_discriminator(other: Json) -> None:
    union: Json = {"oneOf": [schema_ref("Leaf"), schema_ref("Other")], "discriminator": {"propertyName": "kind"}}
    assert "discriminator" not in body(normalize(one_schema(union, Leaf=LEAF, Other=other)))


def test_null_branches_under_paths_and_in_shared_replies_are_normal_too() -> None:
    document = facts()
    retry = document["components"]["responses"]["Busy"]["headers"]["Retry-After"]["schema"]
    assert retry == {"type": ["integer", "null"]}


def test_schemas_that_nobody_reaches_any_more_are_gone() -> None:
    assert "Identified" not in facts()["components"]["schemas"]
    assert "NobodyNeedsThis" not in facts()["components"]["schemas"]


def test_components_are_sorted_by_name() -> None:
    for named in facts()["components"].values():
        assert list(named) == sorted(named)
