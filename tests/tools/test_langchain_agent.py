"""LangChain's own agent with tools that the gateway runs beside tools of its own, whole and streamed, offline.

LangChain takes no kinds of tools that it does not know: `Chat` is what its users write to have those of the gateway.
"""

from collections.abc import Sequence
from typing import Any, override

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.support.gateway import TEST_KEY, LiveGateway

pytestmark = pytest.mark.slow

SEARCH = {"type": "gateway:web_search", "max_results": 2}
WEATHER_ALONE = 'Use get_weather {"city": "Oslo"}.'
SEARCH_ALONE = 'Use gateway_web_search {"query": "tea"}.'
BOTH_TOOLS = 'Use gateway_web_search and get_weather {"city": "Oslo"}.'
IN_A_STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


class Chat(ChatOpenAI):
    """Has tools of the gateway sent as they are, beside those that LangChain knows."""

    @override
    def bind_tools(self, tools: Sequence[Any], **more: Any) -> Runnable[LanguageModelInput, AIMessage]:
        ours = [each for each in tools if isinstance(each, dict) and each["type"].startswith("gateway:")]
        bound = super().bind_tools([each for each in tools if each not in ours], **more)
        return bound.bind(tools=[*bound.kwargs["tools"], *ours])  # type: ignore[attr-defined]


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


def agent(gateway: LiveGateway, *tools: Any, **settings: Any) -> Any:
    model = Chat(
        base_url=f"{gateway.base_url}/v1",
        api_key=SecretStr(TEST_KEY),
        model="custom-chat",
        max_retries=0,
        **{"use_responses_api": False, **settings},
    )
    return create_agent(model, [get_weather, *tools])


def run(made: Any, asked: str, *, stream: bool) -> tuple[list[BaseMessage], str]:
    """Every message of the conversation, and the text as it came."""
    asking = {"messages": [{"role": "user", "content": asked}]}
    if not stream:
        messages = made.invoke(asking)["messages"]
        return messages, messages[-1].text
    pieces: list[str] = []
    messages = []
    for mode, event in made.stream(asking, stream_mode=["messages", "values"]):
        if mode == "values":
            messages = event["messages"]
        elif isinstance(event[0], AIMessageChunk):
            pieces.append(event[0].text)
    return messages, "".join(pieces)


def called(messages: Sequence[BaseMessage]) -> list[str]:
    """What the agent was told to call."""
    return [call["name"] for each in messages if isinstance(each, AIMessage) for call in each.tool_calls]


def results(messages: Sequence[BaseMessage]) -> list[str]:
    return [each.text for each in messages if isinstance(each, ToolMessage)]


@IN_A_STREAM
def test_an_agent_has_a_search_that_it_does_not_run_itself(gateway: LiveGateway, stream: bool) -> None:
    messages, text = run(agent(gateway, SEARCH), SEARCH_ALONE, stream=stream)
    assert called(messages) == []
    assert results(messages) == []
    assert "[1]" in text, "the search's first result is cited"
    assert messages[-1].text == text


@IN_A_STREAM
def test_an_agent_gets_its_own_calls_and_no_others(gateway: LiveGateway, stream: bool) -> None:
    messages, text = run(agent(gateway, SEARCH), BOTH_TOOLS, stream=stream)
    assert called(messages) == ["get_weather"]
    assert results(messages) == ["Rain in Oslo."]
    assert messages[-1].text
    assert text.endswith(messages[-1].text)


@IN_A_STREAM
def test_an_agent_with_its_own_tools_alone_goes_on_to_its_end(gateway: LiveGateway, stream: bool) -> None:
    messages, _ = run(agent(gateway, SEARCH), WEATHER_ALONE, stream=stream)
    assert called(messages) == ["get_weather"]
    assert results(messages) == ["Rain in Oslo."]
    assert messages[-1].text


@IN_A_STREAM
def test_an_agent_by_the_responses_api_has_the_search_by_its_own_name(gateway: LiveGateway, stream: bool) -> None:
    made = agent(gateway, {"type": "web_search"}, use_responses_api=True)
    messages, text = run(made, SEARCH_ALONE, stream=stream)
    assert called(messages) == []
    assert "[1]" in text
    assert any(block["type"] == "web_search_call" for block in messages[-1].content if isinstance(block, dict))
