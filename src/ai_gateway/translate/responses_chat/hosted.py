"""Server tools, and the gateway's tools that replace them.

A request's `web_search`, `code_interpreter` and `mcp` are gateway-run if the caller has such tools. Not gateway-run are
searches in the provider's own index (`external_web_access: false`), and MCP servers that the operator has not listed or
whose calls require approval.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from ai_gateway.errors import UnsupportedValue
from ai_gateway.translate.gateway_tools import (
    CODE,
    MCP,
    SEARCH,
    Hosted,
    McpName,
    Runs,
    ServerTool,
    made,
    typed,
)
from ai_gateway.translate.responses_chat.offered import Offered, Tool
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

type Fields = dict[str, JsonValue]

# Number of search results by context size.
_CONTEXT: Final[Mapping[str, int]] = {"low": 3, "medium": 5, "high": 10}
_WORDS: Final[Mapping[str, str]] = {"allowed_domains": "filters.allowed_domains"}
_PLACE = ("city", "region", "country", "timezone")


@dataclass(slots=True)
class Claimed:
    """The gateway-run tools of a request.

    `tools` have their type in the request, and the label of their MCP server, if any. `names` are those of MCP tools by
    function, and `lists` have the tools of each server by label.
    """

    tools: list[tuple[str, str | None, Hosted]] = field(default_factory=list)
    names: dict[str, McpName] = field(default_factory=dict)
    lists: dict[str, list[ServerTool]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tools)

    @property
    def all(self) -> list[Hosted]:
        return [tool for _, _, tool in self.tools]

    def of(self, kind: str, label: object = None) -> list[Hosted]:
        """The tools for a choice of this type, at the server of this label."""
        return [
            tool
            for own, server, tool in self.tools
            if _plain(own) == _plain(kind) and (kind != "mcp" or server == label)
        ]

    def function_of(self, label: str, tool: str | None) -> str | None:
        """The function of a server's tool, or its only one."""
        found = [name for name, own in self.names.items() if own.server == label and tool in (None, own.tool)]
        return found[0] if len(found) == 1 else None


def claim(offered: Offered, runs: Runs, failures: Mapping[str, str]) -> Claimed:
    """Move the tools that the gateway `runs` out of the hosted ones. `failures` are those of MCP servers.

    Raises ToolNotAvailable or ToolNotAllowed for a type of the gateway's own, and InvalidRequest for wrong options.
    """
    claimed = Claimed()
    if not offered.hosted:
        return claimed
    left = []
    for at, tool in offered.hosted:
        if not _claim(tool, at, (claimed, runs, failures), offered.dropped):
            left.append((at, tool))
    offered.hosted = left
    if any(own == MCP for own, _, _ in claimed.tools):
        for function, known in runs.server_tools.items():
            claimed.names.setdefault(function, McpName(known.server, known.name))
    return claimed


def _claim(tool: Tool, at: int, what: tuple[Claimed, Runs, Mapping[str, str]], dropped: set[str]) -> bool:
    claimed, runs, failures = what
    if isinstance(tool, responses.GatewayTool):
        hosted = typed(tool, at)
        runs.require(hosted.type.partition(":")[2], at)
        claimed.tools.append((tool.type, None, hosted))
        return True
    if isinstance(tool, responses.MCPTool):
        return _claim_server(tool, at, claimed, (runs, failures), dropped)
    fields = _fields_of(tool)
    if fields is None or not runs.has(str(fields["type"]).partition(":")[2]):
        return False
    if not claimed.of(tool.type):
        claimed.tools.append((tool.type, None, made(fields, at, _WORDS)))
    return True


def _fields_of(tool: Tool) -> dict[str, object] | None:
    """The gateway's tool that replaces it, with its options."""
    match tool:
        case responses.CodeInterpreterTool():
            return {"type": CODE}
        case responses.WebSearchTool(external_web_access=False):
            return None
        case responses.WebSearchTool() | responses.WebSearchPreviewTool():
            fields: dict[str, object] = {"type": SEARCH}
            filters = tool.filters if isinstance(tool, responses.WebSearchTool) else None
            if filters is not None and filters.allowed_domains:
                fields["allowed_domains"] = filters.allowed_domains
            if tool.search_context_size is not None:
                fields["max_results"] = _CONTEXT[tool.search_context_size]
            if tool.user_location is not None:
                place = {part: value for part in _PLACE if (value := getattr(tool.user_location, part, None))}
                fields["user_location"] = place
            return fields
        case _:
            return None


