"""Server tools, and the gateway's tools that replace them.

The two functions of the gateway's web search are two tools on this wire, with separate options.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from ai_gateway.errors import UnsupportedValue
from ai_gateway.translate.gateway_tools import (
    CODE,
    CODE_FUNCTION,
    FETCH_FUNCTION,
    MCP,
    SEARCH,
    SEARCH_FUNCTION,
    Hosted,
    McpName,
    Runs,
    is_gateways,
    made,
    typed,
)
from gateway_contract.anthropic import models as anthropic

type Fields = dict[str, object]
type Body = anthropic.AnthropicCreateMessageParams


FUNCTIONS: Final[Mapping[str, str]] = {
    "web_search": SEARCH_FUNCTION,
    "web_fetch": FETCH_FUNCTION,
    "code_execution": CODE_FUNCTION,
}
"""The functions of the gateway's tools, by their names on this wire."""

_SEARCHES = (
    anthropic.AnthropicWebSearchTool20250305,
    anthropic.AnthropicWebSearchTool20260209,
    anthropic.AnthropicWebSearchTool20260318,
)
_FETCHES = (
    anthropic.AnthropicWebFetchTool20250910,
    anthropic.AnthropicWebFetchTool20260209,
    anthropic.AnthropicWebFetchTool20260309,
    anthropic.AnthropicWebFetchTool20260318,
)
_CODES = (
    anthropic.AnthropicCodeExecutionTool20250522,
    anthropic.AnthropicCodeExecutionTool20250825,
    anthropic.AnthropicCodeExecutionTool20260120,
    anthropic.AnthropicCodeExecutionTool20260521,
)
_SAME = ("allowed_domains", "blocked_domains", "max_uses")
# Known fields of a search or a fetch tool; unsupported ones are named as dropped: see `_unsupported_options`.
_OF_HOSTED = frozenset({*_SAME, "user_location", "citations", "max_content_tokens", "response_inclusion"})
_DIRECT_CALLERS = ("allowed_callers", ["direct"])
_PLACE = ("city", "region", "country", "timezone")


def claimed(tool: BaseModel, at: int, runs: Runs, dropped: set[str]) -> Hosted | None:
    """The gateway's tool that replaces it; None if the caller has none.

    Raises ToolNotAvailable or ToolNotAllowed for a type of the gateway's own, and InvalidRequest for wrong options.
    """
    if is_gateways(tool):
        hosted = typed(tool, at)
        runs.require(hosted.type.partition(":")[2], at)
        return hosted
    if not isinstance(tool, (*_CODES, *_SEARCHES, *_FETCHES)):
        return None
    callers = getattr(tool, "allowed_callers", None)
    if (callers and "direct" not in callers) or not runs.has(tool.name):
        return None
    name_unread(tool, _OF_HOSTED, dropped)
    if isinstance(tool, _CODES):
        return made({"type": CODE}, at)
    fields: Fields = {"type": SEARCH, "fetch" if isinstance(tool, _SEARCHES) else "search": False}
    fields |= {option: value for option in _SAME if (value := getattr(tool, option))}
    _check_domains(fields, at)
    if isinstance(tool, _FETCHES):
        dropped.update(f"tools.{name}" for name in _unsupported_options(tool))
    elif (place := tool.user_location) is not None:
        fields["user_location"] = {part: value for part in _PLACE if (value := getattr(place, part))}
    return made(fields, at)


def name_unread(tool: BaseModel, read: Collection[str], dropped: set[str]) -> None:
    """Name the dropped fields of a tool: mostly hints to Anthropic's own service."""
    for name in tool.model_fields_set - {"type", "name", *read}:
        if getattr(tool, name) not in (None, False, [], {}, "") and (name, getattr(tool, name)) != _DIRECT_CALLERS:
            dropped.add(f"tools.{name}")


def _unsupported_options(tool: BaseModel) -> Iterator[str]:
    """Options of page fetches that the gateway does not support."""
    citations, bound, inclusion = (
        getattr(tool, name, None) for name in ("citations", "max_content_tokens", "response_inclusion")
    )
    if citations is not None and citations.enabled:
        yield "citations"
    if bound is not None:
        yield "max_content_tokens"
    if inclusion == "excluded":
        yield "response_inclusion"


