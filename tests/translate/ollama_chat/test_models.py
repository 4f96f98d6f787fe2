"""Models as Ollama lists and shows them: nothing made up, nothing that is known left out."""

import hashlib
from typing import Any

import pytest

from ai_gateway.translate.ollama_chat.models import capabilities, shown, summaries, summary, tagged
from gateway_contract.openai.models import Model


def model(ident: str = "lab/m-7", *, created: int = 1_767_225_600, facts: dict[str, Any] | None = None) -> Model:
    given = {"id": ident, "object": "model", "created": created, "owned_by": "lab", **(facts or {})}
    return Model.model_validate(given)


@pytest.mark.parametrize(
    ("ident", "name"),
    [
        ("m", "m:latest"),
        ("llama3:8b", "llama3:8b"),
        ("lab/m", "lab/m:latest"),
        ("lab/accounts/x/models/y", "lab/accounts/x/models/y:latest"),
        ("lab:1/m", "lab:1/m:latest"),
        ("lab/m:free", "lab/m:free"),
    ],
)
def test_every_name_has_a_tag(ident: str, name: str) -> None:
    assert tagged(ident) == name
    assert tagged(name) == name


def test_what_nobody_says_is_empty_and_digests_are_unique() -> None:
    found = summary(model())
    assert found.model_dump(exclude_unset=True) == {
        "name": "lab/m-7:latest",
        "model": "lab/m-7:latest",
        "modified_at": "2026-01-01T00:00:00Z",
        "size": 0,
        "digest": hashlib.sha256(b"lab/m-7").hexdigest(),
        "details": {
            "parent_model": "", "format": "", "family": "", "families": None, "parameter_size": "",
            "quantization_level": "",
        },
        "capabilities": ["completion", "tools"],
    }  # fmt: skip
    assert summary(model("other")).digest != found.digest


@pytest.mark.parametrize("idents", [["lab/m", "lab/n", "lab/m:latest"], ["lab/m:latest", "lab/n", "lab/m"]])
def test_of_two_models_with_one_name_the_one_that_is_called_so_is_listed(idents: list[str]) -> None:
    found = summaries(map(model, idents))
    assert [one.name for one in found] == ["lab/m:latest", "lab/n:latest"]
    assert [one.digest for one in found] == [summary(model(ident)).digest for ident in ("lab/m:latest", "lab/n")]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ["completion", "tools"]),
        ({"capabilities": ["completion", "thinking"]}, ["completion", "thinking"]),
        ({"capabilities": {"completion_chat": True, "function_calling": False, "vision": True}},
         ["completion", "vision"]),
        ({"capabilities": {}}, ["completion"]),
        ({"supported_parameters": ["tools", "reasoning"], "architecture": {"input_modalities": ["text", "image"]}},
         ["completion", "tools", "thinking", "vision"]),
        ({"supported_parameters": ["temperature"]}, ["completion"]),
        ({"capabilities": [1], "architecture": "odd"}, ["completion", "tools"]),
    ],
)  # fmt: skip
def test_capabilities_are_what_the_provider_says(facts: dict[str, Any], expected: list[str]) -> None:
    assert capabilities(model(facts=facts)) == expected


def test_a_model_named_for_embedding_embeds() -> None:
    assert capabilities(model("lab/text-embedding-3")) == ["embedding"]


@pytest.mark.parametrize("name", ["context_length", "context_window", "max_model_len", "max_context_length"])
def test_the_context_length_is_shown_where_it_is_known(name: str) -> None:
    assert shown(model(facts={name: 8192})).model_info == {
        "general.architecture": "unknown", "general.basename": "lab/m-7", "unknown.context_length": 8192,
    }  # fmt: skip
    assert "unknown.context_length" not in shown(model(facts={name: "many"})).model_info


def test_details_that_a_provider_has_are_shown() -> None:
    facts = {"family": "llama", "parameter_size": "8B", "quantization_level": "Q4", "format": "gguf", "odd": 1}
    found = shown(model(facts={"details": facts, "size": 5, "context_length": 9}))
    assert found.details.family == "llama"
    assert found.details.families == ["llama"]
    assert found.details.parameter_size == "8B"
    assert found.model_info["llama.context_length"] == 9
    assert summary(model(facts={"details": facts, "size": 5})).size == 5
    assert summary(model(facts={"model_family": "qwen"})).details.family == "qwen"


@pytest.mark.parametrize("created", [0, -1, 10**30])
def test_a_time_that_no_calendar_has_is_no_failure(created: int) -> None:
    assert summary(model(created=created)).modified_at.endswith("Z")
