"""Tools, the choice of them, and calls of them, in the words of either API."""

from collections.abc import Iterable, Mapping
from typing import Any

type Fields = Mapping[str, Any]


def tool(offered: Fields) -> dict[str, Any]:
    """A tool of a chat as a response has it: without the object around its fields."""
    kind = offered.get("type")
    if kind == "function" or (not kind and isinstance(offered.get("function"), dict)):
        function = offered["function"]
        # It is the default there: a schema that is not made for it would be refused.
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
    """The choice among them."""
    if not isinstance(chosen, dict):
        return chosen
    kind = chosen.get("type", "function")
    if kind == "allowed_tools":
        allowed = chosen["allowed_tools"]
        return {"type": kind, "mode": allowed["mode"], "tools": [choice(each) for each in allowed["tools"]]}
    inner = chosen.get(kind)
    return {"type": kind, **(inner if isinstance(inner, dict) else {"name": chosen.get("name")})}


def call(item: Fields) -> dict[str, Any] | None:
    """An item as a call of a chat's message; None for what is none."""
    match item.get("type"):
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
            return {"id": item.get("call_id") or item.get("id"), "type": "function", "function": function}
        case "custom_tool_call":
            custom = {"name": item.get("name"), "input": item.get("input") or ""}
            return {"id": item.get("call_id") or item.get("id"), "type": "custom", "custom": custom}
        case _:
            return None
