"""OpenAI's own Python SDK, sync and async, against the live gateway: every official method of the five operations."""

import base64
import contextlib
import enum
import json
import math
import struct
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable
from typing import Any, cast

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam
from pydantic import BaseModel

from tests.support.gateway import TEST_KEY, LiveGateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live  # all of it: a unit test here would have every run of these import the SDK

type Client = OpenAI | AsyncOpenAI

MODEL = "custom-model"
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me about the tides, please."}]
WEATHER: ChatCompletionToolUnionParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "place": {"$ref": "#/$defs/Place"},
            },
            "required": ["city", "unit", "place"],
            "additionalProperties": False,
            "$defs": {
                "Place": {
                    "type": "object",
                    "properties": {"lat": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}},
                    "required": ["lat", "tags"],
                    "additionalProperties": False,
                }
            },
        },
    },
}
CLOCK: ChatCompletionToolUnionParam = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}, "required": []}},
}


class Mood(enum.StrEnum):
    CALM = "calm"
    ROUGH = "rough"


class Wave(BaseModel):
    height: float
    mood: Mood


class Report(BaseModel):
    title: str
    waves: list[Wave]
    best: Wave
    warned: bool
    note: str | None


async def settle[T](value: T | Awaitable[T]) -> T:
    """The result of a call that is sync with one client and a coroutine with the other."""
    if isinstance(value, Awaitable):
        return await cast("Awaitable[T]", value)
    return value


async def drain[T](stream: Iterable[T] | AsyncIterable[T] | Awaitable[AsyncIterable[T]]) -> list[T]:
    """Every item of a stream or of a list, from either client."""
    if isinstance(stream, Iterable):
        return list(stream)
    if not isinstance(stream, AsyncIterable):
        stream = await stream
    return [item async for item in stream]


@contextlib.asynccontextmanager
async def opened(
    kind: str, gateway: LiveGateway, path: str = "/custom/v1", key: str = TEST_KEY, **more: Any
) -> AsyncIterator[Client]:
    options: dict[str, Any] = {"base_url": gateway.base_url + path, "api_key": key, "max_retries": 0, "timeout": 20}
    if kind == "sync":
        with OpenAI(**options | more) as client:
            yield client
    else:
        async with AsyncOpenAI(**options | more) as async_client:
            yield async_client


BOTH_KINDS = pytest.mark.parametrize("kind", ["sync", "async"])
"""For a test of each way in which the two clients differ; for all else one of them is enough."""


@pytest.fixture
def kind() -> str:
    return "sync"


@pytest.fixture(params=["/custom/v1", "/v1"], ids=["at its provider", "by model"])
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(kind: str, gateway: LiveGateway) -> AsyncIterator[Client]:
    async with opened(kind, gateway) as made:
        yield made


# -- chat --


@BOTH_KINDS
async def test_a_chat_is_answered_at_both_doors(kind: str, door: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, door) as client:
        done = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    assert done.object == "chat.completion"
    assert done.model == MODEL
    assert done.choices[0].message.role == "assistant"
    assert done.choices[0].message.content
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0


async def test_the_same_request_has_the_same_answer_and_another_has_another(client: Client) -> None:
    first = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    again = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    other = await settle(
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Name a river."}])
    )
    assert first.choices == again.choices
    assert first.choices[0].message.content != other.choices[0].message.content


@BOTH_KINDS
async def test_a_streamed_chat_is_the_whole_answer_in_pieces(kind: str, door: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, door) as client:
        whole = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
        chunks = await drain(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert len({chunk.id for chunk in chunks}) == len({chunk.created for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content


async def test_usage_comes_last_and_only_when_asked(client: Client) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = await drain(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])


@BOTH_KINDS
async def test_the_stream_helper_gathers_the_whole_answer(client: Client) -> None:
    whole = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    if isinstance(client, OpenAI):
        with client.chat.completions.stream(model=MODEL, messages=ASK) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_completion()
    else:
        async with client.chat.completions.stream(model=MODEL, messages=ASK) as async_stream:
            kinds = [event.type async for event in async_stream]
            final = await async_stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)
    assert final.choices[0].message.content == whole.choices[0].message.content


async def test_n_answers_are_numbered_in_order_streamed_or_not(client: Client) -> None:
    done = await settle(client.chat.completions.create(model=MODEL, messages=ASK, n=3))
    chunks = await drain(client.chat.completions.create(model=MODEL, messages=ASK, n=3, stream=True))
    assert [choice.index for choice in done.choices] == [0, 1, 2]
    for index in range(3):
        own = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in own) == done.choices[index].message.content
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["stop"]


