"""Taking a document in: what is recorded of its origin, and what is not pretended."""

import hashlib
import tomllib
from pathlib import Path

import pytest

from scripts.contract.documents import Json, read
from scripts.contract.vendor import SourceRecord, Vendored, is_inference, read_source, vendored, write_vendored
from tests.scripts.contract.lantern import DOCUMENT, SELECTED, facts, official, spec_tree, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return spec_tree(tmp_path) / "openai"


def newer(folder: Path, document: Path = DOCUMENT) -> Vendored:
    return vendored(document, read_source(folder))


def record(folder: Path) -> Json:
    return tomllib.loads((folder / "source.toml").read_text(encoding="utf-8"))


def test_a_document_is_taken_in_as_facts_with_its_hash_and_versions(folder: Path) -> None:
    found = newer(folder)
    assert found.facts == facts()
    assert found.sha256 == hashlib.sha256(DOCUMENT.read_bytes()).hexdigest()
    assert (found.record.origin["version"], found.record.origin["openapi"]) == ("2024-05-01", "3.1.0")
    assert found.offered == ["post /verdicts", "post /songs", "get /lamps", "post /lamps", "get /lamps/{lamp}"]


def test_what_is_written_reads_back_the_same(folder: Path) -> None:
    write_vendored(folder, newer(folder), commit="abc", date="2024-06-01", sha256=None)
    assert read(folder / "facts.yaml") == facts()
    assert read_source(folder).operations == SELECTED
    head = (folder / "facts.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith("# Facts of lantern/lantern, lantern.yaml 2024-05-01 (MIT), commit abc")
    assert "PROSE" not in (folder / "facts.yaml").read_text(encoding="utf-8")


def test_roots_and_what_becomes_of_requests_stay_in_the_record(folder: Path) -> None:
    path = folder / "source.toml"
    path.write_text(path.read_text(encoding="utf-8") + 'schemas = ["Beam-Event"]\npolicies = false\n', encoding="utf-8")
    document = official()
    document["components"]["schemas"]["Beam-Event"] = {"oneOf": [{"$ref": "#/components/schemas/Spark"}]}
    document["components"]["schemas"]["Spark"] = {"type": "object", "properties": {"at": {"type": "integer"}}}
    found = newer(folder, write(folder / "newer.yaml", document))
    assert found.facts["components"]["schemas"].keys() - facts()["components"]["schemas"].keys() == {
        "BeamEvent",
        "Spark",
    }
    write_vendored(folder, found, commit=None, date=None, sha256=None)
    assert record(folder)["select"] == {
        "operations": list(SELECTED),
        "schemas": ["Beam-Event"],
        "policies": False,
    }


def test_a_root_that_the_document_does_not_have_fails_by_name(folder: Path) -> None:
    path = folder / "source.toml"
    path.write_text(path.read_text(encoding="utf-8") + 'schemas = ["Nobody"]\n', encoding="utf-8")
    with pytest.raises(SystemExit, match="schemas/Nobody: nothing in the document has this name"):
        newer(folder)


def test_a_document_without_a_version_keeps_the_one_on_record(folder: Path) -> None:
    document = official()
    del document["info"]["version"]
    assert newer(folder, write(folder / "newer.yaml", document)).record.origin["version"] == "0"


def test_source_toml_is_rewritten_with_what_was_told_and_its_comments_stay(folder: Path) -> None:
    write_vendored(folder, newer(folder), commit="abc", date="2024-06-01", sha256=None)
    assert (folder / "source.toml").read_text(encoding="utf-8").startswith("# A comment that stays.\n[source]")
    assert record(folder) == {
        "source": {
            "repository": "lantern/lantern",
            "document": "lantern.yaml",
            "version": "2024-05-01",
            "openapi": "3.1.0",
            "licence": "MIT",
            "commit": "abc",
            "date": "2024-06-01",
            "sha256": hashlib.sha256(DOCUMENT.read_bytes()).hexdigest(),
        },
        "select": {"operations": list(SELECTED)},
    }


def test_what_nobody_told_of_another_document_is_unrecorded_and_not_carried_over(folder: Path) -> None:
    write_vendored(folder, newer(folder), commit=None, date=None, sha256=None)
    source = record(folder)["source"]
    assert (source["commit"], source["date"]) == ("unrecorded", "unrecorded")


def test_of_the_same_document_commit_and_date_stay(folder: Path) -> None:
    write_vendored(folder, newer(folder), commit=None, date=None, sha256="0000")
    source = record(folder)["source"]
    assert (source["commit"], source["date"], source["sha256"]) == ("0123abc", "2024-05-01", "0000")


def test_taking_the_same_document_twice_changes_nothing(folder: Path) -> None:
    write_vendored(folder, newer(folder), commit="abc", date="2024-06-01", sha256=None)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_vendored(folder, newer(folder), commit=None, date=None, sha256=None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_more_operations_are_selected_once_and_recorded(folder: Path) -> None:
    chosen = read_source(folder).select(["post /lamps", "get /lamps"])
    assert chosen.operations == (*SELECTED, "post /lamps")
    write_vendored(folder, vendored(DOCUMENT, chosen), commit=None, date=None, sha256=None)
    assert read_source(folder).operations == (*SELECTED, "post /lamps")
    assert "post" in read(folder / "facts.yaml")["paths"]["/lamps"]


def test_odd_words_in_a_document_cannot_break_out_of_the_record(folder: Path) -> None:
    origin = {**read_source(folder).origin, "version": 'a "quoted" \\ one\n[select]\noperations = []'}
    odd = Vendored(facts(), [], SourceRecord(origin, SELECTED), "1111")
    write_vendored(folder, odd, commit=None, date=None, sha256=None)
    assert record(folder)["source"]["version"] == origin["version"]
    assert record(folder)["select"]["operations"] == list(SELECTED)


def test_a_folder_without_a_record_fails_with_what_there_is(folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"lantern: no contract with a source\.toml\. Known: openai"):
        read_source(folder.parent / "lantern")


@pytest.mark.parametrize("missing", ["openapi", "info", "paths"])
def test_what_is_no_openapi_document_fails_by_name(folder: Path, tmp_path: Path, missing: str) -> None:
    document = official()
    del document[missing]
    path = write(tmp_path / "odd.yaml", document)
    with pytest.raises(SystemExit, match=r"odd\.yaml: not an OpenAPI 3 document"):
        newer(folder, path)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("post /chat/completions", True),
        ("post /moderations", True),
        ("post /images/edits", True),
        ("get /chat/completions", False),
        ("post /chatkit/sessions", False),
        ("post /files", False),
    ],
)
def test_inference_operations_are_those_that_ask_a_model(operation: str, *, expected: bool) -> None:
    assert is_inference(operation) is expected
