"""What agents' libraries make of the gateway, on the Responses API and on Messages: prints what they got as JSON.

Runs in an environment of its own, see `test_agents.py`. The address and the key come from the environment.
"""

import asyncio
import json
import os
import sys
from typing import Any

from agents import (  # type: ignore[import-not-found] # it is not in this environment
    Agent,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from langchain_anthropic import ChatAnthropic  # type: ignore[import-not-found]
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent  # type: ignore[import-not-found]
from pydantic_ai.models.anthropic import AnthropicModel  # type: ignore[import-not-found]
from pydantic_ai.models.openai import OpenAIResponsesModel as PydanticResponses  # type: ignore[import-not-found]
from pydantic_ai.providers.anthropic import AnthropicProvider  # type: ignore[import-not-found]
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]

URL, KEY = os.environ["GATEWAY_URL"] + "/custom", os.environ["GATEWAY_KEY"]
ASK, TOOL_ASK = "Tell me about the tides.", "Use get_weather for Oslo."
CUT = "fault-truncate"


class Answer(BaseModel):
    title: str
    score: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    CALLED.append(city)
    return "rain"


CALLED: list[str] = []


async def agents() -> dict[str, Any]:
    """openai-agents, which speaks Responses unless it is told otherwise."""
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)

    def agent(model: str, **more: Any) -> Any:
        return Agent("tester", model=OpenAIResponsesModel(model, client), tools=[function_tool(get_weather)], **more)

    async def streamed(model: str, ask: str) -> tuple[list[str], Any]:
        run = Runner.run_streamed(agent(model), ask)
        kinds = [
            event.data.type if event.type == "raw_response_event" else event.type async for event in run.stream_events()
        ]
        return kinds, run.final_output

    CALLED.clear()
    whole = await Runner.run(agent("m"), TOOL_ASK)
    kinds, reported = await streamed("m", TOOL_ASK)
    structured = await Runner.run(agent("m", output_type=Answer), "Rate it.")
    return {
        "whole": whole.final_output,
        "streamed": reported,
        "kinds": kinds,
        "called": len(CALLED),
        "structure": structured.final_output.model_dump(),
        "cut": await raised(lambda: streamed(CUT, ASK)),
    }


async def langchain() -> dict[str, Any]:
    """LangChain on both wires."""
    openai = ChatOpenAI(model="m", base_url=URL + "/v1", api_key=KEY, use_responses_api=True)
    anthropic = ChatAnthropic(model="m", base_url=URL, api_key=KEY, max_retries=0)
    return {"responses": await chained(openai), "messages": await chained(anthropic)}


async def chained(model: Any) -> dict[str, Any]:
    tools = model.bind_tools([get_weather])
    asked = HumanMessage(TOOL_ASK)
    called = await tools.ainvoke([asked])
    result = ToolMessage("rain", tool_call_id=called.tool_calls[0]["id"])
    pieces = [piece async for piece in model.astream(ASK)]
    calls = [piece async for piece in tools.astream([asked])]
    whole, call = pieces[0], calls[0]
    for piece in pieces[1:]:
        whole += piece
    for piece in calls[1:]:
        call += piece
    return {
        "text": (await model.ainvoke(ASK)).text,
        "pieces": len(pieces),
        "streamed": whole.text,
        "usage": whole.usage_metadata["output_tokens"],
        "called": called.tool_calls[0]["name"],
        "streamed_call": call.tool_calls[0]["name"],
        "same": call.tool_calls[0]["args"] == called.tool_calls[0]["args"],
        "after": (await tools.ainvoke([asked, called, result])).text,
        "structure": (await model.with_structured_output(Answer).ainvoke("Rate it.")).model_dump(),
    }


def over_responses(model: str) -> Any:
    return PydanticResponses(model, provider=OpenAIProvider(base_url=URL + "/v1", api_key=KEY))


def over_messages(model: str) -> Any:
    return AnthropicModel(model, provider=AnthropicProvider(base_url=URL, api_key=KEY))


async def pydantic() -> dict[str, Any]:
    """pydantic-ai on both wires."""
    return {"responses": await typed(over_responses), "messages": await typed(over_messages)}


async def typed(model: Any) -> dict[str, Any]:
    CALLED.clear()
    agent = PydanticAgent(model("m"), tools=[get_weather])
    whole = await agent.run(TOOL_ASK)
    async with agent.run_stream(TOOL_ASK) as run:
        pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
        usage = run.usage
    structured = await PydanticAgent(model("m"), output_type=Answer).run("Rate it.")

    async def cut() -> None:
        async with PydanticAgent(model(CUT)).run_stream(ASK) as run:
            async for _ in run.stream_text():
                pass

    return {
        "whole": whole.output,
        "streamed": "".join(pieces),
        "pieces": len(pieces),
        "tokens": usage.output_tokens,
        "called": len(CALLED),
        "structure": structured.output.model_dump(),
        "cut": await raised(cut),
    }


async def raised(work: Any) -> str:
    """The class of what is raised."""
    try:
        await work()
    except Exception as error:  # whatever it is, it is the answer
        return type(error).__name__
    return "nothing"


async def main() -> None:
    found = {"agents": await agents(), "langchain": await langchain(), "pydantic": await pydantic()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
