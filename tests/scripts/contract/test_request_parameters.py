"""Query and header parameters as models: typed, bounded, with their defaults, and null where nothing was said."""

import ast
import re

import pytest

from scripts.contract.documents import Json, schema_ref
from scripts.contract.models import generate_models
from scripts.contract.request_parameters import parameter_schemas
from tests.scripts.contract.lantern import one_schema

TEXT: Json = {"type": "string"}


def document(*parameters: Json, **schemas: Json) -> Json:
    found = one_schema({"type": "object"}, **schemas)
    found["paths"]["/things"]["post"]["parameters"] = list(parameters)
    return found


def parameter(name: str, schema: Json, *, place: str = "query", **more: object) -> Json:
    return {"name": name, "in": place, "schema": schema, **more}


def fields(found: Json, model: str) -> dict[str, str]:
    """The fields of a generated model, each as it is written."""
    tree = ast.parse(generate_models(found, ""))
    node = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == model)
    return {ast.unparse(f.target): ast.unparse(f) for f in node.body if isinstance(f, ast.AnnAssign)}


def test_a_query_is_a_model_with_the_types_bounds_and_defaults_that_the_contract_says() -> None:
    found = document(
        parameter("limit", {"type": "integer", "minimum": 1, "maximum": 9, "default": 5}),
        parameter("order", {"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
        parameter("lit", {"type": "boolean"}),
        parameter("after", TEXT, required=True),
        parameter("hues[]", {"type": "array", "items": schema_ref("Hue")}),
        parameter("at", {"type": "object", "properties": {"gt": {"type": "integer"}}}, style="deepObject"),
        Hue={"type": "string", "enum": ["red", "green"]},
    )
    assert fields(found, "CreateThingQuery") == {
        "limit": "limit: Annotated[Int, Field(ge=1, le=9)] = 5",
        "order": "order: Literal['asc', 'desc'] = 'asc'",
        "lit": "lit: bool | None = None",
        "after": "after: str",
        "hues": "hues: Annotated[list[Literal['red', 'green']], Field(fail_fast=True)] | None = None",
        "at": "at: CreateThingQueryAt | None = None",
    }
    assert fields(found, "CreateThingQueryAt") == {"gt": "gt: Int | None = None"}


def test_headers_are_a_model_of_their_own_under_their_names_in_lower_case() -> None:
    found = document(parameter("X-Tide", TEXT, place="header"), parameter("page", TEXT))
    assert fields(found, "CreateThingHeaders") == {"x_tide": "x_tide: str | None = Field(None, alias='x-tide')"}
    assert fields(found, "CreateThingQuery") == {"page": "page: str | None = None"}


def test_the_models_are_those_of_the_operation_behind_every_door() -> None:
    found = document(parameter("page", TEXT))
    routed = {**found["paths"]["/things"]["post"], "operationId": "createThingRouted"}
    found["paths"]["/v1/things"] = {"post": routed}
    assert parameter_schemas(found).keys() == {"CreateThingQuery"}


def test_an_operation_without_parameters_brings_no_model() -> None:
    assert parameter_schemas(one_schema({"type": "object"})) == {}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (parameter("page", TEXT, style="spaceDelimited"), "the query parameter 'page' has style spaceDelimited"),
        (parameter("page", TEXT, explode=False), "the query parameter 'page' has style form (explode: false)"),
        (parameter("x-page", TEXT, place="header", explode=True), "the header parameter 'x-page' has style simple"),
        (parameter("Authorization", TEXT, place="header"), "the header parameter 'Authorization' is none that OpenAPI"),
        (parameter("x page", TEXT, place="header"), "the header parameter 'x page' is none that OpenAPI"),
        ({"name": "page", "in": "query", "content": {}}, "the query parameter 'page' needs a `schema`"),
        (parameter("page", {}), "the query parameter 'page' is no text, number, boolean"),
        (parameter("page", {"type": "array", "items": {"type": "array", "items": TEXT}}), "the query parameter 'page'"),
        (parameter("x-page", {"type": "object"}, place="header"), "the header parameter 'x-page' is no text"),
        (parameter("page", {"anyOf": [TEXT, schema_ref("Thing")]}), "the query parameter 'page' is no text"),
    ],
    ids=["delimited", "not exploded", "exploded header", "authorization", "no header's name", "content", "anything",
         "list of lists", "object in a header", "union with a list of objects"],
)  # fmt: skip
def test_what_cannot_be_read_from_texts_fails_by_name_and_says_where(given: Json, complaint: str) -> None:
    found = document(given, Thing={"type": "array", "items": {"type": "object"}})
    with pytest.raises(SystemExit, match=re.escape(f"createThing: {complaint}")):
        parameter_schemas(found)


def test_two_parameters_of_one_name_fail_by_name() -> None:
    array: Json = {"type": "array", "items": TEXT}
    with pytest.raises(SystemExit, match="createThing: two parameters are called 'ids'"):
        parameter_schemas(document(parameter("ids", array), parameter("ids[]", array)))


def test_a_model_of_parameters_never_takes_the_name_of_a_schema() -> None:
    with pytest.raises(SystemExit, match="CreateThingQuery: a schema has the name"):
        parameter_schemas(document(parameter("page", TEXT), CreateThingQuery={"type": "object"}))
