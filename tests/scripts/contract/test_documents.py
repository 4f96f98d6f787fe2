"""Reading, writing and walking OpenAPI documents."""

from pathlib import Path

import pytest

from scripts.contract.documents import (
    Json,
    map_schema,
    operations,
    reachable,
    read,
    ref_name,
    refs,
    resolve,
    schema_ref,
    to_yaml,
)
from tests.scripts.contract.lantern import official


def written(folder: Path, text: str) -> Path:
    path = folder / "document.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_dates_and_switches_are_read_as_the_strings_that_json_would_have(tmp_path: Path) -> None:
    found = read(
        written(tmp_path, "day: 2024-05-01\ntime: 2024-05-01T10:00:00Z\nlight: [on, off, yes, no]\nlit: true\n")
    )
    assert found == {
        "day": "2024-05-01",
        "time": "2024-05-01T10:00:00Z",
        "light": ["on", "off", "yes", "no"],
        "lit": True,
    }


def test_every_key_is_a_string_be_it_a_status_code_or_a_switch(tmp_path: Path) -> None:
    assert read(written(tmp_path, "200: ok\n1.5: x\ntrue: y\nnested: {404: {on: 1}}\n")) == {
        "200": "ok",
        "1.5": "x",
        "true": "y",
        "nested": {"404": {"on": 1}},
    }


def test_json_is_read_as_well(tmp_path: Path) -> None:
    assert read(written(tmp_path, '{"openapi": "3.1.0", "n": [1, 2.5, null]}')) == {
        "openapi": "3.1.0",
        "n": [1, 2.5, None],
    }


@pytest.mark.parametrize("text", ["- a list\n", "just text", "", "a: [1\n", "a: !!python/object:os.system {}\n"])
def test_what_is_no_document_is_refused_in_one_line_that_names_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(SystemExit, match=r"document\.yaml: not a") as refused:
        read(written(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "document.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SystemExit, match=r"document\.yaml: not a"):
        read(path)


def test_what_is_written_reads_back_the_same_without_anchors_and_in_order(tmp_path: Path) -> None:
    shared = {"type": "string"}
    document: Json = {"z": shared, "a": shared, "day": "2024-05-01", "off": "off", "200": "x" * 200, "text": "ä: b"}
    text = to_yaml(document)
    assert read(written(tmp_path, text)) == document
    assert list(read(written(tmp_path, text))) == list(document)
    assert "&" not in text
    assert all(len(line) < 10_000 for line in text.splitlines())


def test_map_schema_reaches_every_subschema_bottom_up_and_leaves_its_input_alone() -> None:
    schema: Json = {
        "title": "top",
        "properties": {"title": {"title": "named"}},
        "patternProperties": {"^a": {"title": "pattern"}},
        "anyOf": [{"title": "branch", "items": {"title": "items"}}],
        "allOf": [{"title": "part"}],
        "additionalProperties": {"title": "value", "propertyNames": {"title": "key"}},
        "not": {"title": "not"},
        "contentSchema": {"title": "content"},
    }
    seen: list[str] = []

    def without_title(sub: Json) -> Json:
        seen.append(sub["title"])
        return {key: value for key, value in sub.items() if key != "title"}

    mapped = map_schema(schema, without_title)
    assert sorted(seen[:-1]) == sorted(
        ["named", "pattern", "branch", "items", "part", "value", "key", "not", "content"]
    )
    assert seen[-1] == "top"
    assert seen.index("items") < seen.index("branch")
    assert mapped["properties"] == {"title": {}}
    assert schema["properties"]["title"] == {"title": "named"}


def test_map_schema_keeps_openness_and_spells_boolean_schemas_out() -> None:
    schema: Json = {"additionalProperties": False, "properties": {"any": True, "none": False}}
    assert map_schema(schema, dict) == {
        "additionalProperties": False,
        "properties": {"any": {}, "none": {"not": {}}},
    }


def test_operations_come_in_document_order_and_shared_parameters_are_none() -> None:
    assert [f"{method} {path}" for path, method, _ in operations(official())] == [
        "post /verdicts",
        "post /songs",
        "get /lamps",
        "post /lamps",
        "get /lamps/{lamp}",
    ]


def test_reachable_follows_references_through_components_and_ends_on_cycles() -> None:
    document = official()
    document["components"]["schemas"]["Lamp"]["properties"]["twin"] = schema_ref("Lamp")
    found = reachable(document, document["paths"]["/lamps/{lamp}"])
    assert [ref_name(ref) for ref in found] == ["Lamp"]
    busy = reachable(document, {"$ref": "#/components/responses/Busy"})
    assert list(busy) == ["#/components/responses/Busy", "#/components/schemas/ErrorResponse"]


def test_a_property_called_ref_is_not_a_reference() -> None:
    assert list(refs({"properties": {"$ref": {"type": "string"}}, "items": schema_ref("Lamp")})) == [
        "#/components/schemas/Lamp"
    ]


def test_a_reference_is_resolved_through_escaped_names() -> None:
    document: Json = {"paths": {"/a/{b}": {"x~y": {"found": True}}}}
    assert resolve(document, "#/paths/~1a~1{b}/x~0y") == {"found": True}


@pytest.mark.parametrize("ref", ["#/components/schemas/Nobody", "other.yaml#/Lamp", "#/info/title/deeper"])
def test_a_reference_that_leads_nowhere_is_named(ref: str) -> None:
    with pytest.raises(SystemExit, match=f"{ref}: nothing"):
        resolve(official(), ref)
