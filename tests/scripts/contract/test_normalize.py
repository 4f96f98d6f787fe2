"""The normal form means what the original means: the same verdict on every sample, and the form that tools need."""

from collections.abc import Iterator
from copy import deepcopy

import jsonschema_rs
import pytest

from scripts.contract.documents import Json, refs, resolve, schema_ref
from scripts.contract.normalize import normalize
from tests.scripts.contract.lantern import facts, one_schema
from tests.scripts.contract.normal_cases import CASES, LEAF, ROOT, SAMPLES, TEXT, Case


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
        assert not {"nullable", "allOf", "const", "$recursiveRef", "$recursiveAnchor"} & set(schema)


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
