"""Anthropic's own Python SDK against the live gateway, in front of an upstream of each wire."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from pydantic import BaseModel

from tests.support.anthropic_targets import ANTHROPIC, CUSTOM, OPENAI, TARGETS, Target, in_front_of_all
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

ASK: list[Any] = [{"role": "user", "content": "Tell me about the tides, please."}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways, upstream: Upstream, ollama_upstream: Upstream) -> Iterator[LiveGateway]:
    with in_front_of_all(gateway_for, upstream, ollama_upstream) as running:
        yield running


@pytest.fixture
def sdk(live: LiveGateway) -> Iterator[Anthropic]:
    """The SDK as its users make it; whatever warns is an error here, a reply that is not exact among it."""
    with Anthropic(base_url=live.base_url, api_key=TEST_KEY, max_retries=0) as client:
        yield client


def said(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@each_target
def test_a_message_is_answered_whole(sdk: Anthropic, target: Target) -> None:
    message = sdk.messages.create(model=target.model, max_tokens=1024, messages=ASK)
    assert target.said in said(message)
    # What is relayed says what the upstream calls its model.
    name = target.model.removeprefix("anthropic/")
    assert (message.type, message.role, message.model, message.stop_sequence) == ("message", "assistant", name, None)
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert message._request_id


@each_target
def test_a_streamed_message(sdk: Anthropic, target: Target) -> None:
    with sdk.messages.stream(model=target.model, max_tokens=1024, messages=ASK) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert target.said in said(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0
    plain = sdk.messages.create(model=target.model, max_tokens=1024, messages=ASK, stream=True)
    assert {event.type for event in plain} >= {"message_start", "content_block_delta", "message_delta", "message_stop"}


@each_target
def test_a_call_of_a_tool_and_its_result(sdk: Anthropic, target: Target) -> None:
    first = sdk.messages.create(
        model=target.tool, max_tokens=1024, messages=ASK, tools=[WEATHER], tool_choice={"type": "any"}
    )
    call = first.content[-1]
    assert call.type == "tool_use"
    assert first.stop_reason == "tool_use"
    if target is not ANTHROPIC:  # whose replies are relayed, and are the service's own affair
        assert call.caller == anthropic.types.DirectCaller(type="direct")
    assert isinstance(call.input, dict)
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    second = sdk.messages.create(
        model=target.model,
        max_tokens=1024,
        messages=[*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}],
        tools=[WEATHER],
        tool_choice={"type": "none"} if target is CUSTOM else {"type": "auto"},
    )
    assert second.content


@each_target
def test_a_streamed_call(sdk: Anthropic, target: Target) -> None:
    with sdk.messages.stream(
        model=target.tool, max_tokens=1024, messages=ASK, tools=[WEATHER], tool_choice={"type": "any"}
    ) as stream:
        message = stream.get_final_message()
    call = message.content[-1]
    assert call.type == "tool_use"
    assert isinstance(call.input, dict)
    assert message.stop_reason == "tool_use"


def test_the_tool_runner_goes_on_until_there_is_an_answer(sdk: Anthropic) -> None:
    called = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return f"sunny in {city}"

    runner = sdk.beta.messages.tool_runner(model=OPENAI.model, max_tokens=1024, messages=ASK, tools=[get_weather])
    last = runner.until_done()
    assert called == ["a"]
    assert last.content[0].type == "text"
    assert last.content[0].text == "It says: sunny in a"


class City(BaseModel):
    name: str
    people: int


def test_a_parsed_message(sdk: Anthropic) -> None:
    parsed = sdk.messages.parse(model=CUSTOM.model, max_tokens=1024, messages=ASK, output_format=City)
    assert isinstance(parsed.parsed_output, City)


@pytest.mark.parametrize("target", [t for t in TARGETS.values() if t.thinks], ids=lambda t: t.name)
def test_thinking_comes_as_blocks(sdk: Anthropic, target: Target) -> None:
    budget: Any = {"type": "enabled", "budget_tokens": 2048}
    thinking: Any = {"type": "adaptive"} if target is ANTHROPIC else budget
    message = sdk.messages.create(model=target.thinks, max_tokens=4096, messages=ASK, thinking=thinking)
    thought = message.content[0]
    assert thought.type == "thinking"
    assert thought.thinking
    assert bool(thought.signature) == (target is ANTHROPIC)
    with sdk.messages.stream(model=target.thinks, max_tokens=4096, messages=ASK, thinking=thinking) as stream:
        again = stream.get_final_message()
    assert again.content[0].type == "thinking"
    assert again.content[0].thinking == thought.thinking


@each_target
def test_tokens_of_a_request_are_counted(sdk: Anthropic, target: Target) -> None:
    few = sdk.messages.count_tokens(model=target.model, messages=ASK).input_tokens
    more = sdk.messages.count_tokens(model=target.model, messages=ASK, tools=[WEATHER], system="Be brief.").input_tokens
    assert 5 < few < more


def test_the_models_page_by_page(sdk: Anthropic) -> None:
    page = sdk.models.list(limit=2)
    assert len(page.data) == 2
    assert page.has_more
    ids = [model.id for model in sdk.models.list(limit=2)]
    assert len(ids) == len(set(ids)) > 3
    assert sdk.models.retrieve("custom-chat").type == "model"
    with pytest.raises(anthropic.NotFoundError):
        sdk.models.retrieve("nobody/has-this")


@each_target
def test_errors_are_those_that_the_sdk_knows(sdk: Anthropic, target: Target) -> None:
    with pytest.raises(anthropic.RateLimitError) as busy:
        sdk.messages.create(model=target.busy, max_tokens=9, messages=ASK)
    assert busy.value.response.headers["retry-after"].isdecimal()
    assert busy.value.type == "rate_limit_error"
    with pytest.raises(anthropic.NotFoundError) as missing:
        sdk.messages.create(model=target.missing, max_tokens=9, messages=ASK)
    assert missing.value.type == "not_found_error"
    with (
        pytest.raises(anthropic.APIError),
        sdk.messages.stream(model=target.broken, max_tokens=9, messages=ASK) as stream,
    ):
        stream.get_final_message()


def test_overloaded_has_the_status_by_which_clients_wait(sdk: Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        sdk.messages.create(model="anthropic/status-529", max_tokens=9, messages=ASK)
    assert caught.value.status_code == 529
    assert caught.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index] # JSON
    assert caught.value.request_id


def test_wrong_keys_and_wrong_bodies(live: LiveGateway, sdk: Anthropic) -> None:
    for client in (
        Anthropic(base_url=live.base_url, api_key="wrong", max_retries=0),
        Anthropic(base_url=live.base_url, auth_token="wrong", max_retries=0),
    ):
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.messages.create(model=CUSTOM.model, max_tokens=9, messages=ASK)
        assert caught.value.type == "authentication_error"
        client.close()
    nobody: Any = [{"role": "nobody", "content": "x"}]
    with pytest.raises(anthropic.BadRequestError) as wrong:
        sdk.messages.create(model=CUSTOM.model, max_tokens=9, messages=nobody)
    assert "messages.0.role: " in wrong.value.message
    assert wrong.value.request_id == wrong.value.body["request_id"]  # type: ignore[index] # JSON
    with Anthropic(base_url=live.base_url, auth_token=TEST_KEY) as bearer:
        assert bearer.messages.create(model=CUSTOM.model, max_tokens=9, messages=ASK).content


def test_the_sdk_retries_what_it_is_told_to(live: LiveGateway, upstream: Upstream) -> None:
    upstream.forget()
    with (
        Anthropic(base_url=live.base_url, api_key=TEST_KEY, max_retries=1) as client,
        pytest.raises(anthropic.InternalServerError),
    ):
        client.messages.create(model="lab/status-500#retried", max_tokens=9, messages=ASK)
    assert len(upstream.seen("status-500#retried")) == 2


def test_the_same_asynchronously_and_behind_a_provider(live: LiveGateway) -> None:
    async def both() -> tuple[str, str]:
        async with AsyncAnthropic(base_url=f"{live.base_url}/custom", api_key=TEST_KEY) as client:
            whole = await client.messages.create(model="custom-chat", max_tokens=99, messages=ASK)
            async with client.messages.stream(model="custom-chat", max_tokens=99, messages=ASK) as stream:
                text = await stream.get_final_text()
            assert (await client.models.list()).data[0].id == "custom-chat"
            return said(whole), text

    whole, streamed = asyncio.run(both())
    assert whole == streamed
