"""Models in Anthropic's shape: what their provider says of them, and the pages of a list of them."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.errors import InvalidRequest
from ai_gateway.translate.anthropic_chat.models import page, shown
from ai_gateway.translate.chat_anthropic.reply import model_object
from ai_gateway.translate.wires.anthropic import ModelInfo
from gateway_contract.anthropic.models import AnthropicModelCapabilities
from gateway_contract.openai.models import Model
from tests.support.responses import valid


def listed(*ids: str) -> list[Model]:
    return [Model(id=each, object="model", created=1, owned_by="lab") for each in ids]


def reported(model: Model) -> dict[str, Any]:
    value = shown(model).model_dump()
    valid("AnthropicModelInfo").validate(value)
    return value


def capabilities() -> dict[str, Any]:
    """Any that the contract takes, with every field that it needs."""
    schema = AnthropicModelCapabilities.model_json_schema()

    def made(part: dict[str, Any]) -> Any:
        if "$ref" in part:
            return made(schema["$defs"][part["$ref"].rpartition("/")[2]])
        if "anyOf" in part:
            return made(part["anyOf"][0])
        if part.get("type") == "object" or "properties" in part:
            return {name: made(each) for name, each in part.get("properties", {}).items()}
        return True if part.get("type") == "boolean" else []

    found: dict[str, Any] = made(schema)
    return found


def test_what_anthropic_says_of_a_model_comes_back_as_it_was() -> None:
    said = {
        "type": "model", "id": "claude-opus-5", "display_name": "Claude Opus 5", "created_at": "2026-02-04T00:00:00Z",
        "max_input_tokens": 1_000_000, "max_tokens": 128_000, "capabilities": capabilities(), "lifecycle": "deprecated",
    }  # fmt: skip
    model = model_object(ModelInfo.model_validate(said))
    assert reported(Model.model_validate(model)) == said


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"display_name": "m", "max_input_tokens": None, "max_tokens": None, "lifecycle": "active"}),
        ({"context_length": 8192}, {"max_input_tokens": 8192}),
        ({"max_model_len": 4096, "max_completion_tokens": 5}, {"max_input_tokens": 4096, "max_tokens": 5}),
        ({"display_name": "", "context_length": "8192", "max_tokens": -1}, {"display_name": "m", "max_tokens": None}),
        ({"lifecycle": "asleep", "capabilities": ["vision"]}, {"lifecycle": "active", "capabilities": None}),
        ({"capabilities": {"x": 5}}, {"capabilities": None}),
    ],
)
def test_what_others_say_of_a_model_is_read_as_far_as_it_is_understood(more: Any, expected: dict[str, Any]) -> None:
    model = Model.model_validate({"id": "m", "object": "model", "created": 1, "owned_by": "lab", **more})
    assert expected.items() <= reported(model).items()


@pytest.mark.parametrize("created", [0, -1, 10**18])
def test_a_time_that_is_none_is_still_one(created: int) -> None:
    model = Model.model_construct(id="m", object="model", created=created, owned_by="lab")
    assert reported(model)["created_at"].endswith("Z")


@given(st.integers(1, 12), st.integers(1, 13))
def test_pages_in_either_direction_have_every_model_once(count: int, limit: int) -> None:
    ids = [f"m{at}" for at in range(count)]
    forward: list[str] = []
    after: str | None = None
    while True:
        found = page(listed(*ids), limit, after=after, before=None)
        forward += [each.id for each in found.data]
        assert (found.first_id, found.last_id) == (found.data[0].id, found.data[-1].id)
        after = found.last_id
        if not found.has_more:
            break
    assert forward == ids
    backward: list[str] = []
    before: str | None = ids[-1]
    while True:
        found = page(listed(*ids), limit, after=None, before=before)
        backward = [each.id for each in found.data] + backward
        before = found.first_id
        if not found.has_more:
            break
    assert backward == ids[:-1]


def test_an_empty_page_names_no_models() -> None:
    empty = page(listed("a"), 5, after="a", before=None)
    assert (empty.data, empty.first_id, empty.last_id, empty.has_more) == ([], None, None, False)
    between = page(listed("a", "b", "c", "d"), 5, after="a", before="d")
    assert [each.id for each in between.data] == ["b", "c"]


@pytest.mark.parametrize("param", ["after", "before"])
def test_an_id_that_is_none_is_refused_by_its_name(param: str) -> None:
    ids: Any = {"after": None, "before": None, param: "x"}
    with pytest.raises(InvalidRequest) as caught:
        page(listed("a"), 5, **ids)
    assert caught.value.param == f"{param}_id"
