"""Whole replies of a known form: what is learned, what is not taken for it, and when there is no more looking."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from ai_gateway.conform.known_replies import KINDS, NUMBERS, TEXTS, Forms
from ai_gateway.conform.reply import exact_json
from ai_gateway.contract.call import Notes
from gateway_contract.openai import models

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "m-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
}
RAW = json.dumps(REPLY).encode()


@pytest.fixture
def forms() -> Forms[models.CreateChatCompletionResponse]:
    """The form of REPLY is known."""
    known = Forms(models.CreateChatCompletionResponse)
    learn(known, RAW)
    return known


def learn(forms: Forms[Any], raw: bytes) -> None:
    reply = exact_json(models.CreateChatCompletionResponse, raw)
    assert reply is not None
    forms.learn(reply, raw)


def changed(old: str, new: str) -> bytes:
    assert RAW.count(old.encode()) == 1
    return RAW.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Hello.", "A longer text."),
        ("Hello.", ""),
        ("Hello.", 'Say \\"no\\", or \\u00e9\\n'),
        ("chatcmpl-1", "chatcmpl-2"),
        ("1700000000", "0"),
        ('"completion_tokens": 2', '"completion_tokens": 999999999999999'),
    ],
)
def test_another_text_or_count_is_the_same_form(forms: Forms[Any], old: str, new: str) -> None:
    raw = changed(old, new)
    notes = Notes()
    found = forms.recognise(raw, notes)
    assert found is not None
    assert found.raw == raw
    assert found.model == exact_json(models.CreateChatCompletionResponse, raw)
    assert notes.tokens is not None
    assert (notes.tokens.input, notes.tokens.output) == (4, found.model.usage.completion_tokens)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"stop"', '"eos"'),
        ('"stop"', '"length"'),
        ('"assistant"', '"user"'),
        ("chatcmpl-1", ""),
        ("Hello.", "A \\x escape"),
        ("Hello.", "half \\ud83d"),
        ("Hello.", "a line\nend"),
        ("Hello.", 'x", "refusal": "y'),
        ("Hello.", "ends in a backslash \\"),
        ("1700000000", "01"),
        ("1700000000", "1.5"),
        ('"completion_tokens": 2', '"completion_tokens": -2'),
        ('"completion_tokens": 2', '"completion_tokens": 9007199254740993'),
        ('"logprobs": null', '"logprobs": {}'),
    ],
)
def test_whatever_differs_in_more_is_looked_at(forms: Forms[Any], old: str, new: str) -> None:
    assert forms.recognise(changed(old, new), Notes()) is None


@pytest.mark.parametrize("more", [b" ", b"x", b"{}"])
def test_nothing_may_stand_behind_a_known_reply(forms: Forms[Any], more: bytes) -> None:
    assert forms.recognise(RAW + more, Notes()) is None


def test_a_name_that_stands_twice_is_not_learned() -> None:
    forms = Forms(models.CreateChatCompletionResponse)
    learn(forms, changed('"id": "chatcmpl-1"', '"id": "first", "id": "last"'))
    assert forms.recognise(changed('"id": "chatcmpl-1"', '"id": "first", "id": "last"'), Notes()) is None


def test_a_model_whose_replies_are_never_alike_is_given_up() -> None:
    forms = Forms(models.CreateChatCompletionResponse)
    for at in range(100):
        raw = changed("Hello.", f'Hello.", "own{at}": "x')
        assert forms.recognise(raw, Notes()) is None
        learn(forms, raw)
    learn(forms, RAW)
    assert forms.recognise(RAW, Notes()) is None, "neither looked at nor learned any more"


def test_no_field_of_the_names_that_replies_differ_in_is_bound_by_the_contract() -> None:
    """The proof of a form tries one other text and one other number: any other has to be as good."""
    free: set[str] = set()
    for model in {each for kind in KINDS for each in models_in(kind)}:
        for name, schema in model.model_json_schema()["properties"].items():
            for branch in schema.get("anyOf", [schema]):
                wanted = "string" if name in TEXTS else "integer" if name in NUMBERS else None
                if wanted is not None and branch.get("type") == wanted:
                    assert branch.keys() <= {"type", "title", "default"}, f"{model.__name__}.{name}: {branch}"
                    free.add(name)
    assert {"id", "model", "content", "text", "arguments", "created", "prompt_tokens", "cached_tokens"} <= free


def models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """A model and all inside of it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models_in(field.annotation)
    else:
        for inner in get_args(kind):
            yield from models_in(inner)
