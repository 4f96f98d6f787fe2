"""Gateway-run calls as items of a response, and their events.

Calls of tools without an item type of their own are presented as MCP calls, with the server name `gateway` for the
gateway's own tools.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from pydantic import JsonValue
from pydantic_core import from_json

from ai_gateway.translate.gateway_tools import (
    CODE_FUNCTION,
    FETCH_FUNCTION,
    OWN_SERVER,
    SEARCH_FUNCTION,
    McpName,
    ServerTool,
    called_function,
    mcp_name,
)

type Fields = dict[str, JsonValue]
type Event = tuple[str, Fields]
"""An event of an open item: the suffix of its name, and its fields beside the item's id and index."""

_MAX_NAME_LENGTH = 64  # of a function in chat completions
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_SEARCH, _CODE, _MCP = "web_search_call", "code_interpreter_call", "mcp_call"
_KINDS: Final[Mapping[str, str]] = {SEARCH_FUNCTION: _SEARCH, FETCH_FUNCTION: _SEARCH, CODE_FUNCTION: _CODE}


@dataclass(slots=True)
class RanItems:
    """The items of one response's calls.

    `names` are those of MCP tools by function, and `lists` are the items with the servers' tools, without ids. With
    `shows_sources`, searches include their sources; `sources` are those of all calls, by number.
    """

    names: Mapping[str, McpName] = field(default_factory=dict)
    lists: Sequence[Fields] = ()
    shows_sources: bool = False
    sources: dict[int, Fields] = field(default_factory=dict)

    def function_of(self, server: str, tool: str) -> str:
        """The function name of an MCP tool, which the request need not offer any more."""
        known = next((name for name, own in self.names.items() if own == McpName(server, tool)), None)
        own = f"gateway_{tool}" if server == OWN_SERVER else f"gateway_mcp_{server}_{tool}"
        return known or _FOREIGN.sub("_", own)[:_MAX_NAME_LENGTH]

    def kind(self, call: Mapping[str, JsonValue]) -> str:
        """The type of a call's item."""
        return _KINDS.get(_name(call), _MCP)

    def begun(self, call: Mapping[str, JsonValue], item_id: str) -> tuple[Fields, list[Event]]:
        """The item of a started call, and its events."""
        item = {**self.item(call, item_id), "status": "in_progress"}
        kind = str(item["type"])
        events: list[Event] = [(f"{kind}.in_progress", {})]
        if kind == _SEARCH:
            return item, [*events, (f"{kind}.searching", {})]
        if kind == _CODE:
            code = cast("str", item["code"] or "")
            deltas: list[Event] = [(f"{kind}_code.delta", {"delta": code})] if code else []
            deltas += [(f"{kind}_code.done", {"code": code}), (f"{kind}.interpreting", {})]
            return {**item, "code": ""}, events + deltas
        given = item["arguments"]
        deltas = [(f"{kind}_arguments.delta", {"delta": given})] if given else []
        return {**item, "arguments": ""}, [*events, *deltas, (f"{kind}_arguments.done", {"arguments": given})]

    def ended(self, call: Mapping[str, JsonValue], item_id: str) -> tuple[Fields, list[Event]]:
        """The item of a finished call, and its events before `done`. One without a result was interrupted."""
        item = self.item(call, item_id)
        kind = str(item["type"])
        for source in cast("Sequence[Fields]", call.get("sources") or ()):
            self.sources[cast("int", source["number"])] = source
        if kind == _MCP:
            return item, [(f"{kind}.{'completed' if item['status'] == 'completed' else 'failed'}", {})]
        return item, [(f"{kind}.completed", {})] if item["status"] == "completed" else []

    def item(self, call: Mapping[str, JsonValue], item_id: str) -> Fields:
        """The item of a call, as far as known."""
        kind, name = self.kind(call), _name(call)
        item: Fields = {"type": kind, "id": item_id, "status": call.get("status") or "failed"}
        given = called_function(call).get("arguments")
        result = call.get("result")
        text = str(result["content"]) if isinstance(result, dict) else None
        if kind == _SEARCH:
            return {**item, "action": self._action(name, _object(given), call.get("sources"))}
        if kind == _CODE:
            code = _object(given).get("code")
            logs: list[JsonValue] = [] if text is None else [{"type": "logs", "logs": text}]
            return {
                **item,
                "code": code if isinstance(code, str) else None,
                "container_id": OWN_SERVER,
                "outputs": logs,
            }
        named = mcp_name(self.names, name)
        failed = text is not None and item["status"] != "completed"
        error: JsonValue = {"type": "mcp_tool_execution_error", "content": _texts(text)} if failed else None
        item |= {"server_label": named.server, "name": named.tool, "arguments": given if isinstance(given, str) else ""}
        return {**item, "output": None if failed else text, "error": error, "approval_request_id": None}

    def _action(self, function: str, arguments: Fields, sources: JsonValue) -> Fields:
        if function == FETCH_FUNCTION:
            return {"type": "open_page", "url": _text(arguments.get("url"))}
        query = _text(arguments.get("query"))
        action: Fields = {"type": "search", "query": query, "queries": [query]}
        if self.shows_sources and isinstance(sources, list):
            urls = [each["url"] for each in sources if isinstance(each, dict)]
            action["sources"] = [{"type": "url", "url": url} for url in urls]
        return action


def _texts(text: str | None) -> list[JsonValue]:
    return [{"type": "text", "text": text or ""}]


def _name(call: Mapping[str, JsonValue]) -> str:
    return str(called_function(call).get("name"))


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _object(arguments: JsonValue) -> Fields:
    try:
        value = from_json(arguments) if isinstance(arguments, str) and arguments else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def list_of(label: str, tools: Sequence[ServerTool], error: str | None) -> Fields:
    """The item with a server's tools, without an id, which precedes its calls."""
    entries: list[JsonValue] = [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": dict(tool.parameters),
            "annotations": {"readOnlyHint": tool.read_only},
        }
        for tool in tools
    ]
    return {"type": "mcp_list_tools", "server_label": label, "tools": entries, "error": error}
