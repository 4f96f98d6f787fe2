"""A sampled value satisfies its schema, and no schema, however broken, does harm."""

import json
import time
from contextlib import suppress
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings

from ai_gateway.errors import UnsupportedValue
from ai_gateway.providers.custom import sample
from ai_gateway.providers.custom.work import Work
from tests.providers.custom.schemas import JUNK, SATISFIABLE, Schema

NODE: Schema = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "right": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "left", "right", "children"],
            "additionalProperties": False,
        }
    },
}


def validates(schema: Schema, value: Any) -> bool:
    return jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(SATISFIABLE)
def test_every_satisfiable_schema_gets_a_valid_instance(schema: Schema) -> None:
    value = sample.instance(schema, "seed")
    assert validates(schema, value), value
    assert json.loads(json.dumps(value)) == value


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(JUNK)
def test_junk_never_raises_and_never_takes_long(schema: Any) -> None:
    assert len(json.dumps(sample.instance(schema, "seed"))) < 1_000_000
    sample.object_instance(schema, "seed")


@pytest.mark.parametrize(
    "schema",
    [
        NODE,
        {"type": "object", "properties": {"self": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"]},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"definitions": {"a/b": {"enum": [7]}}, "properties": {"x": {"$ref": "#/definitions/a~1b"}}, "required": ["x"]},
        {"anyOf": [{"$ref": "#/anyOf/1"}, {"type": "integer", "minimum": 3}]},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}],
         "$defs": {"base": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}},
        {"allOf": [{"multipleOf": 4}, {"multipleOf": 6}], "type": "integer", "exclusiveMinimum": 12},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3},
        {"type": "number", "multipleOf": 0.01, "minimum": 0.005, "maximum": 0.02},
        {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        {"type": "object", "properties": {"a": {"type": "integer"}}, "minProperties": 1, "maxProperties": 5},
        {"type": "array", "contains": {"const": 7}, "minContains": 2, "items": {"type": "integer"}},
        {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False,
         "minProperties": 1},
        {"type": "object", "propertyNames": {"pattern": "^[A-Z]{3}$"}, "minProperties": 2},
        {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["x"]}, "else": {"required": ["y"]},
         "type": "object", "properties": {"kind": {"enum": ["a", "b"]}, "x": {"type": "integer"}},
         "required": ["kind"]},
        {"type": "integer", "minimum": 1, "maximum": 3, "not": {"const": 2}},
        {"type": ["string", "null"], "minLength": 200},
        {"type": "string", "pattern": "^([a-z]{2}-)+$", "minLength": 30, "maxLength": 30},
        {"default": {"a": 1}, "type": "object"},
        {"type": "array", "items": [{"const": 1}, {"const": 2}], "additionalItems": {"const": 3}, "minItems": 3,
         "$schema": "http://json-schema.org/draft-07/schema#"},
        {"nullable": True, "type": "string"},
        {"enum": [None, "x"], "type": "string"},
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)  # fmt: skip
def test_a_schema_worth_naming_gets_a_valid_instance(schema: Schema) -> None:
    for seed in ("one", "two", "three"):
        value = sample.instance(schema, seed)
        assert validates(schema, value), value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "xyz", "properties": 3, "minItems": 1e9, "$ref": "#/nowhere"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
        {"type": "array", "minItems": 1e9, "items": {"type": "array", "minItems": 1e9, "items": {"minItems": 1e9}}},
        {"type": "object", "minProperties": 1e300, "additionalProperties": {"type": "object", "minProperties": 1e300}},
        {"type": "string", "pattern": "(x+x+)+y(?=z)"},
        {"type": "string", "pattern": "((a{9999}){9999}){9999}"},
        {"type": "integer", "minimum": 1e308, "multipleOf": 1e-308},
        {"type": "number", "minimum": 10**400, "maximum": 10**400 + 1},
        {"minItems": -(10**30), "maxItems": -(10**30), "minProperties": -(10**30), "maxProperties": -(10**30)},
        {"type": "array", "minItems": 64, "items": {"type": "string", "minLength": 64, "pattern": "(x+x+)+y(?=z)"}},
        {"enum": list(range(20_000)), "type": "string"},
        {"anyOf": [{"pattern": f"(a+)+{at}(?=z)", "type": "string"} for at in range(2_000)]},
        {"patternProperties": {f"(a+)+{at}": {"not": {}} for at in range(2_000)}, "minProperties": 60},
        {"required": [f"field {number}" for number in range(5000)], "additionalProperties": {"$ref": "#"}},
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)  # fmt: skip
def test_a_hostile_schema_is_answered_quickly(schema: Schema) -> None:
    started = time.process_time()
    with suppress(UnsupportedValue):  # most take more work than one request may
        sample.instance(schema, "seed")
    assert time.process_time() - started < 20


def test_a_doubling_chain_of_references_does_not_explode() -> None:
    links: Schema = {f"n{at}": {"type": "object", "properties": {side: {"$ref": f"#/$defs/n{at + 1}"} for side in "ab"},
                        "required": ["a", "b"]} for at in range(60)}  # fmt: skip
    branches: Schema = {f"m{at}": {"anyOf": [{"$ref": f"#/$defs/m{at + 1}"}] * 2} for at in range(60)}
    for start in ("n0", "m0"):
        started = time.process_time()
        with suppress(UnsupportedValue):
            sample.instance({"$ref": f"#/$defs/{start}", "$defs": links | branches}, "seed")
        assert time.process_time() - started < 20


def test_a_deeply_nested_schema_is_survived() -> None:
    schema: Schema = {"type": "integer"}
    for keyword in ("allOf", "anyOf", "oneOf", "items", "not") * 60:
        schema = {keyword: schema if keyword in {"items", "not"} else [schema]}
    sample.instance(schema, "seed")


def test_the_same_seed_gives_the_same_value_and_another_seed_another() -> None:
    schema: Schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    assert sample.instance(schema, "x") == sample.instance(schema, "x")
    assert len({json.dumps(sample.instance(schema, str(seed))) for seed in range(20)}) > 15


def test_optional_properties_are_filled_in_and_null_is_the_last_choice() -> None:
    schema: Schema = {
        "type": "object",
        "properties": {
            "name": {"anyOf": [{"type": "null"}, {"type": "string"}], "default": None},
            "size": {"type": ["null", "integer"]},
            "inner": {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}},
        },
    }
    value: Any = sample.instance(schema, "seed")
    assert isinstance(value["name"], str)
    assert isinstance(value["size"], int)
    assert value["inner"]["tags"]


def test_a_recursive_schema_ends_soon() -> None:
    assert len(json.dumps(sample.instance(NODE, "seed"))) < 20_000


def test_a_request_for_many_answers_works_no_longer_than_one_for_one() -> None:
    work = Work()
    hard: Schema = {"type": "array", "minItems": 64, "uniqueItems": True, "items": {"pattern": "^(a|b){2,40}c{9}$"}}
    work.subject = "tools"
    with pytest.raises(UnsupportedValue, match="'tools'") as caught:
        [sample.object_instance(hard, str(seed), work) for seed in range(200)]
    assert caught.value.param == "tools"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "\\ud800"},
        {"type": "string", "pattern": "^[\\ud800-\\udfff]+$"},
        {"type": "integer", "allOf": [{"multipleOf": int("9" * 4200)}, {"multipleOf": int("7" * 4200)}]},
    ],
)
def test_what_is_made_can_always_be_sent(schema: Schema) -> None:
    assert json.dumps(sample.instance(schema, "s"), ensure_ascii=False).encode()
