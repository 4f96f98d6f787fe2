"""The committed contract: valid OpenAPI, complete in what clients need, and in nobody's words but ours."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest

from scripts.contract.build import Source, sources
from scripts.contract.documents import Json, operations, read, refs, resolve
from scripts.contract.extract import strip_prose
from scripts.contract.overlay import apply_file

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "spec"
OVERLAYS = sorted(path for path in (SPEC / "overlay").glob("*.yaml") if path.name != "rules.yaml")
CONTRACT: Json = json.loads((ROOT / "generated" / "gateway_contract" / "openapi.json").read_text(encoding="utf-8"))
SOURCES = sources(SPEC)
OPERATIONS = {f"{method} {path}": operation for path, method, operation in operations(CONTRACT)}
PREFIXES = {"Ollama": "Ollama", "Anthropic": "Anthropic"}
ADMINISTRATORS: list[Json] = [{"AdminApiKeyAuth": []}]
each_operation = pytest.mark.parametrize("name", OPERATIONS)


def reply(response: Json) -> Json:
    return resolve(CONTRACT, response["$ref"]) if "$ref" in response else response


def words(node: object, *, named: bool = False) -> Iterator[str]:
    """Every summary and description, wherever it is a keyword and not the name of a field."""
    if isinstance(node, list):
        for item in node:
            yield from words(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if not named and key in {"summary", "description", "title"} and isinstance(value, str):
                yield value
            elif not named and key in {"value", "example", "default", "enum", "const"}:
                continue
            else:
                yield from words(value, named=not named and key in {"properties", "schemas", "headers", "examples"})


def every_text(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from every_text(value)


def test_the_contract_is_a_valid_openapi_document() -> None:
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    assert CONTRACT["openapi"] == "3.1.0"
    validator = jsonschema_rs.validator_for(OPENAPI_31)
    assert [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(CONTRACT)] == []


def test_every_schema_is_a_valid_json_schema() -> None:
    for name, schema in CONTRACT["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}), name


def test_every_reference_leads_somewhere() -> None:
    found = set(refs(CONTRACT))
    assert found
    for ref in found:
        assert resolve(CONTRACT, ref), ref


def test_every_component_is_needed() -> None:
    needed = {ref.removeprefix("#/components/") for ref in refs(CONTRACT)}
    mapped = {name.removeprefix("#/components/") for name in every_text(CONTRACT) if name.startswith("#/components/")}
    offered = {f"{kind}/{name}" for kind, named in CONTRACT["components"].items() for name in named}
    secure = {f"securitySchemes/{name}" for name in CONTRACT["components"]["securitySchemes"]}
    assert offered - needed - mapped - secure == set()


def test_every_tag_leads_to_the_schema_that_has_it() -> None:
    mappings = list(discriminators(CONTRACT))
    assert mappings
    for property_name, mapping in mappings:
        for tag, ref in mapping.items():
            assert tag in resolve(CONTRACT, ref)["properties"][property_name]["enum"]


def discriminators(node: object) -> Iterator[tuple[str, dict[str, str]]]:
    if isinstance(node, dict):
        if isinstance(found := node.get("discriminator"), dict) and "mapping" in found:
            yield found["propertyName"], found["mapping"]
        for value in node.values():
            yield from discriminators(value)
    elif isinstance(node, list):
        for value in node:
            yield from discriminators(value)


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))


@each_operation
def test_an_operation_says_what_it_is_who_may_call_and_what_it_answers(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert isinstance(operation["security"], list)
    assert "200" in operation["responses"] or "501" in operation["responses"], "it answers, or only refuses"
    # One that answers refuses bodies in transfer codings that it does not know.
    assert {"200", "501"} - set(operation["responses"]) or "requestBody" in operation
    for status, response in operation["responses"].items():
        assert reply(response)["description"], status
        assert "X-Request-ID" in reply(response)["headers"], status


@each_operation
def test_an_operation_describes_every_status_it_can_fail_with(name: str) -> None:
    operation = OPERATIONS[name]
    described = set(operation["responses"])
    assert "500" in described
    if operation["security"]:
        assert {"400", "401"} <= described
    if "requestBody" in operation:
        assert {"400", "408", "413", "415"} <= described
    if operation["security"] == ADMINISTRATORS:  # which no upstream is asked for
        assert {"400", "401", "403", "404", "429", "500", "503"} <= described
        assert name.startswith("get") or "409" in described
    elif "requestBody" in operation:
        assert "422" in described
    if "v1" in name and operation.get("tags") != ["Gateway"] and operation["security"] != ADMINISTRATORS:
        assert {"400", "401", "403", "404", "429", "500", "502", "503", "504"} <= described


@each_operation
def test_an_error_has_the_envelope_of_its_wire(name: str) -> None:
    if name.startswith("head "):
        return
    for status, response in OPERATIONS[name]["responses"].items():
        if status != "200":
            assert list(reply(response)["content"]) == ["application/json"]
            schema = reply(response)["content"]["application/json"]["schema"]
            own = {
                "$ref": f"#/components/schemas/{PREFIXES.get(OPERATIONS[name].get('tags', [''])[0], '')}ErrorResponse"
            }
            other = {"$ref": "#/components/schemas/AnthropicErrorResponse"}
            # Two operations have one path, and a header decides whose errors are answered.
            assert schema in ((own, {"anyOf": [own, other]}, other) if "/models" in name else (own,)), status


@each_operation
def test_an_operation_that_may_be_told_to_wait_says_how_long(name: str) -> None:
    responses = OPERATIONS[name]["responses"]
    if "401" in responses:
        assert reply(responses["401"])["headers"]["WWW-Authenticate"]["required"] is True
    if "429" in responses:
        assert "Retry-After" in reply(responses["429"])["headers"]


@each_operation
def test_every_parameter_of_a_path_is_declared_and_every_declared_one_stands_in_it(name: str) -> None:
    in_path = re.findall(r"\{(\w+)\}", name)
    declared = [p["name"] for p in OPERATIONS[name].get("parameters", []) if p["in"] == "path"]
    assert sorted(declared) == sorted(in_path)
    for parameter in OPERATIONS[name].get("parameters", []):
        assert parameter["in"] != "path" or parameter["required"] is True
        assert parameter["description"]


def test_every_operation_is_served_behind_the_same_doors() -> None:
    named = {name.replace("/{provider}", "", 1) for name in OPERATIONS if "/{provider}/" in name}
    assert named
    assert named <= set(OPERATIONS)


def test_every_word_of_the_contract_stands_in_a_file_of_our_own() -> None:
    ours = [*OVERLAYS, SPEC / "overlay" / "rules.yaml", SPEC / "gateway.yaml"]
    known = {text for path in ours for text in every_text(read(path))}
    known |= set(every_text(read(SPEC / "info.yaml")))
    strange = [text for text in words(CONTRACT) if not is_made_of(text, known)]
    assert strange == [], "describe it in spec/overlay/*-descriptions.yaml"


def is_made_of(text: str, known: set[str]) -> bool:
    """Whether the text is known, or is made of several that are: of an operation and its door, or of a shared path."""
    while text and text not in known:
        end = next((at for at in range(len(text)) if text[:at].endswith(" ") and text[at:] in known), None)
        if end is None:
            return False
        text = text[:end].rstrip()
    return bool(text)


@pytest.mark.parametrize("source", [source for source in SOURCES if source.name != "gateway"], ids=lambda s: s.name)
def test_vendored_facts_hold_no_prose(source: Source) -> None:
    path = SPEC / source.facts
    document = read(path)
    facts = {"paths": document["paths"], "components": document["components"]}
    assert strip_prose(facts) == facts
    assert not [comment for comment in path.read_text(encoding="utf-8").splitlines()[2:] if comment.startswith("#")]


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.name)
def test_every_correction_has_a_reason_of_its_own(path: Path) -> None:
    overlay = read(path)
    assert overlay["overlay"] == "1.0.0"
    assert overlay["info"].keys() == {"title", "version"}
    assert all(action["x-why"].strip() for action in overlay["actions"])


def test_every_correction_still_applies_to_what_it_corrects() -> None:
    for source in SOURCES:
        document = read(SPEC / source.facts)
        for path in OVERLAYS:
            if (path.parent / read(path)["extends"]).resolve() == (SPEC / source.facts).resolve():
                document = apply_file(document, path)


def test_every_example_is_valid_by_its_own_schema() -> None:
    tried = 0
    for name, operation in OPERATIONS.items():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            validator = jsonschema_rs.validator_for({**content["schema"], "components": CONTRACT["components"]})
            for title, example in content.get("examples", {}).items():
                assert validator.is_valid(example["value"]), f"{name}: {title}"
                tried += 1
    assert tried > 5
