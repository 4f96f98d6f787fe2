"""Agents' libraries on the Responses API over providers of other wires, streamed: prints what they got as JSON.

Runs in an environment of its own, see `test_agents_over_adapters.py`. The address, the key and the models come from
the environment.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from agents import (  # type: ignore[import-not-found] # it is not in this environment
    Agent,
    ModelSettings,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic_ai import Agent as PydanticAgent  # type: ignore[import-not-found]
from pydantic_ai.models.openai import OpenAIResponsesModel as PydanticResponses  # type: ignore[import-not-found]
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]

URL, KEY = os.environ["GATEWAY_URL"] + "/v1", os.environ["GATEWAY_KEY"]
ASK = "How is the weather in Oslo?"


def zebra(z: str, n: int) -> str:
    """The weather in a city, under the name that the fakes' models call a tool by."""
    CALLED.append(f"{z} {n}")
    return "rain"


CALLED: list[str] = []


async def agents(model: str) -> str:
    """openai-agents, which asks for sealed reasoning and sends it back."""
    client = AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0)
    settings = ModelSettings(
        reasoning=Reasoning(effort="low", summary="auto"), response_include=["reasoning.encrypted_content"]
    )
    agent = Agent(
        "tester", model=OpenAIResponsesModel(model, client), tools=[function_tool(zebra)], model_settings=settings
    )
    run = Runner.run_streamed(agent, ASK)
    async for _ in run.stream_events():
        pass
    return str(run.final_output)


async def langchain(model: str) -> str:
    """LangChain, with the chunks of a turn put together."""
    tools = ChatOpenAI(
        model=model, base_url=URL, api_key=KEY, use_responses_api=True, include=["reasoning.encrypted_content"],
        reasoning={"effort": "low", "summary": "auto"},
    ).bind_tools([zebra])  # fmt: skip
    said: list[Any] = [HumanMessage(ASK)]
    for _ in range(3):
        pieces = [piece async for piece in tools.astream(said)]
        whole: Any = pieces[0]
        for piece in pieces[1:]:
            whole += piece
        said.append(whole)
        if not whole.tool_calls:
            return str(whole.text)
        said += [ToolMessage(zebra(**call["args"]), tool_call_id=call["id"]) for call in whole.tool_calls]
    return "endless"


async def pydantic(model: str) -> str:
    """pydantic-ai."""
    made = PydanticResponses(model, provider=OpenAIProvider(base_url=URL, api_key=KEY))
    settings = {"openai_reasoning_effort": "low", "openai_reasoning_summary": "auto"}
    async with PydanticAgent(made, tools=[zebra], model_settings=settings).run_stream(ASK) as run:
        return str(await run.get_output())


async def of(work: Callable[[str], Awaitable[str]], model: str) -> dict[str, Any]:
    CALLED.clear()
    try:
        reported = await work(model)
    except Exception as error:  # whatever it is, it is the answer
        reported = f"{type(error).__name__}: {error}"
    return {"told": reported, "called": len(CALLED)}


async def main() -> None:
    set_tracing_disabled(True)
    models = os.environ["MODELS"].split(",")
    found = {f"{work.__name__} {model}": await of(work, model) for model in models for work in WORKS}
    sys.stdout.write(json.dumps(found))


WORKS = (agents, langchain, pydantic)

if __name__ == "__main__":
    asyncio.run(main())
