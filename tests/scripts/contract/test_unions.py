"""Big unions are told apart by their tag, take what they took before, and say what is wrong with which item."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
from pydantic import BaseModel, ValidationError

from ai_gateway.contract.body import validate
from ai_gateway.errors import InvalidRequest
from scripts.contract.documents import Json, schema_ref
from scripts.contract.models import generate_models
from scripts.contract.unions import tagged_unions
from tests.scripts.contract.lantern import one_schema
from tests.scripts.contract.test_models import imported

TEXT: Json = {"type": "string"}


def kind(field: str, *values: str | None, required: bool = True) -> Json:
    """An object with a field of its own beside its tag."""
    tag: Json = {"enum": [*values]}
    return {
        "type": "object",
        "required": [field, *(["type"] if required else [])],
        "properties": {"type": tag, field: {"type": "integer"}},
    }


SIGNALS: dict[str, Json] = {
    "Flash": kind("length", "flash"),
    "Horn": kind("pitch", "horn", "siren"),
    "Flag": kind("letter", "flag"),
    "Bell": kind("strokes", "bell"),
    "Message": kind("words", "message", required=False),
    "LongMessage": kind("pages", "message"),
    "Reference": kind("id", "reference", None, required=False),
}
NESTED: Json = {"oneOf": [schema_ref("Flash"), schema_ref("Horn"), schema_ref("LongMessage")]}
SIGNAL: Json = {
    "anyOf": [schema_ref("Nested"), *(schema_ref(n) for n in ("Flag", "Bell", "Message", "Reference", "LongMessage"))]
}
BODY: Json = {
    "type": "object",
    "required": ["signals"],
    "properties": {
        "signals": {"anyOf": [TEXT, {"type": "array", "items": schema_ref("Signal")}]},
        "last": {"anyOf": [*SIGNAL["anyOf"], {"type": "null"}]},
        "inline": {"type": "array", "items": SIGNAL},
    },
}
DOCUMENT = one_schema(BODY, Signal=SIGNAL, Nested=NESTED, **SIGNALS)
TAGS = ["flash", "horn", "siren", "flag", "bell", "message", "reference", "null", "", "?", None, 1, ["flash"]]
FIELDS = ["length", "pitch", "letter", "strokes", "words", "pages", "id"]


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[BaseModel]]:
    name = "lantern_models_unions"
    yield imported(generate_models(DOCUMENT, ""), tmp_path_factory.mktemp("unions"), name).Body
    del sys.modules[name]


def values(amount: int) -> Iterator[object]:
    """Signals that are right, nearly right and wrong, of every kind."""
    chance = random.Random(1)
    for _ in range(amount):
        signal: Json = {} if chance.random() < 0.2 else {"type": chance.choice(TAGS)}
        for field in chance.sample(FIELDS, chance.choice([1, 1, 2, 3])):
            signal[field] = chance.choice([1, 1, 1, "x"])
        yield signal
    yield from (None, 1, "flash", [], ["flash"], {})


@pytest.mark.slow
@pytest.mark.parametrize("place", ["signals", "inline", "last"])
def test_a_tagged_union_takes_exactly_what_its_schema_takes(body: type[BaseModel], place: str) -> None:
    oracle = jsonschema_rs.validator_for({**schema_ref("Body"), "components": DOCUMENT["components"]})
    verdicts = []
    for value in values(3_000):
        sent = {"signals": [], place: value if place == "last" else [value]}
        verdicts.append(oracle.is_valid(sent))
        assert accepts(body, sent) == verdicts[-1], sent
    assert verdicts.count(True) > 300
    assert verdicts.count(False) > 300


def accepts(model: type[BaseModel], value: object) -> bool:
    try:
        model.model_validate(value, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("signal", "param", "words"),
    [
        ({"type": "lamp"}, "signals[1].type", "Invalid value for 'signals[1].type': expected one of 'flash', 'horn'"),
        ({"type": 1}, "signals[1].type", "Invalid value for 'signals[1].type': expected one of 'flash', 'horn'"),
        ({"type": "flash", "length": "x"}, "signals[1].length", "Invalid value for 'signals[1].length': expected an i"),
        ({"type": "bell"}, "signals[1].strokes", "Missing required parameter: 'signals[1].strokes'. Add it."),
        ({}, "signals[1].words", "Missing required parameter: 'signals[1].words'. Add it."),
        ("flash", "signals[1]", "Invalid value for 'signals[1]': expected an object."),
    ],
    ids=["unknown tag", "tag of another type", "wrong field", "missing field", "without a tag", "no object"],
)
def test_an_error_names_the_item_and_the_field(body: type[BaseModel], signal: object, param: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validate(body, {"signals": [{"type": "flash", "length": 1}, signal]})
    assert refused.value.param == param
    assert refused.value.message.startswith(words)


def test_a_missing_tag_is_named_where_no_branch_goes_without(tmp_path: Path) -> None:
    strict = {name: {**schema, "required": ["type"]} for name, schema in SIGNALS.items()}
    document = one_schema(BODY, Signal=SIGNAL, Nested=NESTED, **strict)
    module = imported(generate_models(document, ""), tmp_path, "lantern_models_strict")
    with pytest.raises(InvalidRequest, match=r"Missing required parameter: 'signals\[0\]\.type'"):
        validate(module.Body, {"signals": [{"words": 1}]})
    del sys.modules["lantern_models_strict"]


def test_one_bad_item_of_a_big_union_makes_few_errors(body: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as refused:
        body.model_validate({"signals": [{"type": "message", "words": "x"}]}, strict=True)
    assert refused.value.error_count() == 3  # no text; and of the two kinds that a message may be, one for each


def test_models_of_the_branches_are_taken_and_written_as_they_are(body: type[BaseModel]) -> None:
    module = sys.modules[body.__module__]
    made = body(signals=[module.Flash(type="flash", length=1), module.Message(words=2), module.Reference(id=3)])
    sent = {"signals": [{"type": "flash", "length": 1}, {"words": 2}, {"id": 3}]}
    assert made.model_dump(exclude_unset=True) == sent
    assert body.model_validate(sent, strict=True).model_dump(exclude_unset=True) == sent


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"Bell": {"type": "object", "properties": {"strokes": {}}}}, "a branch without the tag"),
        ({"Bell": {"type": "object", "properties": {"type": TEXT}}}, "a tag that may be any text"),
        ({"Bell": {"type": "object", "properties": {"type": {"enum": [1]}}}}, "a tag that is no text"),
        ({"Bell": kind("strokes", "null")}, "a tag that reads like null"),
        ({"Signal": {"anyOf": [*SIGNAL["anyOf"], TEXT]}}, "a branch that is no object"),
        ({"Signal": {"anyOf": SIGNAL["anyOf"][1:5]}}, "few branches"),
        ({"Signal": {**SIGNAL, "discriminator": {"propertyName": "type"}}}, "a discriminator of its own"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_unions_stay_as_they_are(change: dict[str, Json], why: str) -> None:
    schemas = {"Signal": SIGNAL, "Nested": NESTED, **SIGNALS, **change}
    assert "Signal" not in tagged_unions(schemas), why
    assert tagged_unions({"Signal": SIGNAL, "Nested": NESTED, **SIGNALS}).keys() == {"Signal"}
