"""Tools, tool choices and tool calls, converted between chat completions and the Responses API."""

from collections.abc import Iterable, Mapping
from typing import Any

type Fields = Mapping[str, Any]


def tool(offered: Fields) -> dict[str, Any]:
    """A chat's tool in the flat form of the Responses API."""
    kind = offered.get("type")
    if kind == "function" or (not kind and isinstance(offered.get("function"), dict)):
        function = offered["function"]
        # `strict` is the default there, and would refuse schemas that are not made for it.
        return {"type": "function", "parameters": None, **function, "strict": function.get("strict") or False}
    if kind == "custom":
        custom = dict(offered["custom"])
        grammar = (custom.get("format") or {}).get("grammar")
        if grammar is not None:
            custom["format"] = {"type": "grammar", **grammar}
        return {"type": "custom", **custom}
    return dict(offered)


def custom_calls(messages: Iterable[Fields]) -> set[str]:
    """The ids of calls of custom tools."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return {call["id"] for call in calls if call.get("type") == "custom"}


def choice(chosen: object) -> object:
    """The tool choice in the form of the Responses API."""
    if not isinstance(chosen, dict):
        return chosen
    kind = chosen.get("type", "function")
    if kind == "allowed_tools":
        allowed = chosen["allowed_tools"]
        return {"type": kind, "mode": allowed["mode"], "tools": [choice(each) for each in allowed["tools"]]}
    inner = chosen.get(kind)
    return {"type": kind, **(inner if isinstance(inner, dict) else {"name": chosen.get("name")})}


def call(item: Fields) -> dict[str, Any] | None:
    """An item as a tool call of a chat's message; None if it is not a call."""
    match item.get("type"):
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
            return {"id": item.get("call_id") or item.get("id"), "type": "function", "function": function}
        case "custom_tool_call":
            custom = {"name": item.get("name"), "input": item.get("input") or ""}
            return {"id": item.get("call_id") or item.get("id"), "type": "custom", "custom": custom}
        case _:
            return None
