"""Replies made exact."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from ai_gateway.conform.reply import exact_json, mend
from ai_gateway.conform.rules import Known
from ai_gateway.contract.write import to_json
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models

KNOWN = Known(model="asked-model", request_id="r-1")


def mended[Model: BaseModel](model: type[Model], value: object) -> tuple[Model, list[str]]:
    return mend(model, value, KNOWN)


def reply(**change: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    return {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **change}


def test_what_may_be_null_and_is_left_out_is_filled() -> None:
    made = mended(models.CreateChatCompletionResponse, reply())[0]
    assert made.choices[0].logprobs is None
    assert made.choices[0].message.refusal is None
    assert b'"logprobs":null' in to_json(made)


def test_what_may_only_be_absent_and_is_null_is_dropped() -> None:
    made = mended(models.CreateChatCompletionResponse, reply(system_fingerprint=None, usage=None, service_tier=None))[0]
    raw = to_json(made)
    assert b"system_fingerprint" not in raw
    assert b'"usage"' not in raw
    assert b'"service_tier":null' in raw


def test_what_the_schema_does_not_name_is_kept() -> None:
    value = reply(citations=["x"])
    value["choices"][0]["message"]["reasoning_content"] = "because"
    raw = to_json(mended(models.CreateChatCompletionResponse, value)[0])
    assert b'"citations":["x"]' in raw
    assert b'"reasoning_content":"because"' in raw


def test_tool_calls_that_are_null_are_dropped() -> None:
    value = reply()
    value["choices"][0]["message"].update(tool_calls=None, function_call=None, annotations=None)
    assert b"tool_calls" not in to_json(mended(models.CreateChatCompletionResponse, value)[0])


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
        assert to_json(short) == to_json(mended(models.ListModelsResponse, json.loads(raw))[0])


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
        mended(models.CreateChatCompletionResponse, value)[0]
    assert "today" not in caught.value.message
