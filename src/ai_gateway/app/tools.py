"""The tools of a deployment, made from its settings; a reload keeps those whose settings are unchanged."""

from collections.abc import Callable, Mapping, Sequence

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ORGANIZATION, DataRetention, HostedToolPermissions, Project
from ai_gateway.accounts.memories import Memories, Quota
from ai_gateway.config.settings import Settings
from ai_gateway.contract.call import Caller
from ai_gateway.providers.http.egress import Egress, public_or_in
from ai_gateway.providers.upstream import Proxy
from ai_gateway.redaction import remember
from ai_gateway.tools.code_execution import CodeExecution
from ai_gateway.tools.mcp.server import McpServer
from ai_gateway.tools.mcp.tool import McpTool
from ai_gateway.tools.memory import MemoryTool
from ai_gateway.tools.process_sandbox import ProcessSandbox
from ai_gateway.tools.registry import WEB_SEARCH, Tools
from ai_gateway.tools.run import Limits
from ai_gateway.tools.sandbox import CodeLimits
from ai_gateway.tools.tool import Tool
from ai_gateway.tools.web_search.backends import ADDRESSES, Brave, SearXNG, Tavily
from ai_gateway.tools.web_search.pages import Pages
from ai_gateway.tools.web_search.rehearsed import Rehearsed
from ai_gateway.tools.web_search.results import Backend
from ai_gateway.tools.web_search.tool import WebSearch

# OpenAI's Administration API's names of tools; it has none for the gateway's memory.
_PERMITTED_AS = {"web_search": "web_search", "code_execution": "code_interpreter", "mcp": "mcp"}
_NOTHING_IS_KEPT = frozenset({"zero_data_retention", "enhanced_zero_data_retention"})
_PICO = 10**12

type ProxyFor = Callable[[str], Proxy | None]
type Kept = Mapping[str, tuple[object, Tool]]
"""Each tool, with the values of its settings."""