async def test_a_stop_word_ends_the_answer_before_it(client: Client) -> None:
    whole = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    text = whole.choices[0].message.content or ""
    word = text.split()[1]
    cut = await settle(client.chat.completions.create(model=MODEL, messages=ASK, stop=[word]))
    assert cut.choices[0].message.content == text[: text.index(word)]
    assert cut.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_answer_and_says_so(client: Client, field: str) -> None:
    limit: dict[str, Any] = {field: 2}
    done = await settle(client.chat.completions.create(model=MODEL, messages=ASK, **limit))
    assert done.choices[0].finish_reason == "length"
    assert done.usage is not None
    assert done.usage.completion_tokens == 2


async def test_every_usual_option_is_taken_at_once(client: Client) -> None:
    done = await settle(
        client.chat.completions.create(
            model="a/b:c-1.5",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "Hello"}], "name": "ann"},
                {"role": "assistant", "content": "Hi."},
                {"role": "user", "content": "Go on."},
            ],
            temperature=0.1,
            top_p=0.9,
            presence_penalty=-0.5,
            frequency_penalty=0.5,
            logit_bias={"50256": -100},
            user="someone",
            seed=7,
            metadata={"a": "b"},
            store=False,
            service_tier="auto",
            reasoning_effort="low",
            extra_body={"x_unknown": {"a": [1, None]}},
        )
    )
    assert done.choices[0].message.content
    assert done.model == "a/b:c-1.5"


async def test_logprobs_are_given_when_asked_for(client: Client) -> None:
    done = await settle(client.chat.completions.create(model=MODEL, messages=ASK, logprobs=True, top_logprobs=2))
    logprobs = done.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert "".join(token.token for token in logprobs.content) == done.choices[0].message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in logprobs.content)


# -- tools --


async def test_auto_calls_the_tool_that_the_user_names_and_answers_after_its_result(client: Client) -> None:
    talk: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Use get_weather for Oslo."}]
    asked = await settle(client.chat.completions.create(model=MODEL, messages=talk, tools=[WEATHER, CLOCK]))
    assert asked.choices[0].finish_reason == "tool_calls"
    assert asked.choices[0].message.content is None
    calls = asked.choices[0].message.tool_calls or []
    assert [check_weather(call) for call in calls] == ["get_weather"]
    result = {"role": "tool", "tool_call_id": calls[0].id, "content": "Sunny."}
    talk += cast("list[ChatCompletionMessageParam]", [asked.choices[0].message.to_dict(), result])
    answered = await settle(client.chat.completions.create(model=MODEL, messages=talk, tools=[WEATHER, CLOCK]))
    assert answered.choices[0].finish_reason == "stop"
    assert answered.choices[0].message.content
    assert not answered.choices[0].message.tool_calls


def check_weather(call: object) -> str:
    """The name of a call whose arguments fit the schema."""
    assert isinstance(call, openai.types.chat.ChatCompletionMessageFunctionToolCall)
    check_arguments(call.function.arguments)
    return call.function.name


def check_arguments(text: str) -> None:
    arguments = json.loads(text)
    assert set(arguments) == {"city", "unit", "place"}
    assert isinstance(arguments["city"], str)
    assert arguments["unit"] in {"celsius", "fahrenheit"}
    assert isinstance(arguments["place"]["lat"], int | float)
    assert all(isinstance(tag, str) for tag in arguments["place"]["tags"])


async def test_auto_answers_in_words_when_no_tool_is_named(client: Client) -> None:
    done = await settle(client.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER, CLOCK]))
    assert done.choices[0].finish_reason == "stop"
    assert not done.choices[0].message.tool_calls


