"""What is taken out of an official document: the selected operations and their needs, as facts."""

import json

import pytest

from scripts.contract.documents import Json
from scripts.contract.extract import extract, strip_prose
from tests.scripts.contract.lantern import SELECTED, official


def schemas(facts: Json) -> Json:
    found: Json = facts["components"]["schemas"]
    return found


def test_no_word_of_prose_and_no_vendor_extension_gets_through() -> None:
    text = json.dumps(extract(official(), SELECTED))
    assert "PROSE" not in text
    assert "x-lantern" not in text
    assert "x-code-samples" not in text


def test_properties_and_headers_named_like_prose_stay() -> None:
    facts = extract(official(), SELECTED)
    properties = schemas(facts)["CreateVerdictRequest"]["properties"]
    assert {"description", "title", "summary", "example", "schema", "x-note"} <= set(properties)
    assert properties["description"] == {"type": "string"}
    assert properties["example"] == {"type": "integer"}
    assert facts["paths"]["/verdicts"]["post"]["responses"]["200"]["headers"] == {
        "description": {"schema": {"type": "string"}}
    }


def test_values_are_facts_even_where_their_keys_read_like_prose() -> None:
    properties = schemas(extract(official(), SELECTED))["CreateVerdictRequest"]["properties"]
    assert properties["schema"]["default"] == {"title": "kept"}
    assert strip_prose({"const": {"description": 1}, "enum": [{"title": 2}]}) == {
        "const": {"description": 1},
        "enum": [{"title": 2}],
    }


def test_a_property_called_properties_or_default_is_walked_like_any_other() -> None:
    schema: Json = {
        "properties": {
            "properties": {"properties": {"title": {"type": "string", "title": "PROSE"}}, "title": "PROSE"},
            "default": {"type": "string", "description": "PROSE"},
        }
    }
    assert strip_prose(schema) == {
        "properties": {"properties": {"properties": {"title": {"type": "string"}}}, "default": {"type": "string"}}
    }


def test_only_what_the_operations_need_is_taken() -> None:
    facts = extract(official(), ["get /lamps"])
    assert facts["paths"].keys() == {"/lamps"}
    assert facts["paths"]["/lamps"].keys() == {"get"}
    assert facts["components"] == {"schemas": {name: schemas(facts)[name] for name in ("Lamp", "Lamp-List")}}


def test_components_of_other_kinds_are_taken_with_what_they_need() -> None:
    facts = extract(official(), ["post /verdicts"])
    assert facts["components"]["responses"].keys() == {"Busy"}
    assert "ErrorResponse" in schemas(facts)
    assert "NobodyNeedsThis" not in schemas(facts)


def test_shared_parameters_of_a_path_become_the_operations_own() -> None:
    get = extract(official(), ["get /lamps/{lamp}"])["paths"]["/lamps/{lamp}"]["get"]
    assert get["parameters"] == [{"name": "lamp", "in": "path", "required": True, "schema": {"type": "string"}}]


def test_an_operations_own_parameter_takes_the_place_of_the_shared_one() -> None:
    document = official()
    own = {"name": "lamp", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 8}}
    document["paths"]["/lamps/{lamp}"]["get"]["parameters"] = [own]
    assert extract(document, ["get /lamps/{lamp}"])["paths"]["/lamps/{lamp}"]["get"]["parameters"] == [own]


def test_where_the_makers_serve_and_whom_they_let_in_is_not_our_contract() -> None:
    facts = extract(official(), SELECTED)
    assert facts.keys() == {"openapi", "info", "paths", "components"}
    assert facts["info"] == {"title": "Lantern API", "version": "2024-05-01"}
    for item in facts["paths"].values():
        for operation in item.values():
            assert not {"security", "servers", "callbacks"} & set(operation)


def test_an_operation_that_is_not_there_fails_by_name() -> None:
    with pytest.raises(SystemExit, match=r"does not offer: get /candles, post /wicks\. Check `operations`"):
        extract(official(), [*SELECTED, "post /wicks", "get /candles"])


def test_the_document_is_left_as_it_was() -> None:
    document = official()
    extract(document, SELECTED)
    assert document == official()
