"""Tool calls by predictable rules: which tools are called, and with which arguments."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from pydantic import JsonValue

from ai_gateway.errors import InvalidRequest
from ai_gateway.providers.custom import pattern, prompt, sample, text
from ai_gateway.providers.custom.dice import Dice, fingerprint
from ai_gateway.providers.custom.pattern_parser import UnsupportedPattern
from ai_gateway.providers.custom.work import Work
from gateway_contract.openai import models

type _Kind = Literal["function", "custom"]

_WORD = re.compile(r"\w+")
_SEARCHED_EACH = 500  # characters that are searched for a name in one step of work
_SHOWN = 64
_CALLING = 20  # the work of one call without its arguments

# A tool that the gateway runs may also be called by its type, as in `gateway:web_search`.
_HOSTED = "gateway_"
_AFTERWARDS = re.compile(r"\bafterwards\b")
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Tool:
    """An offered function or custom tool, with the constraints on its input, and the input that the prompt dictates."""

    name: str
    kind: _Kind = "function"
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    expression: str | None = None
    given: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call; `input` is the JSON arguments of a function, or the text of a custom tool."""

    id: str
    name: str
    kind: _Kind
    input: str


# The gateway's tools have become functions by the time that a provider gets a request.
_OWN = (models.ChatCompletionTool, models.CustomToolChatCompletions)


def called_tools(body: models.CreateChatCompletionRequest, work: Work) -> list[Tool]:
    """The tools to call for this request; none if the answer is text. Raises InvalidRequest for one that is missing."""
    offered = [_tool(tool) for tool in body.tools or () if isinstance(tool, _OWN)]
    chosen = _chosen(body, offered, work)
    return chosen[:1] if body.parallel_tool_calls is False else chosen


def called_function(body: models.CreateChatCompletionRequest, work: Work) -> Tool | None:
    """The same for the deprecated `functions`, of which at most one is called."""
    offered = [Tool(one.name, parameters=_schema(one.parameters)) for one in body.functions or ()]
    match body.function_call:
        case "none":
            return None
        case models.ChatCompletionFunctionCallOption(name=name):
            return _Offered(offered, "functions", "function_call").named(name, "function")
        case _:
            return next(iter(_mentioned(offered, body, work)), None)


def call(tool: Tool, seed: str, work: Work) -> ToolCall:
    """A call of the tool with a valid input."""
    work.subject = "tools"
    work.spend(_CALLING)
    tool_input = tool.given
    if tool.kind == "custom":
        tool_input = _custom_input(tool, seed, work)
    elif tool_input is None:
        tool_input = _arguments(tool, seed, work)
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


def _chosen(body: models.CreateChatCompletionRequest, offered: Sequence[Tool], work: Work) -> list[Tool]:
    known = _Offered(offered, "tools", "tool_choice")
    match body.tool_choice:
        case "none":
            return []
        case "required":
            known.require_any()
            return _mentioned(offered, body, work) or list(offered[:1])
        case models.ChatCompletionNamedToolChoice(function=function):
            return [known.named(function.name, "function")]
        case models.ChatCompletionNamedToolChoiceCustom(custom=custom):
            return [known.named(custom.name, "custom")]
        case models.ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            listed = _allowed(allowed, known)
            return _mentioned(listed, body, work) or (listed[:1] if allowed.mode == "required" else [])
        case _:
            return _mentioned(offered, body, work)


class _Offered:
    """The tools of a request by name. `field` holds them, and `choice` says which is called."""

    def __init__(self, tools: Sequence[Tool], field: str, choice: str) -> None:
        self._tools = {
            (tool.name, tool.kind): tool for tool in reversed(tools)
        }  # of two with one name the first counts
        self._field = field
        self._choice = choice

    def require_any(self) -> None:
        """Raises InvalidRequest if there are none."""
        if not self._tools:
            raise InvalidRequest(
                f"'{self._choice}' asks for a call, but there are no '{self._field}': add some, or leave it out.",
                param=self._choice,
            )

    def named(self, name: str, kind: _Kind) -> Tool:
        """The tool of that name. Raises InvalidRequest if it was not offered."""
        self.require_any()
        tool = self._tools.get((name, kind))
        if tool is None:
            raise InvalidRequest(
                f"'{self._choice}' names '{name[:_SHOWN]}', which is not in '{self._field}': add it there.",
                param=self._choice,
            )
        return tool


def _allowed(allowed: models.ChatCompletionAllowedTools, known: _Offered) -> list[Tool]:
    kinds: tuple[_Kind, ...] = ("function", "custom")
    named = [(entry[kind].get("name"), kind) for entry in allowed.tools for kind in kinds if _is_named(entry, kind)]
    return [known.named(name, kind) for name, kind in named if isinstance(name, str)]


def _is_named(entry: Mapping[str, object], kind: str) -> bool:
    return isinstance(entry.get(kind), dict)


def _mentioned(offered: Sequence[Tool], body: models.CreateChatCompletionRequest, work: Work) -> list[Tool]:
    """The tools whose names occur as words in the current part of a user message, in the order of `tools`."""
    if not offered:
        return []
    work.subject = "tools"
    message = _due(body, offered)
    words = set(_WORD.findall(message))
    return [
        replace(tool, given=_given(tool.name, message, work))
        for tool in offered
        if (tool.name in words if _WORD.fullmatch(tool.name) else _is_in(tool.name, message, work))
        or (tool.name.startswith(_HOSTED) and f"gateway:{tool.name.removeprefix(_HOSTED)}" in message)
    ]


def _due(body: models.CreateChatCompletionRequest, offered: Sequence[Tool]) -> str:
    """The part of the last user message that is for this call of the model.

    The part after `afterwards` is for the next call, once there are results of the tools named before it. So results
    of a message without that word leave no part, and agent loops end.
    """
    parts = _AFTERWARDS.split(prompt.last_user_text(body.messages))
    if len(parts) == 1:
        return prompt.final_user_text(body.messages)
    names = {tool.name for tool in offered}
    named = [part for part in parts if not names.isdisjoint(_WORD.findall(part))]
    rounds = prompt.rounds_since_user(body.messages)
    if rounds is None:
        return ""
    if len(named) <= 1:
        return prompt.final_user_text(body.messages)
    return named[rounds] if rounds < len(named) else ""


def _given(name: str, message: str, work: Work) -> str | None:
    """The JSON object right behind the tool's name in the message: the arguments for the call."""
    work.spend(1 + len(message) // _SEARCHED_EACH)
    behind = message.partition(name)[2].lstrip(" :(")
    if not behind.startswith("{"):
        return None
    try:
        value, end = _decoder.raw_decode(behind)
    except (ValueError, RecursionError):
        return None
    return behind[:end] if isinstance(value, dict) else None


def _is_in(name: str, message: str, work: Work) -> bool:
    """Whether a name of several words occurs without a letter or digit next to it."""
    work.spend(1 + len(message) // _SEARCHED_EACH)
    at = message.find(name) if name else -1
    while at >= 0:
        work.spend(1)
        beside = message[at - 1 : at] + message[at + len(name) : at + len(name) + 1]
        if not _WORD.search(beside):
            return True
        at = message.find(name, at + 1)
    return False


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
