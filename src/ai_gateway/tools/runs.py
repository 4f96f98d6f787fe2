"""The gateway-run tools of one caller, for translations from other wires."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import override

from ai_gateway.contract.call import Caller
from ai_gateway.errors import GatewayError, ToolNotAllowed, ToolNotAvailable
from ai_gateway.tools.mcp.tool import McpTool
from ai_gateway.tools.offer import PREFIX
from ai_gateway.tools.registry import MCP, WEB_SEARCH, Tools
from ai_gateway.tools.web_search.tool import WebSearch
from ai_gateway.translate.gateway_tools import Runs, ServerTool

WEB_FETCH = "web_fetch"


@dataclass(frozen=True, slots=True)
class CallerTools(Runs):
    """`built_in` says that only the built-in provider is called. `failures` are those of MCP servers."""

    tools: Tools
    caller: Caller
    built_in: bool
    found: dict[str, ServerTool] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    @override
    def server_tools(self) -> Mapping[str, ServerTool]:
        return self.found

    @override
    def has(self, tool: str) -> bool:
        try:
            found = self.tools.find(self.caller, WEB_SEARCH if tool == WEB_FETCH else tool, 0, built_in=self.built_in)
        except (ToolNotAvailable, ToolNotAllowed):
            return False
        return tool != WEB_FETCH or (isinstance(found, WebSearch) and found.reads_pages)

    @override
    def require(self, tool: str, place: int) -> None:
        self.tools.find(self.caller, tool, place, built_in=self.built_in)

    @override
    def server(self, label: str, url: str | None) -> str | None:
        if not self.has(MCP):
            return None
        mcp = self.tools.tools[MCP]
        return mcp.listed_as(self.caller, label, url) if isinstance(mcp, McpTool) else None

    async def query_servers(self, servers: Iterable[str] | None) -> None:
        """Query the tools of these servers, or of all of the caller's. Failed servers are added to `failures`."""
        mcp = self.tools.tools.get(MCP)
        if not isinstance(mcp, McpTool) or not self.has(MCP):
            return
        for server in mcp.names(self.caller) if servers is None else servers:
            try:
                functions = await mcp.functions(self.caller, {"servers": [server]})
            except GatewayError as error:
                self.failures[server] = error.message
                continue
            for function in functions:
                if (origin := function.origin) is not None:
                    self.found[f"{PREFIX}{function.name}"] = ServerTool(
                        origin.server, origin.name, function.description, function.parameters, origin.read_only
                    )