class ToolShop:
    """Makes the tools, and remembers their settings."""

    def __init__(self, directory: Callable[[], Directory | None]) -> None:
        self._directory = directory
        self._kept: dict[str, tuple[object, Tool]] = {}
        self._servers: Sequence[McpServer] = ()
        self._proxy: Proxy | None = None

    def tools(
        self, settings: Settings, servers: Sequence[McpServer] = (), proxy_for: ProxyFor = lambda _: None
    ) -> tuple[Tools, Sequence[Tool]]:
        """The tools for these settings, and those that are removed. `proxy_for` gives the proxy of a search service."""
        self._servers = servers
        url = searched_at(settings)
        self._proxy = proxy_for(url) if url is not None else None
        made = {name: self._made(name, settings) for name in _MAKERS}
        kept = {name: each for name, each in made.items() if each is not None}
        still = {id(tool) for _, tool in kept.values()}
        gone = [tool for _, tool in self._kept.values() if id(tool) not in still]
        self._kept = kept
        limits = Limits(
            rounds=settings.tool_rounds_max,
            calls=settings.tool_calls_max,
            seconds=settings.tool_timeout_s,
            result_size=settings.tool_result_max_size,
        )
        prices = {
            name.removeprefix("gateway:"): int(price.call * _PICO)
            for name, price in settings.prices.items()
            if price.call is not None and name.startswith("gateway:")
        }
        tools = Tools({name: tool for name, (_, tool) in kept.items()}, {}, limits, prices, self.allows)
        if (directory := self._directory()) is not None:
            directory.default_tools = frozenset(_PERMITTED_AS[name] for name in kept if name in _PERMITTED_AS)
        tools.rehearsed[WEB_SEARCH] = WebSearch(Rehearsed(), settings.tool_web_search_results_max)
        return tools, gone

    def _made(self, name: str, settings: Settings) -> tuple[object, Tool] | None:
        values = _values(name, settings, self._servers)
        if values is None:
            return None
        if name == WEB_SEARCH:
            values = values, self._proxy
        former = self._kept.get(name)
        if former is not None and former[0] == values:
            return former
        return values, _MAKERS[name](self, settings)

    def web_search(self, settings: Settings) -> Tool:
        """The tool of these settings."""
        pages = Pages(Egress(public_or_in(settings.tool_web_fetch_networks))) if settings.tool_web_fetch else None
        return WebSearch(_backend(settings, self._proxy), settings.tool_web_search_results_max, pages)

    def code_execution(self, settings: Settings) -> Tool:
        """The tool of these settings."""
        limits = CodeLimits(
            min(settings.tool_code_timeout_s, settings.tool_timeout_s),
            settings.tool_code_memory_size,
            settings.tool_result_max_size,
            settings.tool_code_processes,
        )
        if settings.tool_code_execution == "process":
            return CodeExecution(ProcessSandbox(limits), limits)
        from ai_gateway.tools.monty_sandbox import MontySandbox  # noqa: PLC0415 - an extra

        return CodeExecution(MontySandbox(limits), limits)

    def memory(self, settings: Settings) -> Tool:
        """The tool of these settings."""
        quota = Quota(settings.tool_memory_entries_max, settings.tool_memory_max_size)

        def memories() -> Memories | None:
            directory = self._directory()
            return Memories(directory.store, quota) if directory is not None else None

        return MemoryTool(memories, self._may_keep)

    def mcp(self, _settings: Settings) -> Tool:
        """The tool for the configured servers."""
        return McpTool(self._servers, self._is_in)

    def _may_keep(self, project_id: str) -> bool:
        """Whether the data retention of the project, or else of the organization, allows to store call data."""
        directory = self._directory()
        if directory is None:
            return False
        kept = directory.get(DataRetention, project_id)
        if kept is None or kept.type == "organization_default":
            kept = directory.get(DataRetention, ORGANIZATION)
        return kept is None or kept.type not in _NOTHING_IS_KEPT

    def _is_in(self, caller: Caller, projects: frozenset[str]) -> bool:
        """Whether the caller's project has one of these names or ids."""
        directory = self._directory()
        project = directory.get(Project, caller.project_id) if directory is not None else None
        return caller.project_id in projects or (project is not None and project.name in projects)

    def allows(self, caller: Caller, name: str) -> bool:
        """Whether the caller's project may use the tool; by default it may use any."""
        directory = self._directory()
        permissions = directory.get(HostedToolPermissions, caller.project_id) if directory is not None else None
        permitted = _PERMITTED_AS.get(name)
        return permissions is None or permitted is None or permitted in permissions.enabled


def _values(name: str, settings: Settings, servers: Sequence[McpServer]) -> object | None:
    """The settings of a tool; None if it is disabled."""
    is_on = {
        WEB_SEARCH: settings.tool_web_search is not None,
        "code_execution": settings.tool_code_execution is not None,
        "memory": settings.tool_memory,
        "mcp": bool(servers),
    }
    if not is_on[name]:
        return None
    if name == "mcp":
        return tuple(servers)
    fields = [field for field in Settings.model_fields if field.startswith(f"tool_{_FIELDS[name]}")]
    return tuple(getattr(settings, field) for field in (*fields, *_OTHER_FIELDS.get(name, ())))


def searched_at(settings: Settings) -> str | None:
    """The URL of the search service, if any."""
    if settings.tool_web_search in {None, "custom"}:
        return None
    return settings.tool_web_search_url or ADDRESSES.get(settings.tool_web_search)


def _backend(settings: Settings, proxy: Proxy | None) -> Backend:
    key = settings.tool_web_search_api_key.get_secret_value() if settings.tool_web_search_api_key else ""
    remember(key)
    url = searched_at(settings) or ""
    match settings.tool_web_search:
        case "searxng":
            return SearXNG(url, proxy)
        case "tavily":
            return Tavily(key, url, proxy)
        case "brave":
            return Brave(key, url, proxy)
        case _:
            return Rehearsed()


_FIELDS = {WEB_SEARCH: "web_", "code_execution": "code_", "memory": "memory"}
_OTHER_FIELDS = {"code_execution": ("tool_timeout_s", "tool_result_max_size")}
_MAKERS: Mapping[str, Callable[[ToolShop, Settings], Tool]] = {
    WEB_SEARCH: ToolShop.web_search,
    "code_execution": ToolShop.code_execution,
    "memory": ToolShop.memory,
    "mcp": ToolShop.mcp,
}
