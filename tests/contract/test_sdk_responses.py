"""OpenAI's own Python SDK on the Responses API: create, streams, the stream helper, parsing, tools and state."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseFunctionToolCall, ToolParam
from pydantic import BaseModel

from tests.support.gateway import TEST_KEY, LiveGateway

pytestmark = [pytest.mark.live, pytest.mark.anyio]
MODEL = "custom-chat"
WEATHER: ToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class City(BaseModel):
    name: str
    people: int


@pytest.fixture(params=["/custom/v1", "/v1"], ids=["at its provider", "by model"])
async def client(request: pytest.FixtureRequest, gateway: LiveGateway) -> AsyncIterator[AsyncOpenAI]:
    url = gateway.base_url + request.param
    async with AsyncOpenAI(base_url=url, api_key=TEST_KEY, max_retries=0, timeout=30) as made:
        yield made


async def test_a_response_is_the_same_whole_and_streamed(client: AsyncOpenAI) -> None:
    whole = await client.responses.create(model=MODEL, input="Tell me about the tides.")
    assert whole.output_text
    assert whole.usage
    stream = await client.responses.create(model=MODEL, input="Tell me about the tides.", stream=True)
    events = [event async for event in stream]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage


async def test_the_stream_helper_gathers_the_whole_response(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model=MODEL, input="Tell me about the tides.") as stream:
        texts = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert texts[-1] == final.output_text


async def test_parse_gives_an_instance_of_the_model(client: AsyncOpenAI) -> None:
    response = await client.responses.parse(model=MODEL, input="Name a city.", text_format=City)
    assert isinstance(response.output_parsed, City)
    async with client.responses.stream(model=MODEL, input="Name a city.", text_format=City) as stream:
        assert isinstance((await stream.get_final_response()).output_parsed, City)


async def test_a_tool_is_called_and_its_output_answered(client: AsyncOpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "Use get_weather for Oslo."}]
    first = await client.responses.create(model=MODEL, input=asked, tools=[WEATHER])
    (call,) = (item for item in first.output if isinstance(item, ResponseFunctionToolCall))
    assert call.name == "get_weather"
    asked += first.output
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second = await client.responses.create(model=MODEL, input=asked, tools=[WEATHER])
    assert second.output_text


async def test_a_conversation_is_kept_and_read_again(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model=MODEL, input="one")
    second = await client.responses.create(model=MODEL, input="two", previous_response_id=first.id)
    assert (await client.responses.retrieve(second.id)).output_text == second.output_text
    items = [item async for item in client.responses.input_items.list(second.id, limit=1)]
    assert len(items) == 3
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model=MODEL, input="three", previous_response_id=second.id)
    assert caught.value.code == "previous_response_not_found"


async def test_one_in_the_background_is_polled_or_cancelled(client: AsyncOpenAI) -> None:
    started = await client.responses.create(model=MODEL, input="one", background=True)
    assert started.status == "queued"
    cancelled = await client.responses.cancel(started.id)
    assert cancelled.status in {"cancelled", "completed"}


async def test_tokens_are_counted_and_a_conversation_compacted(client: AsyncOpenAI) -> None:
    assert (await client.responses.input_tokens.count(model=MODEL, input="one")).input_tokens > 0
    compacted = await client.responses.compact(model=MODEL, input="one")
    went_on = await client.responses.create(model=MODEL, input=[*compacted.output, {"role": "user", "content": "two"}])  # type: ignore[list-item]
    assert went_on.output_text
