"""Whatever is sent where real upstreams and callers were seen to differ, it is read or refused, and nothing breaks."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.joined import joined_reply
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.open_lists import read_open
from ai_gateway.errors import GatewayError, InvalidRequest
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.error_body import is_error
from ai_gateway.providers.http.errors import from_event, from_reply
from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai import models

KEYS = [
    "messages", "role", "content", "type", "tools", "tool_choice", "function", "response_format", "service_tier",
    "tool_calls", "model", "text", "thinking", "error", "message", "code", "detail", "errors", "base_resp", "choices",
    "delta", "index", "finish_reason", "usage", "annotations", "loc", "msg", "metadata", "status", "input", "logprobs",
    "id", "name", "arguments", "custom", "object", "created",
]  # fmt: skip
WORDS = ["user", "assistant", "function", "thinking", "text", "stop", "", "x", "\ud83d", "\ude00", "data: "]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=14,
)
REFUSED = InvalidRequest("no")
KINDS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (models.CreateChatCompletionResponse, models.CreateChatCompletionStreamResponse),
    (models.CreateCompletionResponse, models.CreateCompletionStreamResponse),
]


@settings(max_examples=300, deadline=None)
@given(JUNK)
def test_a_body_with_what_is_not_listed_is_read_or_not(value: Any) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}], **(value if isinstance(value, dict) else {})}
    for model in (models.CreateChatCompletionRequest, models.CreateEmbeddingRequest, models.CreateCompletionRequest):
        for body in (value, asked):
            opened = read_open(model, body, REFUSED)
            assert opened is None or opened[1].error is REFUSED


@settings(max_examples=300, deadline=None)
@given(JUNK)
def test_any_complaint_is_an_error_of_ours(value: Any) -> None:
    raw = json.dumps(value).encode()
    reported = [from_reply("up", status, {}, raw) for status in (400, 401, 403, 404, 429, 500)]
    for error in (*reported, from_event("up", value)):
        assert isinstance(error, GatewayError)
        json.dumps({**error.extras}).encode()
        error.message.encode()
    assert is_error(value) in {True, False}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(JUNK, max_size=4))
def test_any_events_and_replies_are_exact_or_errors_of_ours(values: list[Any]) -> None:
    events = [json.dumps(value).encode() for value in values]
    for reply, chunk in KINDS:
        conformer = Conformer(Provider("lab", SAME_WIRE), Attempt(Call("any", "r")), "m")
        for read in [*((chunk, event) for event in events), *((reply, event) for event in events)]:
            try:
                conformer.event(*read)
            except GatewayError:
                continue
        try:
            joined_reply(reply, [*events, b"[DONE]"], 2, conformer)
        except GatewayError:
            continue
