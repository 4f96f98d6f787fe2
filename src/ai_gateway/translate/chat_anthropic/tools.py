"""Which functions the model may call, and whether it has to, in terms of the Messages API."""

import re
from collections.abc import Iterable, Mapping

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_anthropic.content import Block
from ai_gateway.translate.chat_request import chosen_names, drop_unread
from gateway_contract.openai import models

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def tool_fields(
    body: models.CreateChatCompletionRequest, called: Iterable[str], dropped: set[str]
) -> dict[str, object]:
    """`tools` and `tool_choice`.

    Where calls stand in the conversation but no tools are on offer any more, the functions that were called are
    declared and forbidden: the API wants to know every function that it reads about.
    """
    tools = [_tool(tool, f"tools[{at}]", dropped) for at, tool in enumerate(body.tools or ())]
    names = chosen_names(body.tool_choice, [str(tool["name"]) for tool in tools])
    if not tools:
        past: list[Block] = [{"name": name, "input_schema": {"type": "object"}} for name in called]
        return {"tools": past, "tool_choice": {"type": "none"}} if past else {}
    _all_different(tools)
    choice = _choice(body.tool_choice)
    if names and isinstance(body.tool_choice, models.ChatCompletionAllowedToolsChoice):
        tools = [tool for tool in tools if tool["name"] in names]
    if body.parallel_tool_calls is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": choice} if choice else {})}


def check_name(name: str, where: str) -> None:
    """Raise UnsupportedValue unless the API takes a function of this name."""
    if not _NAME.fullmatch(name):
        raise UnsupportedValue("This provider takes names of 1 to 128 letters, digits, _ and -.", param=where)


def is_forced(fields: Mapping[str, object]) -> bool:
    """Whether the model has to call something, which rules thinking out."""
    choice = fields.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") in {"any", "tool"}


def _tool(tool: models.ChatCompletionTool | models.CustomToolChatCompletions, where: str, dropped: set[str]) -> Block:
    if not isinstance(tool, models.ChatCompletionTool):
        raise UnsupportedValue("This provider has no custom tools: use functions.", param=f"{where}.type")
    function, where = tool.function, f"{where}.function"
    check_name(function.name, f"{where}.name")
    drop_unread(tool, "tools", dropped, "cache_control")
    drop_unread(function, "tools.function", dropped, "cache_control")
    found: Block = {"name": function.name}
    if function.description:
        found["description"] = function.description
    found["input_schema"] = _input_schema(function.parameters, f"{where}.parameters")
    if function.strict:
        found["strict"] = True
    for holder in (tool, function):
        if isinstance(own := (holder.model_extra or {}).get("cache_control"), dict):
            found["cache_control"] = own
    return found


def _input_schema(parameters: models.FunctionParameters | None, where: str) -> Block:
    given = dict(parameters.model_extra or {}) if parameters is not None else {}
    if given.setdefault("type", "object") != "object":
        raise UnsupportedValue("A function's parameters are an object here.", param=f"{where}.type")
    return given


def _all_different(tools: list[Block]) -> None:
    seen: set[object] = set()
    for at, tool in enumerate(tools):
        if tool["name"] in seen:
            raise InvalidRequest("Two tools have one name.", param=f"tools[{at}].function.name", code="invalid_value")
        seen.add(tool["name"])


def _choice(chosen: object) -> Block:
    """The API's `tool_choice`; empty where nothing has to be said."""
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
