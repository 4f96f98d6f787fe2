"""Requests in OpenAI's terms as the Messages API gets them: what the tests of this translation share."""

from typing import Any

import pytest

from ai_gateway.contract.body import validate
from ai_gateway.contract.call import Attempt, Call, header_list
from ai_gateway.contract.write import to_json
from ai_gateway.errors import InvalidRequest
from ai_gateway.providers.anthropic.policies import POLICIES
from ai_gateway.providers.parameters import Parameters, note_dropped
from ai_gateway.translate.chat_anthropic.request import MessagesRequest, to_messages
from gateway_contract.openai import models
from tests.support.fake_anthropic import fault_in

HELLO = [{"role": "user", "content": "Hello"}]
SAID = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
PLAIN = {"model": "claude-sonnet-4-6", "messages": HELLO}
TOOL = {"type": "function", "function": {"name": "zebra", "parameters": {"type": "object", "properties": {}}}}
ZEBRA = {"name": "zebra", "input_schema": {"type": "object", "properties": {}}}


def translated(unknown: Any = "drop", **fields: Any) -> tuple[MessagesRequest, list[str]]:
    """The request as it is sent, and every field that the reply names as dropped."""
    body = validate(models.CreateChatCompletionRequest, PLAIN | fields)
    attempt = Attempt(Call(operation="createChatCompletion", request_id="r"))
    Parameters("anthropic", POLICIES, unknown).apply(attempt, body)
    before = to_json(body)
    request = to_messages(body)
    assert to_json(body) == before, "a translation changes nothing that it was given"
    note_dropped(attempt, request.dropped)
    named = header_list(attempt.notes.dropped)
    return request, named.split(",") if named else []


def sent(**fields: Any) -> dict[str, Any]:
    """The body, which the API would take."""
    request, _ = translated(**fields)
    assert fault_in(request.body) is None
    return request.body


def turns(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(messages), **fields)["messages"]
    return found


def refused(**fields: Any) -> tuple[str | None, str | None]:
    """The code and the param of the 400 that it is."""
    with pytest.raises(InvalidRequest) as caught:
        translated(**fields)
    assert caught.value.status == 400
    return caught.value.code, caught.value.param
