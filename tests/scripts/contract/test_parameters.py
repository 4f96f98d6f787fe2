"""The request fields as types: every field of every body, whatever it is called."""

import ast

import pytest

from scripts.contract.documents import Json
from scripts.contract.parameters import generate_parameters
from tests.scripts.contract.lantern import one_schema


def generated(schema: Json) -> str:
    source = generate_parameters("one", one_schema(schema), "# Header.\n")
    assert source is not None
    ast.parse(source)
    return source


def test_every_field_has_a_policy_whatever_it_is_called() -> None:
    source = generated({"type": "object", "properties": {"plain": {}, "x-odd": {}, "from": {}}})
    assert source.startswith("# Header.\n")
    for name in ("plain", "x-odd", "from"):
        assert f"'{name}': Policy," in source


def test_a_body_without_fields_is_one_to_decide_about_too() -> None:
    assert "Policies(TypedDict)" in generated({"type": "object"})


@pytest.mark.parametrize(("closed", "expected"), [(False, False), (True, True)])
def test_a_body_that_takes_no_further_fields_is_listed(closed: bool, expected: bool) -> None:
    schema: Json = {"type": "object", "properties": {}, **({"additionalProperties": False} if closed else {})}
    assert ("frozenset([])" not in generated(schema)) is expected


def test_a_contract_without_bodies_has_no_module_of_them() -> None:
    document = one_schema({"type": "object"})
    del document["paths"]["/things"]["post"]["requestBody"]
    assert generate_parameters("one", document, "") is None


def test_two_operations_cannot_share_a_body() -> None:
    document = one_schema({"type": "object"})
    document["paths"]["/others"] = {"post": document["paths"]["/things"]["post"] | {"operationId": "createOther"}}
    with pytest.raises(SystemExit, match="a body belongs to one operation"):
        generate_parameters("one", document, "")