async def test_required_calls_a_tool(client: Client) -> None:
    done = await settle(
        client.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER], tool_choice="required")
    )
    assert [check_weather(call) for call in done.choices[0].message.tool_calls or []] == ["get_weather"]


async def test_a_named_tool_is_called_and_none_calls_nothing(client: Client) -> None:
    named = await settle(
        client.chat.completions.create(
            model=MODEL,
            messages=ASK,
            tools=[CLOCK, WEATHER],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
        )
    )
    none = await settle(
        client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Use get_time."}],
            tools=[CLOCK],
            tool_choice="none",
        )
    )
    assert [check_weather(call) for call in named.choices[0].message.tool_calls or []] == ["get_weather"]
    assert not none.choices[0].message.tool_calls


async def test_streamed_tool_calls_add_up_to_valid_arguments(client: Client) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=[WEATHER], tool_choice="required", stream=True
    )
    choices = [chunk.choices[0] for chunk in await drain(stream)]
    parts = [part for choice in choices for part in choice.delta.tool_calls or []]
    assert parts[0].id
    assert parts[0].type == "function"
    assert parts[0].function is not None
    assert parts[0].function.name == "get_weather"
    assert {part.index for part in parts} == {0}
    assert all(part.id is None for part in parts[1:])
    assert len(parts) > 2
    check_arguments("".join(part.function.arguments or "" for part in parts if part.function))
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]


async def test_the_stream_helper_parses_tool_calls(client: Client) -> None:
    tools = [openai.pydantic_function_tool(Wave, name="measure")]
    ask: Any = {"model": MODEL, "messages": ASK, "tools": tools, "tool_choice": "required"}
    assert isinstance(client, OpenAI)
    with client.chat.completions.stream(**ask) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert isinstance(calls[0].function.parsed_arguments, Wave)


# -- structured outputs --


async def test_parse_gives_an_instance_of_the_model(client: Client) -> None:
    done = await settle(client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Report))
    assert isinstance(done.choices[0].message.parsed, Report)


async def test_a_streamed_structured_answer_parses_too(client: Client) -> None:
    ask: Any = {"model": MODEL, "messages": ASK, "response_format": Report}
    assert isinstance(client, OpenAI)
    with client.chat.completions.stream(**ask) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Report)


async def test_json_object_gives_an_object(client: Client) -> None:
    done = await settle(
        client.chat.completions.create(model=MODEL, messages=ASK, response_format={"type": "json_object"})
    )
    assert isinstance(json.loads(done.choices[0].message.content or ""), dict)


# -- completions --


async def test_a_completion_is_answered_whole_and_streamed(kind: str, door: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, door) as client:
        whole = await settle(client.completions.create(model=MODEL, prompt="Once upon a time"))
        chunks = await drain(client.completions.create(model=MODEL, prompt="Once upon a time", stream=True))
    assert whole.object == "text_completion"
    assert whole.choices[0].text
    assert whole.usage is not None
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks][-1] == "stop"


async def test_completions_honour_prompts_n_echo_logprobs_and_limits(client: Client) -> None:
    many = await settle(client.completions.create(model=MODEL, prompt=["One", "Two"], n=2))
    echo = await settle(client.completions.create(model=MODEL, prompt="Echo me", echo=True))
    short = await settle(client.completions.create(model=MODEL, prompt="Be brief", max_tokens=2, logprobs=1))
    tokens = await settle(client.completions.create(model=MODEL, prompt=[1, 2, 3]))
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    assert echo.choices[0].text.startswith("Echo me")
    assert short.choices[0].finish_reason == "length"
    assert short.choices[0].logprobs is not None
    assert len(short.choices[0].logprobs.tokens or []) == 2
    assert tokens.choices[0].text


