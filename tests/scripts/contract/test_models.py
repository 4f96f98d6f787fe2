"""Models say what the schema says, in both directions; a generator that strays stops the generation."""

import importlib.util
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, ValidationError

from scripts.contract.documents import Json, map_schema, schema_ref
from scripts.contract.exact import make_exact
from scripts.contract.models import generate_models
from scripts.contract.normalize import normalize
from scripts.contract.rules import nullable_optional_request_fields
from tests.scripts.contract.lantern import one_schema
from tests.scripts.contract.normal_cases import CASES, SAMPLES

ONE_TAG: Json = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string", "enum": ["one"]}}}
TWO_TAG: Json = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string", "enum": ["two"]}}}
TAGGED: Json = {
    "oneOf": [schema_ref("OneTag"), schema_ref("TwoTag")],
    "discriminator": {
        "propertyName": "kind",
        "mapping": {"one": "#/components/schemas/OneTag", "two": "#/components/schemas/TwoTag"},
    },
}
FORMS: dict[str, Json] = {
    "text": {"type": "string"},
    "bounded-text": {"type": "string", "minLength": 1, "maxLength": 2, "pattern": "^[a-z]*$"},
    "integer": {"type": "integer", "minimum": 0, "maximum": 9},
    "number": {"type": "number", "exclusiveMinimum": 0},
    "class": {"type": "boolean"},
    "model_dump": {"type": "string"},
    "schema": {"type": "integer"},
    "names": {"type": "string", "enum": ["a", "b"]},
    "constant": {"const": "a"},
    "nullable": {"type": ["string", "null"]},
    "nullable-integer": {"type": ["integer", "null"], "minimum": 0},
    "list": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    "nullable-list": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
    "union": {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer", "minimum": 5}]},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "bounded-map": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 1}},
    "pattern-map": {
        "type": "object",
        "patternProperties": {"^[ab]$": {"type": "integer"}},
        "additionalProperties": False,
    },
    "object": {"type": "object"},
    "anything": {},
    "tagged": TAGGED,
    "tagged-or-null": {"anyOf": [TAGGED, {"type": "null"}]},
    "tagged-list": {"anyOf": [{"type": "array", "items": TAGGED}, {"type": "null"}]},
    "untagged": {"oneOf": [schema_ref("OneTag"), {"type": "string"}]},
    "itself": schema_ref("Body"),
    "date": {"type": "string", "format": "date-time", "default": "2024-05-01"},
    "secret": {"type": "string", "format": "password"},
    "address": {"type": "string", "format": "uri"},
}
VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, 5, 10, 1.0, 1.5, -1, "", "a", "b", "abc", "A", "HTTP://Up.example", [], [1], [1.0],
    [1, 2, 3], ["a"], [None], {}, {"a": 1}, {"c": 1}, {"a": "x"}, {"a": "xx"},
    {"kind": "one"}, {"kind": "two"}, {"kind": "three"}, [{"kind": "one"}], [{"kind": "three"}],
    {"text": 1}, {"text": "x"},
)  # fmt: skip


def document(*, required: bool, closed: bool = False) -> Json:
    body: Json = {"type": "object", "properties": dict(FORMS)}
    body |= {"required": list(FORMS)} if required else {}
    body |= {"additionalProperties": False} if closed else {}
    return one_schema(body, OneTag=ONE_TAG, TwoTag=TWO_TAG)


def validator(found: Json, name: str) -> jsonschema_rs.Validator:
    def without_format(schema: Json) -> Json:
        return {key: value for key, value in schema.items() if key != "format"}

    schemas = {each: map_schema(schema, without_format) for each, schema in found["components"]["schemas"].items()}
    return jsonschema_rs.validator_for({**schema_ref(name), "components": {"schemas": schemas}})


