"""Calls that the gateway has run as items of a response."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from pydantic import JsonValue
from pydantic_core import from_json

type Fields = dict[str, JsonValue]

_SEARCH, _CODE = "gateway:web_search", "gateway:code_execution"
_FETCH: Final = "fetch"
_CONTAINER: Final = "gateway"

ITEMS: Final[Mapping[str, str]] = {_SEARCH: "web_search_call", _CODE: "code_interpreter_call"}
"""The type of the item that a call of such a tool is."""

EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
}
"""What a stream tells of such an item between its beginning and its end."""


def items_of_calls(calls: Iterable[Mapping[str, JsonValue]], next_id: Callable[[str], str]) -> list[Fields]:
    """The items of calls that were run here, as `gateway_tool_calls` tells them; `next_id` makes ids by their type."""
    return [item_of_call(call, next_id) for call in calls if call.get("tool") in ITEMS]


def item_of_call(call: Mapping[str, JsonValue], next_id: Callable[[str], str]) -> Fields:
    """The item of one of them."""
    kind = ITEMS[str(call["tool"])]
    function = cast("Fields", call.get("function") or {})
    said = _object(function.get("arguments"))
    item: Fields = {"type": kind, "id": next_id(kind), "status": call.get("status") or "failed"}
    if kind == "web_search_call":
        return {**item, "action": _action(str(function.get("name")), said)}
    result = cast("Fields", call.get("result") or {})
    logs: list[JsonValue] = [{"type": "logs", "logs": str(result.get("content") or "")}]
    code = said.get("code")
    return {**item, "code": code if isinstance(code, str) else None, "container_id": _CONTAINER, "outputs": logs}


def _action(function: str, said: Fields) -> Fields:
    if function.endswith(_FETCH):
        return {"type": "open_page", "url": _text(said.get("url"))}
    query = _text(said.get("query"))
    return {"type": "search", "query": query, "queries": [query]}


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _object(arguments: JsonValue) -> Fields:
    try:
        value = from_json(arguments) if isinstance(arguments, str) and arguments else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
