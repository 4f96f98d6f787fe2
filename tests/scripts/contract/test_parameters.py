"""The request fields as types: every field of every body, whatever it is called."""

import ast
import re

import pytest

from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai.parameters import REQUEST_FIELDS, by_field, changed, is_request_field
from scripts.contract.documents import Json, schema_ref
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


def test_the_fields_of_a_body_in_two_forms_are_those_of_both() -> None:
    document = one_schema({"type": "object", "properties": {"a": {}, "b": {}}})
    document["components"]["schemas"]["Form"] = {"type": "object", "properties": {"b": {}, "c": {}}}
    content = document["paths"]["/things"]["post"]["requestBody"]["content"]
    content["multipart/form-data"] = {"schema": schema_ref("Form")}
    source = generate_parameters("one", document, "")
    assert source is not None
    assert re.findall(r"'(\w)': Policy", source) == ["a", "b", "c"]
    assert 'models.Body: "createThing"' in source
    assert 'models.Form: "createThing"' in source


def test_a_file_as_a_body_has_no_fields_to_decide_about() -> None:
    document = one_schema({"type": "object"})
    document["paths"]["/things"]["post"]["requestBody"]["content"] = {"audio/wav": {}}
    assert generate_parameters("one", document, "") is None


def test_policies_are_data_where_they_are_wanted_so() -> None:
    table = by_field(SAME_WIRE)
    assert table["createEmbedding"]["input"] == SAME_WIRE["createEmbedding"]["input"]
    fields = {field for policies in table.values() for field in policies}
    assert fields == REQUEST_FIELDS
    assert [is_request_field(name) for name in ("input", "nobody")] == [True, False]


def test_a_change_of_policies_reaches_every_operation_that_has_the_field_and_nothing_else() -> None:
    before, after = by_field(SAME_WIRE), by_field(changed(SAME_WIRE, {"user": "refused", "nobody": "dropped"}))
    assert after.keys() == before.keys()
    for operation, policies in after.items():
        assert policies == {**before[operation], **({"user": "refused"} if "user" in before[operation] else {})}
    assert by_field(SAME_WIRE)["createEmbedding"]["user"] != "refused"


def test_two_operations_cannot_share_a_body() -> None:
    document = one_schema({"type": "object"})
    document["paths"]["/others"] = {"post": document["paths"]["/things"]["post"] | {"operationId": "createOther"}}
    with pytest.raises(SystemExit, match="a body belongs to one operation"):
        generate_parameters("one", document, "")