def imported(source: str, folder: Path, name: str) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The generated models of every form, once optional, once required, once closed."""
    folder = tmp_path_factory.mktemp("models")
    variants = {
        "optional": document(required=False),
        "required": document(required=True),
        "closed": document(required=False, closed=True),
    }
    names = {variant: f"lantern_models_{variant}" for variant in variants}
    yield {
        variant: imported(generate_models(found, '"""Models."""\n'), folder, names[variant])
        for variant, found in variants.items()
    }
    for name in names.values():
        del sys.modules[name]


def body(module: ModuleType) -> type[BaseModel]:
    model: type[BaseModel] = module.Body
    return model


def accepts(model: type[BaseModel], value: object) -> bool:
    try:
        model.model_validate(deepcopy(value), strict=True)
    except ValidationError:
        return False
    return True


def good_values() -> dict[str, object]:
    """A value of every field that may be had without the whole (the recursive field is left out)."""
    found: dict[str, object] = {}
    checks = document(required=False)
    for name, form in FORMS.items():
        fits = jsonschema_rs.validator_for({**form, "components": checks["components"]}).is_valid
        found[name] = next(value for value in VALUES if fits(value))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("field", FORMS)
def test_models_and_schema_agree_on_every_value_of_every_field(forms: dict[str, ModuleType], field: str) -> None:
    model, oracle = body(forms["optional"]), validator(document(required=False), "Body")
    for value in VALUES:
        assert accepts(model, {field: value}) == oracle.is_valid({field: value}), value


def test_every_optional_field_may_be_missing_and_stays_missing(forms: dict[str, ModuleType]) -> None:
    made = body(forms["optional"]).model_validate({}, strict=True)
    assert made.model_dump(exclude_unset=True, by_alias=True) == {}
    assert made.model_dump(by_alias=True) == {
        name: None for name, form in FORMS.items() if validator_of(form).is_valid(None)
    }


def validator_of(form: Json) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({**form, "components": document(required=False)["components"]})


def test_every_required_field_is_required(forms: dict[str, ModuleType]) -> None:
    model = body(forms["required"])
    assert {name for name, field in model.model_fields.items() if not field.is_required()} == set()
    with pytest.raises(ValidationError) as refused:
        model.model_validate({}, strict=True)
    assert {error["loc"][0] for error in refused.value.errors()} == set(FORMS)
    assert {error["type"] for error in refused.value.errors()} == {"missing"}


def test_required_fields_take_null_where_the_schema_does(forms: dict[str, ModuleType]) -> None:
    with pytest.raises(ValidationError) as refused:
        body(forms["required"]).model_validate(dict.fromkeys(FORMS), strict=True)
    refusing = {error["loc"][0] for error in refused.value.errors()}
    assert refusing == {name for name, form in FORMS.items() if not validator_of(form).is_valid(None)}


@pytest.mark.parametrize("variant", ["optional", "closed"])
def test_what_is_read_is_what_is_written(forms: dict[str, ModuleType], variant: str) -> None:
    sent = {**good_values(), "nullable": None, "date": "2024-05-01T00:00:00Z", "address": "HTTP://Up.example"}
    sent |= {"x": {"unknown": [1, None]}} if variant == "optional" else {}
    made = body(forms[variant]).model_validate(deepcopy(sent), strict=True)
    assert made.model_dump(exclude_unset=True, by_alias=True) == sent
    assert made.model_dump_json(exclude_unset=True, by_alias=True)


def test_a_closed_object_takes_nothing_that_its_schema_does_not_name(forms: dict[str, ModuleType]) -> None:
    assert not accepts(body(forms["closed"]), {"unknown": 1})
    assert accepts(body(forms["optional"]), {"unknown": 1})


def test_an_integral_float_is_an_integer_and_a_boolean_is_not(forms: dict[str, ModuleType]) -> None:
    made: Any = body(forms["optional"]).model_validate({"integer": 1.0, "list": [2.0]}, strict=True)
    assert (made.integer, type(made.integer)) == (1, int)
    assert [type(item) for item in made.list_] == [int]
    assert not accepts(body(forms["optional"]), {"integer": True})


def test_a_tagged_union_beside_null_is_told_apart_by_its_tag(forms: dict[str, ModuleType]) -> None:
    with pytest.raises(ValidationError) as refused:
        body(forms["optional"]).model_validate({"tagged-or-null": {"kind": "three"}}, strict=True)
    assert [error["type"] for error in refused.value.errors()] == ["union_tag_invalid"]


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Json, ModuleType]]:
    """Every case of the normal form as the field of one object, and its models."""
    properties = {f"case{number}": case.published for number, case in enumerate(CASES)}
    others: dict[str, Json] = {}
    for case in CASES:
        others |= case.others
    found = normalize(one_schema({"type": "object", "properties": properties}, **others))
    module = imported(generate_models(found, ""), tmp_path_factory.mktemp("normal"), "lantern_models_normal")
    yield found, module
    del sys.modules["lantern_models_normal"]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_models_of_the_normal_form_keep_its_meaning(normal: tuple[Json, ModuleType], number: int) -> None:
    found, module = normal
    oracle, field = validator(found, "Body"), f"case{number}"
    for sample in SAMPLES:
        assert accepts(body(module), {field: sample}) == oracle.is_valid({field: sample}), sample


HEAD = "from pydantic import BaseModel\nfrom typing import Annotated, Literal\n"
LAMP: Json = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string"}, "age": {"type": "integer"}},
}
HOLDER: Json = {"type": "object", "properties": {"held": {"anyOf": [TAGGED, {"type": "null"}]}}}


def exact(source: str, **schemas: Json) -> str:
    return make_exact(HEAD + source, schemas)


def test_the_exactness_pass_rewrites_defaults_bases_and_integers() -> None:
    found = exact("class Lamp(BaseModel):\n    id: str\n    age: int | None = None\n", Lamp=LAMP)
    assert "class Lamp(OpenModel):\n    id: str\n    age: Int | MISSING = MISSING" in found
    assert found.rstrip().endswith("complete(globals())")


def test_a_renamed_field_keeps_its_name_on_the_wire() -> None:
    schema: Json = {
        "type": "object",
        "properties": {"class": {"type": ["string", "null"]}},
        "additionalProperties": False,
    }
    source = 'class Lamp(BaseModel):\n    class_: Annotated[str | None, Field(alias="class")] = None\n'
    found = exact(source, Lamp=schema)
    assert "class Lamp(ClosedModel):\n    class_: str | None = Field(None, alias='class')" in found


def test_the_tag_of_a_nullable_union_is_put_back() -> None:
    found = exact("class Holder(BaseModel):\n    held: OneTag | TwoTag | None = None\n"
                  "class OneTag(BaseModel):\n    kind: Literal['one']\n"
                  "class TwoTag(BaseModel):\n    kind: Literal['two']\n",
                  Holder=HOLDER, OneTag=ONE_TAG, TwoTag=TWO_TAG)  # fmt: skip
    assert "held: Annotated[OneTag | TwoTag, Field(discriminator='kind')] | None = None" in found


FIELDS = "class Lamp(BaseModel):\n    id: str\n    age: int\n"
STRAYING: list[tuple[str, str, str]] = [
    ("an invented class", FIELDS + "class Lamp1(BaseModel):\n    id: str\n", "invented the class Lamp1"),
    ("an invented field", FIELDS + "    hue: str\n", r"Lamp\.hue is not in the schema"),
    ("a lost field", "class Lamp(BaseModel):\n    id: str\n", "Lamp lost fields: age"),
    ("a required field with a default", FIELDS.replace("id: str", "id: str = 'x'"), r"Lamp\.id is required but"),
    ("null where none may be", FIELDS.replace("id: str", "id: str | None"), r"Lamp\.id: the schema forbids null"),
    ("a type we never import", FIELDS.replace("id: str", "id: AwareDatetime"), "Lamp uses AwareDatetime"),
    ("an alias of such a type", FIELDS + "type Hue = EmailStr\n", "Hue uses EmailStr"),
    ("a statement", "LAMPS = [1, 2]\n", r"unexpected: LAMPS = \[1, 2\]"),
]


@pytest.mark.parametrize(("source", "complaint"), [row[1:] for row in STRAYING], ids=[row[0] for row in STRAYING])
def test_a_generator_that_strays_stops_the_generation(source: str, complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        exact(source, Lamp=LAMP)


def test_null_that_the_generator_forgot_stops_the_generation() -> None:
    schema: Json = {"type": "object", "required": ["id"], "properties": {"id": {"type": ["string", "null"]}}}
    with pytest.raises(SystemExit, match=r"Lamp\.id: the schema takes null, the model does not agree"):
        exact("class Lamp(BaseModel):\n    id: str\n", Lamp=schema)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "string", "not": {"const": "x"}},
        {"type": "array", "prefixItems": [{"type": "string"}]},
        {"type": "object", "propertyNames": {"maxLength": 3}},
        {"type": "object", "patternProperties": {"^a": {}, "^b": {}}},
    ],
    ids=lambda form: list(form)[-1],
)
def test_what_no_model_can_hold_stops_the_generation_instead_of_being_lost(form: Json) -> None:
    schema: Json = {"type": "object", "properties": {"list": {"anyOf": [form, {"type": "null"}]}}}
    with pytest.raises(SystemExit, match=f"Body: no model can hold `{list(form)[-1]}`"):
        generate_models(one_schema(schema), "")


def test_a_union_of_required_fields_stops_the_generation_too() -> None:
    schema: Json = {"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    with pytest.raises(SystemExit, match="Body: no model can hold a union of `required`"):
        generate_models(one_schema(schema), "")


def uploading(**schemas: Json) -> Json:
    """A document whose one operation takes a form with two files and a number, of which only one has to be there."""
    properties: Json = {
        "file": {"type": "string", "format": "binary"},
        "more": {"type": "array", "items": {"type": "string", "contentMediaType": "audio/wav"}},
        "n": {"type": "integer"},
    }
    found = one_schema({"type": "object", "required": ["file"], "properties": properties}, **schemas)
    body = found["paths"]["/things"]["post"]["requestBody"]
    body["content"] = {"multipart/form-data": body["content"]["application/json"]}
    return found


def test_files_of_a_form_are_files_and_what_it_leaves_out_is_none() -> None:
    source = generate_models(uploading(), "")
    assert "file: UploadedFile\n" in source
    assert "more: Annotated[list[UploadedFile], Field(fail_fast=True)] | None = None" in source
    assert "n: Int | None = None" in source
    assert "class UploadedFile" not in source


def test_a_form_is_never_told_that_it_may_say_null() -> None:
    found = nullable_optional_request_fields(uploading(), {})
    assert found["components"]["schemas"]["Body"]["properties"]["n"] == {"type": "integer"}


def test_a_schema_that_has_the_name_of_the_type_of_files_fails_by_name() -> None:
    with pytest.raises(SystemExit, match="UploadedFile: the type of a file has this name"):
        generate_models(uploading(UploadedFile={"type": "object"}), "")


def test_a_generator_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match="datamodel-code-generator failed"):
        generate_models(one_schema({"type": "object", "properties": {"odd": {"enum": "lamp"}}}), "")


def test_a_reference_that_leads_nowhere_is_named() -> None:
    with pytest.raises(SystemExit, match="schemas/Nobody: nothing in the document has this name"):
        generate_models(one_schema({"type": "object", "properties": {"lost": schema_ref("Nobody")}}), "")
