"""The offered tools of a request as functions of chat completions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from ai_gateway.translate.responses_chat.tools import ClientTool, Fields, ToolKind, ToolNames
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

type Tool = (
    responses.FunctionTool
    | responses.FileSearchTool
    | responses.ComputerTool
    | responses.ComputerUsePreviewTool
    | responses.WebSearchTool
    | responses.MCPTool
    | responses.CodeInterpreterTool
    | responses.ProgrammaticToolCallingParam
    | responses.ImageGenTool
    | responses.LocalShellToolParam
    | responses.FunctionShellToolParam
    | responses.CustomToolParam
    | responses.NamespaceToolParam
    | responses.ToolSearchToolParam
    | responses.WebSearchPreviewTool
    | responses.ApplyPatchToolParam
    | responses.GatewayTool
)

_TEXT: Final[Fields] = {"type": "string"}
_TEXTS: Final[Fields] = {"type": "array", "items": {"type": "string"}}
_MILLISECONDS: Final[Fields] = {"type": "integer", "description": "Milliseconds."}
_INPUT = "The whole input, as text."


@dataclass(slots=True)
class Offered:
    """The functions by name, and the other tools.

    `dropped` names tools without a counterpart, `hosted` are server tools, with their path.
    """

    names: ToolNames = field(default_factory=ToolNames)
    functions: dict[str, openai.ChatCompletionTool] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    hosted: list[tuple[int, Tool]] = field(default_factory=list)
    _waits: bool = False

    def add_all(self, tools: Sequence[Tool]) -> None:
        """Add the tools of a request. With client-side tool search, deferred tools are only added when found."""
        self._waits = any(
            isinstance(tool, responses.ToolSearchToolParam) and tool.execution == "client" for tool in tools
        )
        for at, tool in enumerate(tools):
            self._add(tool, at)

    def add_found(self, tools: Iterable[Tool]) -> None:
        """Add tools from an item of the conversation."""
        self._waits = False
        for tool in tools:
            self._add(tool, None)

    def _add(self, tool: Tool, at: int | None) -> None:
        match tool:
            case responses.FunctionTool() | responses.CustomToolParam():
                self._offer_named(tool, None)
            case responses.NamespaceToolParam():
                self._offer_space(tool)
            case responses.ToolSearchToolParam(execution="client"):
                schema = to_plain(tool.parameters) if tool.parameters is not None else None
                self._offer(ClientTool(ToolKind.TOOL_SEARCH, "tool_search"), tool.description, schema or _SEARCH)
            case responses.ToolSearchToolParam():
                pass  # server-side tool search: all tools are offered from the start
            case _ if tool.type in _BUILT_IN and not _is_hosted(tool):
                kind = ToolKind(tool.type)
                self._offer(ClientTool(kind, kind), *_BUILT_IN[kind])
            case _ if at is not None:
                self.hosted.append((at, tool))
            case _:
                self.dropped.add(f"tools.{tool.type}")

    def _offer_space(self, space: responses.NamespaceToolParam) -> None:
        """Add the tools of a namespace. Its description is put before the first one's."""
        offered = [name for tool in space.tools if (name := self._offer_named(tool, space.name)) is not None]
        if offered and space.description:
            first, told = self.functions[offered[0]].function, f"{space.name}: {space.description}"
            first.description = f"{told}\n\n{first.description}" if first.description else told

    def _offer_named(
        self, tool: responses.FunctionTool | responses.FunctionToolParam | responses.CustomToolParam, space: str | None
    ) -> str | None:
        """The name of its function; None for a deferred tool."""
        if self._waits and tool.defer_loading:
            return None
        for name in ("allowed_callers", "output_schema"):
            if getattr(tool, name, None):
                self.dropped.add(f"tools.{name}")
        if isinstance(tool, responses.CustomToolParam):
            return self._offer_custom(tool, space)
        return self._offer_function(tool, space)

    def _offer_function(self, tool: responses.FunctionTool | responses.FunctionToolParam, space: str | None) -> str:
        schema = to_plain(tool.parameters) if tool.parameters is not None else None
        name = self._offer(ClientTool(ToolKind.FUNCTION, tool.name, space), tool.description, schema)
        if tool.strict is not None:
            self.functions[name].function.strict = tool.strict
        return name

    def _offer_custom(self, tool: responses.CustomToolParam, space: str | None) -> str:
        described = tool.description or ""
        if isinstance(tool.format, responses.CustomGrammarFormatParam):
            grammar = f"The input follows this grammar ({tool.format.syntax}):\n{tool.format.definition}"
            described = f"{described}\n\n{grammar}" if described else grammar
        return self._offer(ClientTool(ToolKind.CUSTOM, tool.name, space), described or None, _CUSTOM)

    def _offer(self, tool: ClientTool, description: str | None, parameters: Fields | None) -> str:
        name = self.names.add(tool)
        function = openai.FunctionObject(name=name)
        if description is not None:
            function.description = description
        if parameters is not None:
            function.parameters = openai.FunctionParameters.model_validate(parameters)
        self.functions[name] = openai.ChatCompletionTool(type="function", function=function)
        return name


def to_plain(schema: object) -> Fields:
    """A JSON schema from a generic object."""
    dumped: Fields = schema if isinstance(schema, dict) else schema.model_dump(exclude_unset=True)  # type: ignore[attr-defined] # a model of no fields
    return dumped


def _is_hosted(tool: Tool) -> bool:
    """Whether the tool runs in a container of the server."""
    environment = getattr(tool, "environment", None)
    return environment is not None and environment.type != "local"


def _action(required: list[JsonValue], **properties: Fields) -> Fields:
    return {
        "type": "object",
        "properties": {**properties},
        "required": required,
        "additionalProperties": False,
    }


_CUSTOM: Final = _action(["input"], input={**_TEXT, "description": _INPUT})
_SEARCH: Final = _action(["query"], query=_TEXT)
_BUILT_IN: Final[dict[str, tuple[str, Fields]]] = {
    "local_shell": (
        "Runs a command on the user's machine.",
        _action(
            ["command"],
            command={**_TEXTS, "description": "The program and its arguments."},
            working_directory=_TEXT,
            timeout_ms=_MILLISECONDS,
            env={"type": "object", "additionalProperties": {"type": "string"}},
        ),
    ),
    "shell": (
        "Runs commands in a shell on the user's machine.",
        _action(
            ["commands"],
            commands={**_TEXTS, "description": "Each is a line for the shell."},
            timeout_ms=_MILLISECONDS,
            max_output_length={"type": "integer", "description": "Characters of output to return."},
        ),
    ),
    "apply_patch": (
        "Creates, changes or deletes one file of the user's.",
        _action(
            ["type", "path"],
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff={**_TEXT, "description": "The change as a V4A diff; for a new file, its lines with + in front."},
        ),
    ),
}
