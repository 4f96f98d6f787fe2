"""Maps tools of a Responses request to functions of chat completions, and calls back to items.

There is one `ToolNames` for each request: the request's translation adds every tool that the model may call or has
called, and the reply's translation restores each call to an item of the client's tool.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from pydantic import JsonValue

from ai_gateway.contract.strict_json import read_json
from ai_gateway.translate.responses_chat.ran import RanItems

_MAX_NAME_LENGTH = 64  # of a function in chat completions
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_OPERATIONS = ("create_file", "update_file", "delete_file")

type Fields = dict[str, JsonValue]


class ToolKind(StrEnum):
    """The types of tools that the client runs."""

    FUNCTION = "function"
    CUSTOM = "custom"
    TOOL_SEARCH = "tool_search"
    LOCAL_SHELL = "local_shell"
    SHELL = "shell"
    APPLY_PATCH = "apply_patch"


ITEM_TYPES: Final[Mapping[ToolKind, str]] = {
    ToolKind.FUNCTION: "function_call",
    ToolKind.CUSTOM: "custom_tool_call",
    ToolKind.TOOL_SEARCH: "tool_search_call",
    ToolKind.LOCAL_SHELL: "local_shell_call",
    ToolKind.SHELL: "shell_call",
    ToolKind.APPLY_PATCH: "apply_patch_call",
}
"""The item type of calls of each kind of tool."""


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool by the client's names."""

    kind: ToolKind
    name: str
    namespace: str | None = None

    @property
    def item_type(self) -> str:
        return ITEM_TYPES[self.kind]


class ToolNames:
    """The tools of one request by function name in chat completions. `ran` maps gateway-run calls."""

    def __init__(self) -> None:
        self.ran = RanItems()
        self._by_function: dict[str, ClientTool] = {}
        self._functions: dict[ClientTool, str] = {}
        self._bare: dict[str, list[ClientTool]] = {}

    def add(self, tool: ClientTool) -> str:
        """Add a tool, unless it is there; returns its function name."""
        if tool in self._functions:
            return self._functions[tool]
        wanted = f"{tool.namespace}__{tool.name}" if tool.namespace else tool.name
        function = _FOREIGN.sub("_", wanted)
        if len(function) > _MAX_NAME_LENGTH or function in self._by_function or not function:
            digest = hashlib.sha256(f"{tool.kind} {tool.namespace or ''} {tool.name}".encode()).hexdigest()[:8]
            function = f"{function[: _MAX_NAME_LENGTH - 9]}_{digest}"
        self._by_function[function] = tool
        self._functions[tool] = function
        self._bare.setdefault(tool.name, []).append(tool)
        return function

    def known(self, tool: ClientTool) -> str | None:
        """The function name of an added tool."""
        return self._functions.get(tool)

    def called(self, function: str) -> ClientTool:
        """The tool of a function name as called by the model.

        A model may omit a namespace, or write it as the client does; such a name is accepted if it is unambiguous. An
        unknown name stays unchanged, for the client to refuse.
        """
        tool = self._by_function.get(function)
        if tool is not None:
            return tool
        bare = self._bare.get(function, [])
        if len(bare) == 1:
            return bare[0]
        namespace, dot, name = function.rpartition(".")
        dotted = [each for each in self._bare.get(name, []) if dot and each.namespace == namespace]
        return dotted[0] if dotted else ClientTool(ToolKind.FUNCTION, function)

    def opened(self, function: str, item_id: str, call_id: str) -> Fields | None:
        """The item of a call without its arguments yet; None for one that can only be sent whole."""
        tool = self.called(function)
        if tool.kind is ToolKind.FUNCTION:
            return _function_call(tool, item_id, call_id, "", "in_progress")
        return _custom_call(tool, item_id, call_id, "") if tool.kind is ToolKind.CUSTOM else None

    def restored(self, function: str, arguments: str, item_id: str, call_id: str, *, cut: bool = False) -> Fields:
        """The item of a whole call. `cut` says that the answer was cut off within the arguments.

        Arguments that do not fit the tool's action become a function call with the model's text, so that nothing else
        is run. Missing arguments become an empty object, which clients can parse.
        """
        tool = self.called(function)
        if not arguments and tool.kind is not ToolKind.CUSTOM and not cut:
            arguments = "{}"
        status = "incomplete" if cut else "completed"
        if tool.kind is ToolKind.CUSTOM:
            return _custom_call(tool, item_id, call_id, custom_input(arguments))
        fields = _object(arguments) if tool.kind is not ToolKind.FUNCTION else None
        action = _ACTIONS[tool.kind](fields) if fields is not None and not cut else None
        if action is None:
            return _function_call(tool, item_id, call_id, arguments, status)
        return {"type": tool.item_type, "id": item_id, "call_id": call_id, "status": status, **action}