async def test_a_completion_stream_ends_with_usage_when_asked(client: Client) -> None:
    stream = client.completions.create(model=MODEL, prompt="Hi", stream=True, stream_options={"include_usage": True})
    chunks = await drain(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None


# -- embeddings --


@BOTH_KINDS
async def test_embeddings_are_the_same_as_base64_and_as_floats(kind: str, door: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, door) as client:
        coded = await settle(client.embeddings.create(model=MODEL, input="the sea"))
        plain = await settle(client.embeddings.create(model=MODEL, input="the sea", encoding_format="float"))
        explicit = await settle(client.embeddings.create(model=MODEL, input="the sea", encoding_format="base64"))
    assert len(coded.data[0].embedding) == 1536
    assert coded.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert math.sqrt(sum(x * x for x in plain.data[0].embedding)) == pytest.approx(1, abs=1e-5)
    raw = base64.b64decode(cast("str", explicit.data[0].embedding))
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(plain.data[0].embedding, abs=1e-6)


async def test_the_sdk_default_is_base64_on_the_wire(client: Client) -> None:
    raw = await settle(client.embeddings.with_raw_response.create(model=MODEL, input="the sea"))
    assert isinstance(json.loads(raw.text)["data"][0]["embedding"], str)


@pytest.mark.parametrize(
    ("given", "count"),
    [("one", 1), (["one", "two", "three"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
    ids=["a string", "strings", "tokens", "lists of tokens"],
)
async def test_each_form_of_input_is_embedded(client: Client, given: Any, count: int) -> None:
    done = await settle(client.embeddings.create(model=MODEL, input=given, dimensions=64))
    assert [item.index for item in done.data] == list(range(count))
    assert {len(item.embedding) for item in done.data} == {64}
    assert done.usage.total_tokens == done.usage.prompt_tokens > 0


# -- models --


async def test_models_are_listed_and_retrieved(kind: str, door: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, door) as client:
        listed = await drain(client.models.list())
        first = await settle(client.models.retrieve(listed[0].id))
    assert listed
    assert {model.object for model in listed} == {"model"}
    assert first == listed[0]


@pytest.mark.parametrize("ident", ["a/b", "hf.co/a/b:q4", "accounts/x/models/y", "name:tag"])
async def test_ids_with_slashes_and_colons_reach_the_provider(client: Client, ident: str) -> None:
    """The SDK encodes the slashes; the gateway must not take them for path segments."""
    with pytest.raises(openai.NotFoundError, match="lists only custom-chat"):  # in the provider's own words
        await settle(client.models.retrieve(ident))
    fault = await settle(client.models.retrieve("fault-429"))
    assert fault.id == "fault-429"


# -- errors --


@pytest.mark.parametrize("key", ["wrong", TEST_KEY + "x"])
async def test_a_wrong_key_is_an_authentication_error(kind: str, gateway: LiveGateway, key: str) -> None:
    async with opened(kind, gateway, key=key) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id
    assert key not in str(caught.value)


async def test_a_bad_request_names_its_field(client: Client) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await settle(client.chat.completions.create(model=MODEL, messages=ASK, temperature=9))
    assert caught.value.param == "temperature"
    assert caught.value.type == "invalid_request_error"


async def test_an_unknown_provider_is_not_found(kind: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, "/nobody/v1") as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    assert caught.value.code == "provider_not_found"


async def test_an_unknown_path_is_not_found(client: Client) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await settle(client.moderations.create(input="x"))
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("fault-429", openai.RateLimitError, "rate_limit_exceeded"),
        ("fault-500", openai.InternalServerError, None),
        ("fault-model-not-found", openai.NotFoundError, "model_not_found"),
    ],
)
async def test_a_fault_model_raises_its_class(
    client: Client, model: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as caught:
        await settle(client.chat.completions.create(model=model, messages=ASK))
    if code:
        assert caught.value.code == code
    if model == "fault-429":
        assert int(caught.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize("model", ["fault-429", "fault-500", "fault-model-not-found"])
async def test_a_fault_before_the_first_chunk_keeps_its_status(client: Client, model: str) -> None:
    whole = streamed = 0
    try:
        await settle(client.chat.completions.create(model=model, messages=ASK))
    except openai.APIStatusError as error:
        whole = error.status_code
    try:
        await drain(client.chat.completions.create(model=model, messages=ASK, stream=True))
    except openai.APIStatusError as error:
        streamed = error.status_code
    assert whole == streamed >= 400


async def test_an_error_in_the_middle_of_a_stream_is_raised(client: Client) -> None:
    stream = client.chat.completions.create(model="fault-midstream-error", messages=ASK, stream=True)
    with pytest.raises(openai.APIError) as caught:
        await drain(stream)
    assert not isinstance(caught.value, openai.APIStatusError)


async def test_a_truncated_stream_is_raised_as_truncated(client: Client) -> None:
    stream = client.chat.completions.create(model="fault-truncate", messages=ASK, stream=True)
    with pytest.raises(openai.APIError) as caught:
        await drain(stream)
    assert caught.value.code == "upstream_stream_truncated"


# -- headers, retries, time --


async def test_replies_carry_the_headers_that_clients_read(client: Client) -> None:
    raw = await settle(
        client.chat.completions.with_raw_response.create(
            model=MODEL, messages=ASK, extra_headers={"X-Request-ID": "my-request.1"}
        )
    )
    assert raw.headers["x-request-id"] == "my-request.1"
    assert raw.headers["openai-version"] == "2020-10-01"
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.headers["x-gateway-provider"] == "custom"
    assert raw.headers["content-type"] == "application/json"


async def test_parsed_replies_carry_a_request_id_of_their_own(client: Client) -> None:
    chat = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    vectors = await settle(client.embeddings.create(model=MODEL, input="x"))
    assert chat._request_id
    assert vectors._request_id
    assert chat._request_id != vectors._request_id


@BOTH_KINDS
async def test_a_raw_stream_has_its_headers_and_ends_with_one_done(client: Client) -> None:
    ask: Any = {"model": MODEL, "messages": ASK, "stream": True}
    if isinstance(client, OpenAI):
        with client.chat.completions.with_streaming_response.create(**ask) as response:
            headers, lines = response.headers, [line for line in response.iter_lines() if line]
    else:
        async with client.chat.completions.with_streaming_response.create(**ask) as async_response:
            headers = async_response.headers
            lines = [line async for line in async_response.iter_lines() if line]
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-request-id"]
    assert headers["x-gateway-provider"] == "custom"
    assert lines[-1] == "data: [DONE]"
    assert lines.count("data: [DONE]") == 1
    assert all(line.startswith("data: ") for line in lines)


async def test_the_sdk_retries_as_often_as_it_was_told(kind: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, max_retries=1) as client:
        raw = await settle(client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK))
        assert raw.retries_taken == 0
        with pytest.raises(openai.InternalServerError) as caught:
            await settle(client.chat.completions.create(model="fault-500", messages=ASK))
    assert caught.value.request is not None
    assert caught.value.request.headers["x-stainless-retry-count"] == "1"


async def test_a_slow_answer_runs_into_the_clients_timeout(kind: str, gateway: LiveGateway) -> None:
    async with opened(kind, gateway, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            await settle(client.chat.completions.create(model="fault-slow", messages=ASK))


@BOTH_KINDS
async def test_a_stream_that_is_left_leaves_the_gateway_well(client: Client) -> None:
    for _ in range(2):
        if isinstance(client, OpenAI):
            with client.chat.completions.create(model="fault-slow", messages=ASK, stream=True) as stream:
                next(iter(stream))
        else:
            async with await client.chat.completions.create(
                model="fault-slow", messages=ASK, stream=True
            ) as async_stream:
                await anext(aiter(async_stream))
    done = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    assert done.choices[0].message.content


# -- the yardstick itself --


@BOTH_KINDS
async def test_the_fault_upstream_satisfies_the_sdk_by_itself(kind: str, upstream: Upstream) -> None:
    """What the fault suite takes for good must be good without the gateway."""
    made = OpenAI if kind == "sync" else AsyncOpenAI
    client: Client = made(base_url=upstream.url, api_key="unused", max_retries=0)
    whole = await settle(client.chat.completions.create(model=MODEL, messages=ASK))
    chunks = await drain(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    vectors = await settle(client.embeddings.create(model=MODEL, input=["a", "b"]))
    await settle(client.close())
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert [len(item.embedding) for item in vectors.data] == [3, 3]
