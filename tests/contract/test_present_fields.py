"""Objects that are made of the fields that are there: they are those of the model's own validator in everything."""

import json
import random
from typing import Annotated, Any, override

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from ai_gateway.contract import present_fields
from ai_gateway.contract.present_fields import validated
from gateway_contract.anthropic import models as anthropic
from gateway_contract.ollama import models as ollama
from gateway_contract.openai import models
from gateway_contract.openai_responses import models as responses

REQUESTS = (
    models.CreateChatCompletionRequest,
    models.CreateCompletionRequest,
    models.CreateEmbeddingRequest,
    anthropic.AnthropicCreateMessageParams,
    responses.CreateResponse,
    ollama.OllamaChatRequest,
)
MESSAGES = [{"role": "user", "content": "Hi"}]
# Right or wrong, depending on the field and the model.
VALUES: list[Any] = [None, True, 1, 0.5, -3, 10**30, "m", "", MESSAGES, [], ["a"], {"type": "text"}, {}, {"a": "b"}]


def parts(made: BaseModel) -> tuple[object, ...]:
    """All that an object consists of, with the order of its fields."""
    return (
        list(vars(made).items()),
        made.__pydantic_fields_set__,
        made.__pydantic_extra__,
        made.__pydantic_private__,
        type(made),
    )


def outcome(model: type[BaseModel], value: object, *, own: bool) -> object:
    try:
        made = model.__pydantic_validator__.validate_python(value, strict=True) if own else validated(model, value)
    except ValidationError as error:
        return json.loads(error.json(include_url=False)), error.title
    return parts(made)


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_any_fields_make_the_same_object_or_the_same_error(model: type[BaseModel]) -> None:
    chance = random.Random(3)
    required = {"model": "m", "messages": MESSAGES, "input": "a", "prompt": "a", "max_tokens": 5}
    base: dict[str, Any] = {name: required[name] for name, field in model.model_fields.items() if field.is_required()}
    names = [*model.model_fields, "own", ""]
    right = 0
    for _ in range(400):
        chosen = dict(base)
        for name in chance.sample(names, chance.randrange(4)):
            chosen[name] = chance.choice(VALUES)
        if chosen and chance.random() < 0.2:
            chosen.pop(chance.choice([*chosen]))
        items = list(chosen.items())
        chance.shuffle(items)
        value = dict(items)
        expected = outcome(model, value, own=True)
        for _ in range(2):  # the second time, the names are known
            assert outcome(model, value, own=False) == expected, value
        right += len(expected) == 5 if isinstance(expected, tuple) else 0
    assert right > 40
    assert 0 < len(present_fields._known[model].validators) <= 32


@pytest.mark.parametrize("value", [None, [], "a", 1, [{"model": "m"}]])
def test_what_is_no_object_is_the_models_own_error(value: object) -> None:
    model = models.CreateChatCompletionRequest
    assert outcome(model, value, own=False) == outcome(model, value, own=True)


def test_a_change_to_one_object_does_not_reach_the_next() -> None:
    value = {"model": "m", "messages": MESSAGES}
    first = validated(models.CreateChatCompletionRequest, value)
    first.temperature = 0.5
    first.model_fields_set.add("temperature")
    assert first.model_extra is not None
    first.model_extra["own"] = 1
    second = validated(models.CreateChatCompletionRequest, value)
    assert (second.temperature, second.model_fields_set, second.model_extra) == (None, {"model", "messages"}, {})


class WithList(BaseModel):
    a: int = 0
    b: list[int] = []


class WithFactory(BaseModel):
    a: int = 0
    b: list[int] = Field(default_factory=list)


class WithAlias(BaseModel):
    a: int = 0
    b: Annotated[int, Field(alias="c")] = 0


class WithPrivate(BaseModel):
    a: int = 0
    _b: list[int] = PrivateAttr(default_factory=list)


class WithCheckedDefault(BaseModel):
    model_config = ConfigDict(validate_default=True)
    a: int = 0
    b: int = "x"  # type: ignore[assignment] # what is checked


class Afterwards(BaseModel):
    a: int = 0

    @override
    def model_post_init(self, _: object) -> None:
        self.a += 1


@pytest.mark.parametrize("model", [WithList, WithFactory, WithAlias, WithPrivate, WithCheckedDefault, Afterwards])
@pytest.mark.parametrize("value", [{}, {"a": 1}, {"a": 1, "b": [2]}, {"b": 3}, {"c": 4}, {"d": 5}])
def test_models_with_anything_unusual_are_made_by_themselves(model: type[BaseModel], value: dict[str, object]) -> None:
    for _ in range(2):
        assert outcome(model, value, own=False) == outcome(model, value, own=True)
    assert present_fields._known[model].validators == {}


def test_only_so_many_sets_of_names_are_kept() -> None:
    class Letters(BaseModel):
        a: int = 0
        b: int = 0
        c: int = 0
        d: int = 0
        e: int = 0

    chance = random.Random(1)
    for _ in range(200):
        names = chance.sample("abcde", chance.randrange(6))
        value = dict.fromkeys(names, 1)
        assert outcome(Letters, value, own=False) == outcome(Letters, value, own=True)
    assert len(present_fields._known[Letters].validators) == 32
