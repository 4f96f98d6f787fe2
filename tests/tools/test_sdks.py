"""OpenAI's Python SDK with tools that the gateway runs, on the built-in provider, without a network."""

from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest

from tests.support.gateway import TEST_KEY, LiveGateway

pytestmark = pytest.mark.slow

SEARCH = {"type": "gateway:web_search", "max_results": 2}
ASK: Any = [{"role": "user", "content": 'Use gateway_web_search {"query": "tea"}.'}]
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=TEST_KEY, max_retries=0) as made:
        yield made


def test_the_python_sdk_reads_the_answer_with_what_was_run(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="custom-chat", messages=ASK, tools=cast("Any", [SEARCH]))
    message = reply.choices[0].message
    assert message.tool_calls is None
    assert message.content is not None
    assert message.annotations is not None
    place = message.annotations[0].url_citation
    assert message.content[place.start_index : place.end_index] == "[1]"
    (run,) = (message.model_extra or {})["gateway_tool_calls"]
    assert run["result"]["content"].startswith("Results for: tea")


def test_the_python_sdks_stream_helper_adds_up_to_the_whole_message(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="custom-chat", messages=ASK, tools=cast("Any", [SEARCH]))
    body = {"tools": [SEARCH]}  # the helper takes functions only
    with client.chat.completions.stream(model="custom-chat", messages=ASK, extra_body=body) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    message, same = final.choices[0].message, whole.choices[0].message
    assert message.content == same.content
    assert (message.model_extra or {})["gateway_tool_calls"] == (same.model_extra or {})["gateway_tool_calls"]
    assert final.choices[0].finish_reason == "stop"


def test_the_python_sdk_sends_back_what_was_run(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": 'Use gateway_web_search and get_weather {"city": "Oslo"}.'}]
    tools = cast("Any", [SEARCH, WEATHER])
    message = client.chat.completions.create(model="custom-chat", messages=messages, tools=tools).choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    again = [*messages, message.model_dump(exclude_unset=True), result]
    reply = client.chat.completions.create(model="custom-chat", messages=again, tools=tools)
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].message.content
