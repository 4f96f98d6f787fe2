"""Tools and `tool_choice` of the Messages API as functions and gateway-run tools."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.anthropic_chat.content import cache_control
from ai_gateway.translate.anthropic_chat.hosted import (
    FUNCTIONS,
    claimed,
    claimed_toolset,
    implied_toolsets,
    is_off,
    name_unread,
    named_servers,
)
from ai_gateway.translate.anthropic_chat.ids import ToolNames
from ai_gateway.translate.anthropic_chat.open_kinds import UnknownTool
from ai_gateway.translate.gateway_tools import MCP, TYPES, Hosted, McpName, Runs
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

type Fields = dict[str, object]
_STRING: Fields = {"type": "string"}
_INTEGER: Fields = {"type": "integer"}
_RANGE: Fields = {"type": "array", "items": _INTEGER, "minItems": 2, "maxItems": 2}
_EDITED: Fields = {
    "path": _STRING,
    "old_str": _STRING,
    "new_str": _STRING,
    "file_text": _STRING,
    "insert_line": _INTEGER,
    "insert_text": _STRING,
    "view_range": _RANGE,
}


def _schema(properties: Fields, required: Sequence[str] = ()) -> Fields:
    return {"type": "object", "properties": properties, "required": list(required)}


def _commands(*names: str, more: Fields) -> Fields:
    return _schema({"command": {"type": "string", "enum": list(names)}, **more}, ["command", "path"])


# Client tools that Anthropic's models are trained on, so that requests lack their schemas, which others need:
# docs.claude.com, "Bash tool", "Text editor tool", "Memory tool".
_CLIENTS: Final[Mapping[type[BaseModel], tuple[str, Fields]]] = {
    anthropic.AnthropicBashTool20250124: (
        "Runs a command in a shell that stays open from call to call; `restart` begins anew.",
        _schema({"command": _STRING, "restart": {"type": "boolean"}}),
    ),
    anthropic.AnthropicTextEditor20250124: (
        "Views and edits text files; `undo_edit` takes the last edit of a file back.",
        _commands("view", "create", "str_replace", "insert", "undo_edit", more=_EDITED),
    ),
    anthropic.AnthropicTextEditor20250429: (
        "Views and edits text files.",
        _commands("view", "create", "str_replace", "insert", more=_EDITED),
    ),
    anthropic.AnthropicTextEditor20250728: (
        "Views and edits text files.",
        _commands("view", "create", "str_replace", "insert", more=_EDITED),
    ),
    anthropic.AnthropicMemoryTool20250818: (
        "Keeps notes in files below /memories, from one conversation to the next.",
        _schema(
            {
                "command": {
                    "type": "string",
                    "enum": ["view", "create", "str_replace", "insert", "delete", "rename"],
                },
                **_EDITED,
                "old_path": _STRING,
                "new_path": _STRING,
            },
            ["command"],
        ),
    ),
}


_ACTED: Fields = {
    "action": {
        "type": "string",
        "enum": [
            *("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click"),
            *("double_click", "triple_click", "left_mouse_down", "left_mouse_up", "screenshot", "cursor_position"),
            *("scroll", "hold_key", "wait", "zoom"),
        ],
    },
    "coordinate": _RANGE,
    "start_coordinate": _RANGE,
    "text": _STRING,
    "duration": {"type": "number"},
    "scroll_direction": {"type": "string", "enum": ["up", "down", "left", "right"]},
    "scroll_amount": _INTEGER,
    "region": {"type": "array", "items": _INTEGER, "minItems": 4, "maxItems": 4},
}
# The same of betas, whose types end in a date, such as docs.claude.com, "Computer use tool".
_FAMILIES: Final[Mapping[str, tuple[str, Fields]]] = {
    "bash": _CLIENTS[anthropic.AnthropicBashTool20250124],
    "text_editor": _CLIENTS[anthropic.AnthropicTextEditor20250124],
    "memory": _CLIENTS[anthropic.AnthropicMemoryTool20250818],
    "computer": ("Sees a screen and acts on it with mouse and keyboard.", _schema(_ACTED, ["action"])),
}
_OF_FUNCTIONS: Final = frozenset({"description", "input_schema", "strict", "cache_control"})
_OF_CLIENTS: Final = frozenset({"cache_control", "display_width_px", "display_height_px"})
_DATED: Final = re.compile(r"([a-z_]+)_(20[0-9]{6})")


def tool_names(body: anthropic.AnthropicCreateMessageParams) -> ToolNames:
    """The names of the tools that the request offers or has called before."""
    called = [
        block
        for message in body.messages
        if not isinstance(message.content, str)
        for block in message.content
        if isinstance(block, anthropic.AnthropicRequestToolUseBlock)
    ]
    offered = [str(getattr(tool, "name", "")) for tool in body.tools or ()]
    return ToolNames([*offered, *(block.name for block in called)], (block.id for block in called))


@dataclass(slots=True)
class OfferedTools:
    """The client's `functions`, the gateway-run tools in `hosted`, and the names of tools that cannot run in `left`.

    `mcp` are the names of MCP servers and their tools, by function name.
    """

    functions: list[openai.ChatCompletionTool] = field(default_factory=list)
    hosted: list[Hosted] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    mcp: dict[str, McpName] = field(default_factory=dict)

    @property
    def all(self) -> list[openai.ChatCompletionTool | Hosted]:
        return [*self.functions, *self.hosted]


def offered_tools(
    body: anthropic.AnthropicCreateMessageParams, names: ToolNames, runs: Runs, dropped: set[str]
) -> OfferedTools:
    """The tools. Anthropic's server tools become gateway-run tools if possible (`runs`), else they are dropped by type.

    Raises InvalidRequest for two of one name.
    """
    offered, servers = OfferedTools(), named_servers(body)
    for at, tool in enumerate(body.tools or ()):
        if (function := _tool(tool, names, dropped)) is not None:
            offered.functions.append(function)
            continue
        if isinstance(tool, anthropic.AnthropicMcpToolset):
            found = claimed_toolset(tool, at, servers, runs, dropped)
            hosted = found[0] if found is not None else None
            offered.mcp |= found[1] if found is not None else {}
        else:
            hosted = claimed(tool, at, runs, dropped)
        name = str(getattr(tool, "name", ""))
        if hosted is None:
            dropped.add(f"tools.{getattr(tool, 'type', 'unknown')}")
            offered.left.add(name)
        else:
            offered.hosted.append(hosted)
            if name in FUNCTIONS:
                names.serve(name, FUNCTIONS[name])
    for at, toolset in enumerate(implied_toolsets(body), len(body.tools or ())):
        if (found := claimed_toolset(toolset, at, servers, runs, dropped)) is not None:
            offered.hosted.append(found[0])
            offered.mcp |= found[1]
    _name_servers(body, offered, names, runs, dropped)
    _check_names(body)
    return offered


def _name_servers(
    body: anthropic.AnthropicCreateMessageParams,
    offered: OfferedTools,
    names: ToolNames,
    runs: Runs,
    dropped: set[str],
) -> None:
    """The dropped parts of `mcp_servers`: unused servers, and tokens, since the gateway has its own."""
    if any(tool.type == MCP for tool in offered.hosted):
        offered.mcp = {
            **{function: McpName(tool.server, tool.name) for function, tool in runs.server_tools.items()},
            **offered.mcp,
        }
    for function, name in offered.mcp.items():
        names.serve(f"{name.server}/{name.tool}", function)
    used = {name.server for name in offered.mcp.values()}
    for server in body.mcp_servers or ():
        if server.name not in used and not is_off(server):
            dropped.add("mcp_servers")
        elif server.name in used and server.authorization_token:
            dropped.add("mcp_servers.authorization_token")


def _check_names(body: anthropic.AnthropicCreateMessageParams) -> None:
    seen: set[str] = set()
    for at, tool in enumerate(body.tools or ()):
        name = getattr(tool, "name", None)
        if isinstance(name, str) and name in FUNCTIONS and name in seen:
            raise InvalidRequest(f"Two tools are called '{name}': give yours another name.", param=f"tools[{at}].name")
        seen.add(str(name))


def tool_fields(
    body: anthropic.AnthropicCreateMessageParams, names: ToolNames, offered: OfferedTools, dropped: set[str]
) -> Fields:
    """`tools`, `tool_choice` and `parallel_tool_calls`.

    Raises UnsupportedValue if the choice only allows tools that cannot run.
    """
    choice = body.tool_choice
    tools = offered.all
    if choice is None and not tools:
        return {}
    if isinstance(choice, anthropic.AnthropicToolChoiceTool):
        if choice.name in offered.left:
            raise _not_run("tool_choice.name")
        if choice.name not in {*TYPES, *(getattr(tool, "name", None) for tool in body.tools or ())}:
            raise InvalidRequest(f"Tool '{choice.name}' not found in provided tools.", param="tool_choice.name")
    if not tools:
        if isinstance(choice, anthropic.AnthropicToolChoiceAny) and offered.left:
            raise _not_run("tool_choice.type")
        dropped.add("tool_choice")
        return {}
    return {"tools": tools, **_choice(choice, names)}


def _not_run(param: str) -> UnsupportedValue:
    return UnsupportedValue(
        "Neither the gateway nor this provider runs the tool that is chosen: use tools of your own, or choose `auto`.",
        param=param,
    )


def _tool(tool: BaseModel, names: ToolNames, dropped: set[str]) -> openai.ChatCompletionTool | None:
    known = _CLIENTS.get(type(tool)) or _of_family(tool)
    if isinstance(tool, anthropic.AnthropicTool):
        fields: Fields = {"name": names.to_chat(tool.name)}
        if tool.description:
            fields["description"] = tool.description
        fields["parameters"] = tool.input_schema.model_dump(by_alias=True, exclude_unset=True)
        if tool.strict is not None:
            fields["strict"] = tool.strict
        name_unread(tool, _OF_FUNCTIONS, dropped)
    elif known is not None:
        description, schema = known
        if screen := _screen(tool):
            description = f"{description} {screen}"
        fields = {"name": getattr(tool, "name", ""), "description": description, "parameters": schema}
        name_unread(tool, _OF_CLIENTS, dropped)
    else:
        return None
    made = openai.ChatCompletionTool(type="function", function=openai.FunctionObject.model_validate(fields))
    if (own := cache_control(tool)) and made.__pydantic_extra__ is not None:
        made.__pydantic_extra__["cache_control"] = own
    return made


def _of_family(tool: BaseModel) -> tuple[str, Fields] | None:
    """The schema of a client tool whose type has another date."""
    found = _DATED.fullmatch(tool.type) if isinstance(tool, UnknownTool) else None
    return _FAMILIES.get(found[1]) if found is not None and isinstance(getattr(tool, "name", None), str) else None


def _screen(tool: BaseModel) -> str:
    width, height = (getattr(tool, f"display_{side}_px", None) for side in ("width", "height"))
    return f"It is {width} pixels wide and {height} high." if type(width) is int and type(height) is int else ""


def _choice(choice: BaseModel | None, names: ToolNames) -> Fields:
    match choice:
        case None:
            return {}
        case anthropic.AnthropicToolChoiceNone():
            return {"tool_choice": "none"}
        case anthropic.AnthropicToolChoiceTool(name=str(kind)) if kind in TYPES:
            fields: Fields = {"tool_choice": openai.GatewayToolChoice.model_validate({"type": kind})}
        case anthropic.AnthropicToolChoiceTool():
            chosen = openai.ChatCompletionNamedToolChoice.model_validate(
                {"type": "function", "function": {"name": names.to_chat(names.served(choice.name))}}
            )
            fields = {"tool_choice": chosen}
        case anthropic.AnthropicToolChoiceAny():
            fields = {"tool_choice": "required"}
        case _:
            fields = {"tool_choice": "auto"}
    if getattr(choice, "disable_parallel_tool_use", None):
        fields["parallel_tool_calls"] = False
    return fields