@dataclass(frozen=True, slots=True)
class NamedServer:
    """An MCP server in a request: its URL, and the tools that its configuration allows, if not all."""

    url: str
    allowed: frozenset[str] | None


def named_servers(body: Body) -> dict[str, NamedServer]:
    """The servers by name; of several with one name, the first."""
    servers: dict[str, NamedServer] = {}
    for server in body.mcp_servers or ():
        own = server.tool_configuration
        allowed = frozenset(own.allowed_tools) if own is not None and own.allowed_tools is not None else None
        servers.setdefault(server.name, NamedServer(server.url, frozenset() if is_off(server) else allowed))
    return servers


def claimed_toolset(
    toolset: anthropic.AnthropicMcpToolset, at: int, servers: Mapping[str, NamedServer], runs: Runs, dropped: set[str]
) -> tuple[Hosted, dict[str, McpName]] | None:
    """The tools of a listed server, with their names; None if the caller may not use it."""
    label = toolset.mcp_server_name
    server = servers.get(label)
    listed = runs.server(label, server.url if server is not None else None)
    if listed is None:
        return None
    default = toolset.default_config
    configs = toolset.configs or {}
    allowed = server.allowed if server is not None else None
    names: dict[str, McpName] = {}
    for function, tool in runs.server_tools.items():
        own = configs.get(tool.name)
        enabled = next((each.enabled for each in (own, default) if each is not None and each.enabled is not None), True)
        if tool.server != listed or not enabled:
            continue
        if allowed is not None and tool.name not in allowed:
            continue
        names[function] = McpName(label, tool.name)
    if not names:
        return None
    name_unread(toolset, ("mcp_server_name", "default_config", "configs"), dropped)
    for config, path in ((default, "default_config"), *((each, "configs") for each in configs.values())):
        if config is not None and config.defer_loading:
            dropped.add(f"tools.{path}.defer_loading")
    tools = [name.tool for name in names.values()]
    return made({"type": MCP, "servers": [listed], "allowed_tools": tools}, at), names


def is_off(server: anthropic.AnthropicMcpServer) -> bool:
    """Whether a server's configuration disables all its tools."""
    own = server.tool_configuration
    return own is not None and (own.enabled is False or own.allowed_tools == [])


def implied_toolsets(body: Body) -> list[anthropic.AnthropicMcpToolset]:
    """Toolsets for servers without one, as the older beta enables their tools.

    All tools, limited by the server's `tool_configuration`: platform.claude.com "MCP connector", deprecated version
    mcp-client-2025-04-04.
    """
    tools = body.tools or ()
    if any(getattr(tool, "type", None) == MCP for tool in tools):
        return []
    named = {tool.mcp_server_name for tool in tools if isinstance(tool, anthropic.AnthropicMcpToolset)}
    labels = dict.fromkeys(server.name for server in body.mcp_servers or () if server.name not in named)
    return [anthropic.AnthropicMcpToolset(type="mcp_toolset", mcp_server_name=label) for label in labels]


def servers_requested(body: Body, runs: Runs) -> list[str] | None:
    """The listed servers whose tools a request uses; None for all."""
    tools = body.tools or ()
    if any(getattr(tool, "type", None) == MCP for tool in tools):
        return None
    urls = {server.name: server.url for server in body.mcp_servers or ()}
    wanted = [tool.mcp_server_name for tool in tools if isinstance(tool, anthropic.AnthropicMcpToolset)]
    found = (runs.server(label, urls.get(label)) for label in (*wanted, *urls))
    return list(dict.fromkeys(name for name in found if name is not None))


def _check_domains(fields: Mapping[str, object], at: int) -> None:
    """Raise UnsupportedValue for a path: without it, the domain would allow or block more than requested."""
    for name in _SAME[:2]:
        domains = fields.get(name)
        for place, domain in enumerate(domains if isinstance(domains, Sequence) else ()):
            if "/" in str(domain) or "*" in str(domain):
                raise UnsupportedValue(
                    "The gateway's search knows whole domains only, such as example.com: leave the path out.",
                    param=f"tools[{at}].{name}[{place}]",
                )
