"""`tools` and `tool_choice` for the Messages API: docs.anthropic.com "Tool use"."""

import re
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_anthropic.content import Block
from ai_gateway.translate.chat_request import chosen_names, drop_unknown
from gateway_contract.openai import models

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def tool_fields(
    body: models.CreateChatCompletionRequest, called: Iterable[str], dropped: set[str]
) -> dict[str, object]:
    """`tools` and `tool_choice`.

    If the conversation contains tool calls but the request has no tools, the called functions are declared and
    forbidden: the API requires `tools` for a conversation with tool calls.
    """
    tools = [_tool(tool, f"tools[{at}]", dropped) for at, tool in enumerate(body.tools or ())]
    names = chosen_names(body.tool_choice, [str(tool["name"]) for tool in tools])
    if not tools:
        past: list[Block] = [{"name": name, "input_schema": {"type": "object"}} for name in called]
        return {"tools": past, "tool_choice": {"type": "none"}} if past else {}
    _check_unique(tools)
    choice = _choice(body.tool_choice)
    if names and isinstance(body.tool_choice, models.ChatCompletionAllowedToolsChoice):
        tools = [tool for tool in tools if tool["name"] in names]
    if body.parallel_tool_calls is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": choice} if choice else {})}


def check_name(name: str, path: str) -> None:
    """Raise UnsupportedValue unless the API accepts the function's name."""
    if not _NAME.fullmatch(name):
        raise UnsupportedValue("This provider takes names of 1 to 128 letters, digits, _ and -.", param=path)


def is_forced(fields: Mapping[str, object]) -> bool:
    """Whether a tool call is forced, which rules thinking out."""
    choice = fields.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") in ("any", "tool")


def _tool(tool: BaseModel, path: str, dropped: set[str]) -> Block:
    if not isinstance(tool, models.ChatCompletionTool):
        raise UnsupportedValue("This provider has no custom tools: use functions.", param=f"{path}.type")
    function, path = tool.function, f"{path}.function"
    check_name(function.name, f"{path}.name")
    drop_unknown(tool, "tools", dropped, "cache_control")
    drop_unknown(function, "tools.function", dropped, "cache_control")
    result: Block = {"name": function.name}
    if function.description:
        result["description"] = function.description
    result["input_schema"] = _input_schema(function.parameters, f"{path}.parameters")
    if function.strict:
        result["strict"] = True
    for holder in (tool, function):
        if isinstance(own := (holder.model_extra or {}).get("cache_control"), dict):
            result["cache_control"] = own
    return result


def _input_schema(parameters: models.FunctionParameters | None, path: str) -> Block:
    schema = dict(parameters.model_extra or {}) if parameters is not None else {}
    if schema.setdefault("type", "object") != "object":
        raise UnsupportedValue("A function's parameters are an object here.", param=f"{path}.type")
    return schema


def _check_unique(tools: list[Block]) -> None:
    seen: set[object] = set()
    for at, tool in enumerate(tools):
        if tool["name"] in seen:
            raise InvalidRequest("Two tools have one name.", param=f"tools[{at}].function.name", code="invalid_value")
        seen.add(tool["name"])


def _choice(chosen: object) -> Block:
    """The API's `tool_choice`; empty for its default."""
    match chosen:
        case "none":
            return {"type": "none"}
        case "required":
            return {"type": "any"}
        case models.ChatCompletionNamedToolChoice():
            return {"type": "tool", "name": chosen.function.name}
        case models.ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            return {"type": "any" if allowed.mode == "required" else "auto"}
        case _:
            return {}