def custom_input(arguments: str) -> str:
    """The input of a custom tool: the function's only argument, or else the whole arguments."""
    fields = _object(arguments)
    text = fields.get("input") if fields is not None else None
    return text if isinstance(text, str) else arguments


def _function_call(tool: ClientTool, item_id: str, call_id: str, arguments: str, status: str) -> Fields:
    item: Fields = {"type": "function_call", "id": item_id, "call_id": call_id, "name": tool.name}
    if tool.namespace is not None:
        item["namespace"] = tool.namespace
    return {**item, "arguments": arguments, "status": status}


def _custom_call(tool: ClientTool, item_id: str, call_id: str, text: str) -> Fields:
    item: Fields = {"type": "custom_tool_call", "id": item_id, "call_id": call_id, "name": tool.name}
    if tool.namespace is not None:
        item["namespace"] = tool.namespace
    return {**item, "input": text}


def _object(arguments: str) -> Fields | None:
    try:
        value = read_json(arguments.encode("utf-8", "surrogatepass")) if arguments.strip() else {}
    except ValueError:
        return None
    return cast("Fields", value) if isinstance(value, dict) else None


def _search(arguments: Fields) -> Fields | None:
    return {"execution": "client", "arguments": arguments}


def _local_shell(arguments: Fields) -> Fields | None:
    command = _texts(arguments.get("command"))
    if command is None:
        return None
    action: Fields = {"type": "exec", "command": command, "env": _environment(arguments.get("env"))}
    kept = {
        name: arguments[name] for name in ("timeout_ms", "working_directory", "user") if arguments.get(name) is not None
    }
    return {"action": {**action, **kept}}


def _shell(arguments: Fields) -> Fields | None:
    commands = _texts(arguments.get("commands"))
    if commands is None:
        return None
    bounds = {name: _whole(arguments.get(name)) for name in ("timeout_ms", "max_output_length")}
    return {"action": {"commands": commands, **bounds}, "environment": None}


def _apply_patch(arguments: Fields) -> Fields | None:
    operation = arguments.get("operation", arguments)
    if not isinstance(operation, dict):
        return None
    kind, path, diff = (operation.get(name) for name in ("type", "path", "diff"))
    if kind not in _OPERATIONS or not isinstance(path, str):
        return None
    if kind == "delete_file":
        return {"operation": {"type": kind, "path": path}}
    return {"operation": {"type": kind, "path": path, "diff": diff}} if isinstance(diff, str) else None


_ACTIONS: Final = {
    ToolKind.TOOL_SEARCH: _search,
    ToolKind.LOCAL_SHELL: _local_shell,
    ToolKind.SHELL: _shell,
    ToolKind.APPLY_PATCH: _apply_patch,
}


def _texts(value: JsonValue) -> list[JsonValue] | None:
    """A list of strings, also from a single one."""
    if isinstance(value, str):
        return [value]
    whole = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    return value if whole and isinstance(value, list) else None


def _environment(value: JsonValue) -> Fields:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}


def _whole(value: JsonValue) -> int | None:
    return value if type(value) is int else None
