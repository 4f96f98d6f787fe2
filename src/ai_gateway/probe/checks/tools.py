"""Tool calls."""

import json
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from ai_gateway.probe.check import Check
from ai_gateway.probe.checks.stream import exact_chunks, finished_once, one_done
from ai_gateway.probe.judge import answer_text, exact, expect, supported, supported_json
from ai_gateway.probe.probe import Probe, user
from ai_gateway.probe.reply import ABSENT, Events, Reply, count, dig, items, string
from ai_gateway.probe.verdict import Failed
from gateway_contract.openai import models

_FIELDS = ("tools", "tool_choice", "parallel_tool_calls", "messages")


class Weather(BaseModel):
    """The function's parameters, as in its schema."""

    model_config = ConfigDict(extra="forbid")
    city: str
    unit: Literal["celsius", "fahrenheit"]


def _tool(name: str, description: str) -> dict[str, object]:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    function = {"name": name, "description": description, "parameters": parameters, "strict": True}
    return {"type": "function", "function": function}


_TOOLS: Final = [_tool("get_weather", "The weather now."), _tool("get_forecast", "The weather tomorrow.")]
_MESSAGES: Final = [user("What is the weather in Oslo, in celsius?")]


def _choose(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name}}


async def _chat(probe: Probe, **fields: object) -> Reply:
    return supported(await probe.chat(**{"messages": _MESSAGES, "tools": _TOOLS, **fields}), *_FIELDS)


def _calls(reply: Reply) -> list[object]:
    calls = items(reply.value(), "choices", 0, "message", "tool_calls")
    expect(bool(calls), "a tool call", reply)
    return calls


async def _auto(probe: Probe) -> None:
    reply = await _chat(probe)
    exact(models.CreateChatCompletionResponse, reply.value(), reply)


async def _required(probe: Probe) -> None:
    reply = await _chat(probe, tool_choice="required")
    exact(models.CreateChatCompletionResponse, reply.value(), reply)
    _calls(reply)


async def _finish(probe: Probe) -> None:
    reply = await _chat(probe, tool_choice="required")
    reason = dig(reply.value(), "choices", 0, "finish_reason")
    expect(reason == "tool_calls", "finish_reason 'tool_calls'", reply)


async def _ids(probe: Probe) -> None:
    reply = await _chat(probe, tool_choice="required")
    ids = [string(call, "id") for call in _calls(reply)]
    expect(all(ids) and len(ids) == len(set(ids)), "an id of its own for each call", reply)


async def _arguments(probe: Probe) -> None:
    reply = await _chat(probe, tool_choice="required")
    for call in _calls(reply):
        _fit(string(call, "function", "arguments"), reply)


def _fit(arguments: str, seen: object) -> None:
    try:
        value = json.loads(arguments)
    except ValueError:
        raise Failed("arguments that are JSON in a string", seen) from None
    exact(Weather, value, arguments)


async def _named(probe: Probe) -> None:
    reply = await _chat(probe, tool_choice=_choose("get_forecast"))
    names = {string(call, "function", "name") for call in _calls(reply)}
    expect(names == {"get_forecast"}, "a call of get_forecast only", reply)


async def _none(probe: Probe) -> None:
    reply = await _chat(probe, tool_choice="none")
    message = dig(reply.value(), "choices", 0, "message")
    expect(dig(message, "tool_calls") is ABSENT, "no tool_calls at all", reply)
    expect(bool(answer_text(reply.value())), "text", reply)


async def _single(probe: Probe) -> None:
    reply = await _chat(probe, tool_choice="required", parallel_tool_calls=False)
    expect(len(_calls(reply)) == 1, "one call", reply)


async def _result(probe: Probe) -> None:
    arguments = '{"city":"Oslo","unit":"celsius"}'
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    conversation = [
        *_MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "7 degrees, rain"},
    ]
    reply = await probe.chat(messages=conversation, tools=_TOOLS)
    value = supported_json(reply, *_FIELDS)
    exact(models.CreateChatCompletionResponse, value, reply)
    expect(bool(answer_text(value)), "text", reply)


async def _streamed(probe: Probe) -> Events:
    return (await _chat(probe, tool_choice="required", stream=True)).events()


async def _stream_exact(probe: Probe) -> None:
    stream = await _streamed(probe)
    exact_chunks(stream)
    one_done(stream)


def _deltas(stream: Events) -> dict[int, list[object]]:
    """The deltas of each call, by its index."""
    calls: dict[int, list[object]] = {}
    for choice in stream.choices():
        for delta in items(choice, "delta", "tool_calls"):
            calls.setdefault(count(delta, "index"), []).append(delta)
    expect(bool(calls), "deltas of a tool call", stream.reply)
    return calls


async def _stream_deltas(probe: Probe) -> None:
    for index, (first, *later) in _deltas(await _streamed(probe)).items():
        expect(index >= 0, "an index in every delta of a call", first)
        known = string(first, "id") and string(first, "function", "name") and dig(first, "type") == "function"
        expect(bool(known), "id, type and function.name in a call's first delta", first)
        again = [delta for delta in later if string(delta, "id") or string(delta, "function", "name")]
        expect(not again, "arguments only in a call's later deltas", again)


async def _stream_arguments(probe: Probe) -> None:
    for deltas in _deltas(await _streamed(probe)).values():
        arguments = "".join(string(delta, "function", "arguments") for delta in deltas)
        _fit(arguments, arguments)


async def _stream_finish(probe: Probe) -> None:
    finished_once(await _streamed(probe), "tool_calls")


_REPLY = "CreateChatCompletionResponse"
CHECKS: Final = (
    Check("tools-auto", "tools", "Tools are accepted", _REPLY, _auto),
    Check("tools-required", "tools", "A required call is made, and exact", _REPLY, _required),
    Check("tools-finish", "tools", "A call finishes with tool_calls", "tool-choice", _finish),
    Check("tools-ids", "tools", "Every call has an id", "tool-choice", _ids),
    Check("tools-arguments", "tools", "Arguments follow the function's schema", "function-schema", _arguments),
    Check("tools-named", "tools", "The named function is called", "tool-choice", _named),
    Check("tools-none", "tools", "none is honoured", "tool-choice", _none),
    Check("tools-single", "tools", "parallel_tool_calls: false gives one call", "tool-choice", _single),
    Check("tools-result", "tools", "A tool result is answered with text", _REPLY, _result),
    Check("tools-stream", "tools", "A streamed call is exact", "CreateChatCompletionStreamResponse", _stream_exact),
    Check("tools-stream-deltas", "tools", "Its pieces come in order", "tool-call-deltas", _stream_deltas),
    Check("tools-stream-arguments", "tools", "They form valid arguments", "function-schema", _stream_arguments),
    Check("tools-stream-finish", "tools", "The stream finishes with tool_calls", "finish-once", _stream_finish),
)
