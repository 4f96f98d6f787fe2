"""What a Responses request's tools are called in chat completions, which know functions only, and the way back.

One `ToolNames` a request: the request's translation adds every tool that the model may call or has called, and the
reply's translation, whole or streamed, restores each call to the item that its client knows.
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

_LONGEST_NAME = 64  # of a function in chat completions
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_OPERATIONS = ("create_file", "update_file", "delete_file")

type Fields = dict[str, JsonValue]


class ToolKind(StrEnum):
    """The kinds of tools whose calls a client runs itself, by the type of the tool."""

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
"""The type of the item that a call of such a tool is."""


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool as its client calls it."""

    kind: ToolKind
    name: str
    namespace: str | None = None

    @property
    def item_type(self) -> str:
        return ITEM_TYPES[self.kind]

    @property
    def arguments_are_told_in_parts(self) -> bool:
        """Whether a stream tells the arguments in deltas; calls of the other kinds are items that come whole."""
        return self.kind in {ToolKind.FUNCTION, ToolKind.CUSTOM}


class ToolNames:
    """The tools of one request by their function's name in chat completions. `ran` knows those that are run here."""

    def __init__(self) -> None:
        self.ran = RanItems()
        self._by_function: dict[str, ClientTool] = {}
        self._functions: dict[ClientTool, str] = {}
        self._bare: dict[str, list[ClientTool]] = {}

    def add(self, tool: ClientTool) -> str:
        """The name of the tool's function; the same for a tool that is there already."""
        if tool in self._functions:
            return self._functions[tool]
        wanted = f"{tool.namespace}__{tool.name}" if tool.namespace else tool.name
        function = _FOREIGN.sub("_", wanted)
        if len(function) > _LONGEST_NAME or function in self._by_function or not function:
            digest = hashlib.sha256(f"{tool.kind} {tool.namespace or ''} {tool.name}".encode()).hexdigest()[:8]
            function = f"{function[: _LONGEST_NAME - 9]}_{digest}"
        self._by_function[function] = tool
        self._functions[tool] = function
        self._bare.setdefault(tool.name, []).append(tool)
        return function

    def known(self, tool: ClientTool) -> str | None:
        """The name of the tool's function, if it has one already."""
        return self._functions.get(tool)

    def called(self, function: str) -> ClientTool:
        """The tool that a model means by a function's name.

        A model may leave a namespace out, or say it as its client writes it; what only one tool can be meant by is that
        one. A name that nothing has stays as it is: the client says what it does not know.
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
        """The item of a call before its arguments are there; None for one that can only be told whole."""
        tool = self.called(function)
        if tool.kind is ToolKind.FUNCTION:
            return _function_call(tool, item_id, call_id, "", "in_progress")
        return _custom_call(tool, item_id, call_id, "") if tool.kind is ToolKind.CUSTOM else None

    def restored(self, function: str, arguments: str, item_id: str, call_id: str, *, cut: bool = False) -> Fields:
        """The item of a whole call. `cut` says that the arguments end where the answer was cut off.

        Arguments that are not of the form of the tool's action leave the call that of a function: nothing is run that
        the model did not say, and its words are kept. Of a call without any they are an empty object, which clients
        can read.
        """
        tool = self.called(function)
        if not arguments and tool.kind is not ToolKind.CUSTOM and not cut:
            arguments = "{}"
        status = "incomplete" if cut else "completed"
        if tool.kind is ToolKind.CUSTOM:
            return _custom_call(tool, item_id, call_id, custom_input(arguments))
        said = _object(arguments) if tool.kind is not ToolKind.FUNCTION else None
        action = _ACTIONS[tool.kind](said) if said is not None and not cut else None
        if action is None:
            return _function_call(tool, item_id, call_id, arguments, status)
        return {"type": tool.item_type, "id": item_id, "call_id": call_id, "status": status, **action}


def custom_input(arguments: str) -> str:
    """The text that a custom tool is called with: the function's only argument, or else all that the model said."""
    said = _object(arguments)
    text = said.get("input") if said is not None else None
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


def _search(said: Fields) -> Fields | None:
    return {"execution": "client", "arguments": said}


def _local_shell(said: Fields) -> Fields | None:
    command = _texts(said.get("command"))
    if command is None:
        return None
    action: Fields = {"type": "exec", "command": command, "env": _environment(said.get("env"))}
    kept = {name: said[name] for name in ("timeout_ms", "working_directory", "user") if said.get(name) is not None}
    return {"action": {**action, **kept}}


def _shell(said: Fields) -> Fields | None:
    commands = _texts(said.get("commands"))
    if commands is None:
        return None
    bounds = {name: _whole(said.get(name)) for name in ("timeout_ms", "max_output_length")}
    return {"action": {"commands": commands, **bounds}, "environment": None}


def _apply_patch(said: Fields) -> Fields | None:
    operation = said.get("operation", said)
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
    """A list of texts, or the one that stands alone."""
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
