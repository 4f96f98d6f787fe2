"""From a `spec/` folder to one contract."""

from pathlib import Path

import pytest

from scripts.contract.build import GATEWAY as OWN, Source, corrected, merged, sources
from scripts.contract.documents import Json, operations, read
from tests.scripts.contract.lantern import OVERLAY, SOURCE, spec_tree, write

LANTERN = Source("openai", "openai/facts.yaml")


def contract(spec: Path) -> Json:
    return merged([corrected(spec, source) for source in sources(spec)], read(spec / "info.yaml"))


def test_the_contract_offers_what_every_source_offers(tmp_path: Path) -> None:
    found = contract(spec_tree(tmp_path))
    assert found["openapi"] == "3.1.0"
    assert found["info"] == {"title": "Lantern gateway", "version": "1"}
    assert found["paths"]["/v1/verdicts"]["post"]["security"] == [{"LampKey": []}]
    assert found["paths"]["/alive"]["get"]["security"] == []
    assert {"/{provider}/v1/verdicts", "/v1/verdicts", "/alive"} <= set(found["paths"])
    assert {"CreateVerdictRequest", "Alive"} <= set(found["components"]["schemas"])
    assert set(found["components"]) == {"responses", "schemas", "securitySchemes"}


def test_overlays_apply_in_the_order_of_their_names_to_the_source_they_extend(tmp_path: Path) -> None:
    spec = spec_tree(tmp_path)
    for name, title in (("b", "Second"), ("a", "First")):
        action = {"target": "$.info", "x-why": "A test.", "update": {"title": title}}
        write(spec / "overlay" / f"{name}.yaml", {"extends": "../openai/facts.yaml", "actions": [action]})
    assert corrected(spec, LANTERN)["info"]["title"] == "Second"
    assert corrected(spec, OWN)["info"]["title"] == "Own"


@pytest.mark.parametrize("extends", ["../opneai/facts.yaml", None])
def test_an_overlay_that_extends_nothing_we_know_is_not_lost_silently(tmp_path: Path, extends: str | None) -> None:
    spec = spec_tree(tmp_path)
    write(spec / "overlay" / "lost.yaml", {**OVERLAY, "extends": extends} if extends else {"actions": []})
    with pytest.raises(SystemExit, match=r"lost\.yaml: `extends` has to name one of openai/facts\.yaml, gateway\.yaml"):
        corrected(spec, OWN)


def test_what_no_overlay_describes_yet_still_has_the_words_that_openapi_requires(tmp_path: Path) -> None:
    document = corrected(spec_tree(tmp_path), LANTERN)
    for _, _, operation in operations(document):
        assert operation["summary"]
        assert all("$ref" in reply or reply["description"] for reply in operation["responses"].values())
    assert document["paths"]["/v1/verdicts"]["post"]["summary"] == "Create verdict"
    assert document["components"]["responses"]["Busy"]["description"] == "Busy."


def test_words_of_our_own_come_before_those(tmp_path: Path) -> None:
    spec = spec_tree(tmp_path)
    action = {"target": "$.paths['/verdicts'].post", "x-why": "A test.", "update": {"summary": "Judge a light"}}
    write(spec / "overlay" / "words.yaml", {"extends": "../openai/facts.yaml", "actions": [action]})
    assert corrected(spec, LANTERN)["paths"]["/v1/verdicts"]["post"]["summary"] == "Judge a light"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("path", {"paths": {"/alive": {"post": {"security": []}}}, "components": {}}),
        ("schemas", {"paths": {}, "components": {"schemas": {"Alive": {}}}}),
        ("responses", {"paths": {}, "components": {"responses": {"Busy": {}}}}),
    ],
)
def test_a_name_that_two_sources_define_fails_by_name(tmp_path: Path, kind: str, change: Json) -> None:
    spec = spec_tree(tmp_path)
    documents = [corrected(spec, source) for source in sources(spec)]
    with pytest.raises(SystemExit, match=rf"Defined twice \({kind}\): (/alive|Alive|Busy)"):
        merged([*documents, change], {})


def test_two_sources_may_define_the_same_thing_twice(tmp_path: Path) -> None:
    spec = spec_tree(tmp_path)
    documents = [corrected(spec, source) for source in sources(spec)]
    twin = {"paths": {}, "components": {"schemas": {"Alive": documents[1]["components"]["schemas"]["Alive"]}}}
    assert merged([*documents, twin], {})["components"] == merged(documents, {})["components"]


def test_a_contract_that_does_not_say_who_may_call_fails(tmp_path: Path) -> None:
    spec = spec_tree(tmp_path)
    (spec / "overlay" / "access.yaml").unlink()
    with pytest.raises(SystemExit, match="no security"):
        contract(spec)


def test_every_folder_with_a_record_of_its_origin_is_a_contract(tmp_path: Path) -> None:
    spec = spec_tree(tmp_path)
    assert sources(spec) == (LANTERN, OWN)
    for name in ("beacon", "zebra"):
        (spec / name).mkdir()
        (spec / name / "source.toml").write_text(SOURCE, encoding="utf-8")
    assert [source.name for source in sources(spec)] == ["openai", "beacon", "zebra", "gateway"]


def test_a_record_says_whether_providers_get_the_requests(tmp_path: Path) -> None:
    spec = spec_tree(tmp_path)
    (spec / "openai" / "source.toml").write_text(SOURCE + "policies = false\n", encoding="utf-8")
    assert [source.policies for source in sources(spec)] == [False, False]


def test_a_folder_that_makes_no_package_name_fails_by_name(tmp_path: Path) -> None:
    spec = spec_tree(tmp_path)
    (spec / "openai").rename(spec / "open-ai")
    with pytest.raises(SystemExit, match=r"spec/open-ai: a folder's name is a package's name"):
        sources(spec)
