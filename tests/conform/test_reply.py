"""Replies made exact."""

import json
from typing import Any

import pytest

from ai_gateway.conform.reply import exact, exact_json
from ai_gateway.contract.write import to_json
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


def reply(**change: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    return {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **change}


def test_what_may_be_null_and_is_left_out_is_filled() -> None:
    made = exact(models.CreateChatCompletionResponse, reply())
    assert made.choices[0].logprobs is None
    assert made.choices[0].message.refusal is None
    assert b'"logprobs":null' in to_json(made)


def test_what_may_only_be_absent_and_is_null_is_dropped() -> None:
    made = exact(models.CreateChatCompletionResponse, reply(system_fingerprint=None, usage=None, service_tier=None))
    raw = to_json(made)
    assert b"system_fingerprint" not in raw
    assert b'"usage"' not in raw
    assert b'"service_tier":null' in raw


def test_what_the_schema_does_not_name_is_kept() -> None:
    value = reply(citations=["x"])
    value["choices"][0]["message"]["reasoning_content"] = "because"
    raw = to_json(exact(models.CreateChatCompletionResponse, value))
    assert b'"citations":["x"]' in raw
    assert b'"reasoning_content":"because"' in raw


def test_tool_calls_that_are_null_are_dropped() -> None:
    value = reply()
    value["choices"][0]["message"].update(tool_calls=None, function_call=None, annotations=None)
    assert b"tool_calls" not in to_json(exact(models.CreateChatCompletionResponse, value))


@pytest.mark.parametrize(
    ("raw", "known"),
    [
        (b'{"object":"list","data":[]}', True),
        (b'{"object":"list","data":[{"id":"a","object":"model","created":1.0,"owned_by":"x","own":[1]}]}', True),
        (b'{"object":"list","data":null}', False),
        (b'{"object":"list"', False),
        (b'{"object":"list","data":[],"own":1e999}', False),
        (b'{"object":"list","data":[],"own":NaN}', False),
    ],
)
def test_the_short_way_knows_only_what_the_long_way_would_say(raw: bytes, known: bool) -> None:
    short = exact_json(models.ListModelsResponse, raw)
    assert (short is not None) is known
    if short is not None:
        assert to_json(short) == to_json(exact(models.ListModelsResponse, json.loads(raw)))


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "text",
        reply(id=5),
        reply(choices=None),
        reply(choices=[{}]),
        reply(created="today"),
        reply(object="list"),
        reply(choices=[{"index": 0, "finish_reason": None, "message": {"role": "assistant", "content": "x"}}]),
    ],
)
def test_what_would_take_guessing_is_refused_and_not_quoted(value: object) -> None:
    with pytest.raises(UpstreamInvalidResponse) as caught:
        exact(models.CreateChatCompletionResponse, value)
    assert "today" not in caught.value.message
