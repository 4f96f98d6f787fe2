"""A chat request as JSON values: those of plain texts are made without pydantic's writer, and are the same."""

import json

import pytest

from ai_gateway.contract.write import to_fields
from ai_gateway.translate.chat_request import chat_fields, unchecked
from gateway_contract.openai import models

SYSTEM = models.ChatCompletionRequestSystemMessage(role="system", content="Be brief.")
USER = models.ChatCompletionRequestUserMessage(content="Hello", role="user", name="ann")
PART = models.ChatCompletionRequestMessageContentPartText(type="text", text="Hello")
MESSAGES = {
    "texts": [SYSTEM, USER, models.ChatCompletionRequestDeveloperMessage(role="developer", content="")],
    "unchecked": [unchecked(models.ChatCompletionRequestUserMessage, {"role": "user", "content": "Hi"})],
    "none": [],
    "parts": [unchecked(models.ChatCompletionRequestUserMessage, {"role": "user", "content": [PART]})],
    "extra": [unchecked(models.ChatCompletionRequestUserMessage, {"role": "user", "content": "Hi", "seen": True})],
    "answer": [USER, models.ChatCompletionRequestAssistantMessage(role="assistant", content="Hi"), USER],
    "result": [models.ChatCompletionRequestToolMessage(role="tool", content="4", tool_call_id="call_1")],
}
FIELDS: dict[str, dict[str, object]] = {
    "bare": {},
    "stream": {
        "stream": True,
        "stream_options": models.ChatCompletionStreamOptionsObject(include_usage=True),
        "temperature": 0.7,
        "max_tokens": 256,
        "user": None,
    },
    "stop": {"stop": ["END"], "top_p": 1},
    "format": {"response_format": models.ResponseFormatJsonObject(type="json_object"), "reasoning_effort": "low"},
    "extra": {"beyond": {"a": [1]}},
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
def test_the_fields_and_their_order_are_those_of_the_writer(messages: list[object], fields: dict[str, object]) -> None:
    body = unchecked(models.CreateChatCompletionRequest, {"model": "m", "messages": messages, **fields})

    assert json.dumps(chat_fields(body)) == json.dumps(to_fields(body))


def test_fields_of_a_read_request_are_the_same() -> None:
    sent = {"messages": [{"content": "Hi", "role": "user"}], "temperature": 1, "model": "m", "stream": False}
    body = models.CreateChatCompletionRequest.model_validate(sent)

    assert json.dumps(chat_fields(body)) == json.dumps(to_fields(body))


def test_other_requests_are_written_as_ever() -> None:
    body = models.CreateEmbeddingRequest(model="m", input="text")

    assert chat_fields(body) == to_fields(body)
