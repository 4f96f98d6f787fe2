"""Tool calls by predictable rules: which tools are called, and with which arguments."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from pydantic import JsonValue

from ai_gateway.providers.custom import pattern, prompt, sample, text
from ai_gateway.providers.custom.dice import Dice, fingerprint
from ai_gateway.providers.custom.pattern_parser import UnsupportedPattern
from ai_gateway.providers.custom.work import Work
from gateway_contract.openai import models


@dataclass(frozen=True, slots=True)
class Tool:
    """An offered function or custom tool, with the constraints on its input."""

    name: str
    kind: Literal["function", "custom"] = "function"
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call; `input` is the JSON arguments of a function, or the text of a custom tool."""

    id: str
    name: str
    kind: Literal["function", "custom"]
    input: str


def called_tools(body: models.CreateChatCompletionRequest) -> list[Tool]:
    """The tools to call for this request; none if the answer is text."""
    offered = [_tool(tool) for tool in body.tools or ()]
    chosen = _chosen(body, offered)
    return chosen[:1] if body.parallel_tool_calls is False else chosen


def called_function(body: models.CreateChatCompletionRequest) -> Tool | None:
    """The same for the deprecated `functions`, of which at most one is called."""
    offered = [Tool(one.name, parameters=_schema(one.parameters)) for one in body.functions or ()]
    match body.function_call:
        case "none":
            return None
        case models.ChatCompletionFunctionCallOption(name=name):
            return _by_name(offered, name, "function")
        case _:
            return next(iter(_mentioned(offered, body)), None)


def call(tool: Tool, seed: str, work: Work) -> ToolCall:
    """A call of the tool with a valid input."""
    tool_input = _custom_input(tool, seed, work) if tool.kind == "custom" else _arguments(tool, seed, work)
    return ToolCall(f"call_{fingerprint(seed, tool.name)[:24]}", tool.name, tool.kind, tool_input)


def as_json(value: JsonValue) -> str:
    """Compact JSON text, as models write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _tool(tool: models.ChatCompletionTool | models.CustomToolChatCompletions) -> Tool:
    if isinstance(tool, models.ChatCompletionTool):
        return Tool(tool.function.name, parameters=_schema(tool.function.parameters))
    expression = None
    if isinstance(tool.custom.format, models.CustomToolChatCompletionsCustomFormatGrammar):
        grammar = tool.custom.format.grammar
        expression = grammar.definition if grammar.syntax == "regex" else None
    return Tool(tool.custom.name, "custom", expression=expression)


def _schema(parameters: models.FunctionParameters | None) -> Mapping[str, JsonValue]:
    return {} if parameters is None else cast("Mapping[str, JsonValue]", parameters.model_extra or {})


def _chosen(body: models.CreateChatCompletionRequest, offered: Sequence[Tool]) -> list[Tool]:
    match body.tool_choice:
        case "none":
            return []
        case "required":
            return _mentioned(offered, body) or list(offered[:1])
        case models.ChatCompletionNamedToolChoice(function=function):
            return [_by_name(offered, function.name, "function")]
        case models.ChatCompletionNamedToolChoiceCustom(custom=custom):
            return [_by_name(offered, custom.name, "custom")]
        case models.ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            listed = _allowed(allowed, offered)
            return _mentioned(listed, body) or (listed[:1] if allowed.mode == "required" else [])
        case _:
            return _mentioned(offered, body)


def _by_name(offered: Sequence[Tool], name: str, kind: Literal["function", "custom"]) -> Tool:
    """The tool of that name; one without parameters if it was not offered, since it must be called anyway."""
    return next((tool for tool in offered if (tool.name, tool.kind) == (name, kind)), Tool(name, kind))


def _allowed(allowed: models.ChatCompletionAllowedTools, offered: Sequence[Tool]) -> list[Tool]:
    kinds: tuple[Literal["function", "custom"], ...] = ("function", "custom")
    named = [(entry[kind].get("name"), kind) for entry in allowed.tools for kind in kinds if _is_named(entry, kind)]
    return [_by_name(offered, name, kind) for name, kind in named if isinstance(name, str)]


def _is_named(entry: Mapping[str, object], kind: str) -> bool:
    return isinstance(entry.get(kind), dict)


def _mentioned(offered: Sequence[Tool], body: models.CreateChatCompletionRequest) -> list[Tool]:
    """The tools whose names occur as words in a final user message, in the order of `tools`."""
    message = prompt.final_user_text(body.messages)
    return [tool for tool in offered if tool.name in message and _is_word_in(tool.name, message)]


def _is_word_in(name: str, message: str) -> bool:
    return bool(name) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) is not None


def _arguments(tool: Tool, seed: str, work: Work) -> str:
    return as_json(sample.object_instance(dict(tool.parameters), seed, work)) if tool.parameters else "{}"


def _custom_input(tool: Tool, seed: str, work: Work) -> str:
    dice = Dice(seed)
    if tool.expression is None:
        return text.phrase(dice)
    try:
        return pattern.write(tool.expression, dice, work)
    except UnsupportedPattern:
        return text.phrase(dice)