def _claim_server(
    tool: responses.MCPTool, at: int, claimed: Claimed, context: tuple[Runs, Mapping[str, str]], dropped: set[str]
) -> bool:
    """A listed server: its tools are limited to the requested ones, and dropped fields are named."""
    runs, failures = context
    label = tool.server_label
    listed = listed_server(tool, runs)
    if listed is None:
        return False
    if label in claimed.lists:
        raise UnsupportedValue(f"Two servers are called '{label}': leave one out.", param=f"tools[{at}].server_label")
    if listed in failures:
        claimed.lists[label], claimed.failures[label] = [], failures[listed]
        return True
    functions = {name: own for name, own in runs.server_tools.items() if own.server == listed}
    wanted = {name: own for name, own in functions.items() if _is_wanted(own, tool.allowed_tools)}
    run = {name: own for name, own in wanted.items() if not _needs_approval(own, tool.require_approval)}
    if not run:
        return False
    if len(run) < len(wanted):
        dropped.add("tools.mcp.require_approval")
    dropped.update(f"tools.mcp.{name}" for name in ("authorization", "headers") if getattr(tool, name))
    claimed.names |= {name: McpName(label, own.name) for name, own in run.items()}
    claimed.lists[label] = [*run.values()]
    names = list(dict.fromkeys(own.name for own in run.values()))
    claimed.tools.append(("mcp", label, made({"type": MCP, "servers": [listed], "allowed_tools": names}, at)))
    return True


def listed_server(tool: responses.MCPTool, runs: Runs) -> str | None:
    """The listed server that the tool refers to, if any. No other server is ever called."""
    callers = tool.allowed_callers
    if tool.connector_id or tool.tunnel_id or (callers and "direct" not in callers):
        return None
    return runs.server(tool.server_label, tool.server_url)


def servers_requested(tools: Iterable[object], runs: Runs) -> list[str] | None:
    """The listed servers whose tools a request uses; None for all."""
    found: list[str] = []
    for tool in tools:
        if getattr(tool, "type", None) == MCP:
            return None
        if isinstance(tool, responses.MCPTool) and (listed := listed_server(tool, runs)) is not None:
            found.append(listed)
    return list(dict.fromkeys(found))


def _is_wanted(tool: ServerTool, allowed: list[str] | responses.MCPToolFilter | None) -> bool:
    if allowed is None:
        return True
    return tool.name in allowed if isinstance(allowed, list) else _matches(tool, allowed)


def _needs_approval(tool: ServerTool, setting: responses.MCPToolRequireApproval | str | None) -> bool:
    """Whether its calls require approval. By default they do not, since the operator has listed the server."""
    if setting is None or isinstance(setting, str):
        return setting == "always"
    if setting.never is not None:
        return not _matches(tool, setting.never)
    return setting.always is not None and _matches(tool, setting.always)


def _matches(tool: ServerTool, wanted: responses.MCPToolFilter) -> bool:
    if wanted.tool_names is not None and tool.name not in wanted.tool_names:
        return False
    return wanted.read_only is None or wanted.read_only == tool.read_only


def _plain(kind: str) -> str:
    """A type without its version date."""
    return "web_search" if kind.startswith("web_search") else kind


def chosen(choice: object, claimed: Claimed) -> object | None:
    """A choice of gateway-run tools as one of chat completions; None for another."""
    if isinstance(choice, responses.GatewayToolChoice):
        return openai.GatewayToolChoice(type=choice.type)
    if isinstance(choice, responses.ToolChoiceMCP):
        function = claimed.function_of(choice.server_label, choice.name)
        if function is not None:
            return _named(function)
        return openai.GatewayToolChoice(type=MCP) if claimed.of("mcp", choice.server_label) else None
    if not isinstance(choice, responses.ToolChoiceTypes) or not claimed.of(choice.type):
        return None
    return openai.GatewayToolChoice(type=SEARCH if choice.type.startswith("web_search") else CODE)


def _named(function: str) -> openai.ChatCompletionNamedToolChoice:
    name = openai.ChatCompletionNamedToolChoiceFunction(name=function)
    return openai.ChatCompletionNamedToolChoice(type="function", function=name)


def kept(claimed: Claimed, allowed: Collection[object] | None) -> list[Hosted]:
    """The tools that `allowed_tools` allows; None without such a choice."""
    if allowed is None:
        return claimed.all
    found: list[Hosted] = []
    for entry in allowed:
        if isinstance(entry, Mapping):
            found += claimed.of(str(entry.get("type")), entry.get("server_label"))
    return found
