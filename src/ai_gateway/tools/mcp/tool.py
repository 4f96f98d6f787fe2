"""The tool `mcp`: tools of listed MCP servers as functions."""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, override

import structlog
from pydantic import JsonValue

from ai_gateway.contract.budget import ByteBudget
from ai_gateway.contract.call import Caller
from ai_gateway.errors import Unavailable, UnsupportedParameter, UnsupportedValue
from ai_gateway.tools.mcp.server import McpFailure, McpServer
from ai_gateway.tools.tool import Function, Origin, Result, Tool, Use

if TYPE_CHECKING:
    from mcp_types import Tool as Offered

    from ai_gateway.tools.mcp.session import McpSession

_SESSION, _EGRESS = "ai_gateway.tools.mcp.session", "ai_gateway.tools.mcp.egress"
_OPTIONS = ("servers", "allowed_tools")
_LIST_S = 60.0  # for which a list of tools is cached
_LIST_AGAIN_S = 5.0  # after a failure, in which what is known is offered without a new list
_MAX_LIST_S = 10.0
_IDLE_S = 120.0
_MAX_REPLIES = 64 * 2**20  # bytes of replies that are being read, per worker
# With the gateway's prefix, this makes 64: the limit of `FunctionObject.name` in OpenAI's document.
_MAX_NAME_LENGTH = 56
_MAX_DESCRIPTION_LENGTH = 2_000
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
_log = structlog.get_logger(__name__)

type _Key = tuple[str, str | None, str, str]


@dataclass(slots=True)
class _Listed:
    """The cached tools of a server, and their expiry.

    Everybody who needs them awaits the same task, which returns why they are not there.
    """

    tools: Sequence["Offered"] = ()
    until: float = 0.0
    not_before: float = 0.0
    known: bool = False
    listing: asyncio.Task[str | None] | None = None


@dataclass(slots=True)
class _Made:
    """The connections that all sessions with a server share."""

    session: Any = None
    http: Any = None
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


def _load(server: McpServer, shared: ByteBudget) -> tuple[Any, Any]:
    """The session class, and a client for it. Slow: not to be called on the event loop."""
    return import_module(_SESSION).McpSession, import_module(_EGRESS).client_for(server, shared)


class McpTool(Tool):
    """`is_in` says whether a caller's project is one of these names or ids.

    There are at most `most_sessions` with one server, so that one that hangs leaves the others alone, and `most_of_one`
    of these for one caller, who leaves places for others.
    """

    name = "mcp"

    def __init__(
        self,
        servers: Sequence[McpServer],
        is_in: Callable[[Caller, frozenset[str]], bool],
        *,
        most_sessions: int = 256,
        most_of_one: int = 192,
    ) -> None:
        self._most_sessions, self._most_of_one = most_sessions, most_of_one
        self._servers = {server.name: server for server in servers}
        self._is_in = is_in
        self._lists = {name: _Listed() for name in self._servers}
        self._made = {name: _Made() for name in self._servers}
        self._sessions: OrderedDict[_Key, McpSession] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._replies = ByteBudget(_MAX_REPLIES)

    @override
    async def functions(self, caller: Caller, options: Mapping[str, JsonValue]) -> Sequence[Function]:
        servers = self._chosen(caller, options)
        wanted = _names(options, "allowed_tools")
        listed = await asyncio.gather(*(self._listed(server) for server in servers), return_exceptions=True)
        functions: dict[str, Function] = {}
        failures: list[BaseException] = []
        for server, tools in zip(servers, listed, strict=True):
            if isinstance(tools, BaseException):
                failures.append(tools)
                continue
            for tool in tools:
                is_allowed = server.tools is None or tool.name in server.tools
                if is_allowed and (wanted is None or tool.name in wanted):
                    made = self._function(server, tool)
                    functions.setdefault(made.name, made)  # a server may list a name twice
        for failure in failures:
            if not isinstance(failure, McpFailure):
                raise failure
        if failures and len(failures) == len(servers):  # working servers are offered without the failed ones
            raise Unavailable(str(failures[0]), headers={"retry-after": "5"})
        return list(functions.values())

    def names(self, caller: Caller) -> list[str]:
        """The servers that this caller may use."""
        return [server.name for server in self._chosen(caller, {})]

    def listed_as(self, caller: Caller, label: str, url: str | None) -> str | None:
        """The name of the caller's server at this URL or, without one, of this name; None if there is none."""
        may = self._chosen(caller, {})
        if url is not None:
            return next((server.name for server in may if _same(server.url, url)), None)
        return next((server.name for server in may if server.name == label), None)

    def _chosen(self, caller: Caller, options: Mapping[str, JsonValue]) -> list[McpServer]:
        """The servers that a request uses. Raises InvalidRequest."""
        for name in options:
            if name not in _OPTIONS:
                raise UnsupportedParameter(f"gateway:mcp has no option {name}. It has: {', '.join(_OPTIONS)}.")
        may = {
            name: server
            for name, server in self._servers.items()
            if server.projects is None or self._is_in(caller, frozenset(server.projects))
        }
        wanted = _names(options, "servers")
        if wanted is None:
            return list(may.values())
        if unknown := [name for name in wanted if name not in may]:
            known = ", ".join(may) or "none"
            raise UnsupportedValue(f"There is no MCP server '{unknown[0]}' for this key. There is: {known}.")
        return [may[name] for name in wanted]

    async def _listed(self, server: McpServer) -> Sequence["Offered"]:
        """The tools of a server; the cached ones if it does not respond. Raises McpFailure."""
        listed = self._lists[server.name]
        if time.monotonic() >= max(listed.until, listed.not_before):
            if listed.listing is None or listed.listing.done():
                listed.listing = asyncio.create_task(self._list(server, listed))
            # One after the other, the last of a hundred would wait for a hundred times the limit. A client that leaves
            # must not cancel it for the others.
            if (problem := await asyncio.shield(listed.listing)) is not None:
                raise McpFailure(problem)
        return listed.tools

    async def _list(self, server: McpServer, listed: _Listed) -> str | None:
        """Refresh the tools of a server. Returns the problem if they are not known, not even from before."""
        key = (server.name, None, "", "")
        try:
            session = await self._session(key)
            listed.tools = await session.tools(min(_MAX_LIST_S, server.seconds))
        except McpFailure as failure:
            _log.warning("MCP tools not listed", server=server.name, problem=str(failure))
            self._drop_idle(key)
            if not listed.known:
                return str(failure)
            listed.not_before = time.monotonic() + _LIST_AGAIN_S
            return None
        listed.known = True
        listed.until = time.monotonic() + _LIST_S
        return None

    def expire_lists(self) -> None:
        """Expire the cached tools of every server."""
        for listed in self._lists.values():
            listed.until = listed.not_before = 0.0

    def _function(self, server: McpServer, tool: "Offered") -> Function:
        async def run(use: Use) -> Result:
            return await self._run(server, tool.name, use)

        description = tool.description or tool.title or tool.name
        if len(description) > _MAX_DESCRIPTION_LENGTH:
            description = f"{description[:_MAX_DESCRIPTION_LENGTH]} ..."
        hints = tool.annotations
        origin = Origin(server.name, tool.name, read_only=bool(hints is not None and hints.read_only_hint))
        # OpenAI and Azure refuse a schema without: "object schema missing properties".
        parameters = {"properties": {}, **tool.input_schema, "type": "object"}
        return Function(function_name(server.name, tool.name), description, parameters, run, origin)

    async def _run(self, server: McpServer, tool: str, use: Use) -> Result:
        key = (server.name, use.caller.key_id, use.caller.project_id, use.session or use.call_id)
        try:
            session = await self._session(key)
            return await session.call(tool, use.arguments, use.seconds)
        except McpFailure as failure:
            # The server may have been restarted, with other tools and without this session.
            self._lists[server.name].until = 0.0
            self._drop_idle(key)
            return Result(str(failure), failed=True)

    async def _session(self, key: _Key) -> "McpSession":
        """The session of this caller and conversation with the server. Raises McpFailure."""
        made = self._made[key[0]]
        async with made.making:
            if made.http is None:
                made.session, made.http = await asyncio.to_thread(_load, self._servers[key[0]], self._replies)
        if self._closed:
            raise McpFailure("The gateway is stopping.")
        self._forget()
        session = self._sessions.get(key)
        if session is None:
            self._make_room(key)
            session = self._sessions[key] = made.session(self._servers[key[0]], made.http)
        self._sessions.move_to_end(key)
        return session

    def _forget(self) -> None:
        """Close sessions that are over, or were not used for long."""
        now = time.monotonic()
        for key, session in [*self._sessions.items()]:
            if session.is_over or (not session.busy and now - session.used > _IDLE_S):
                self._drop(key)

    def _make_room(self, key: _Key) -> None:
        """Close the session that is idle longest if its server, or the caller there, has too many.

        Raises McpFailure if none is idle.
        """
        for part, most in ((key[:3], self._most_of_one), (key[:1], self._most_sessions)):
            alike = [each for each in self._sessions if each[: len(part)] == part]
            if len(alike) >= most:
                idle = next((each for each in alike if not self._sessions[each].busy), None)
                if idle is None:
                    raise McpFailure(f"There are too many sessions with the server '{key[0]}': try later.")
                self._drop(idle)

    def _drop_idle(self, key: _Key) -> None:
        """Close a session after a failure, unless other calls use it."""
        if (former := self._sessions.get(key)) is not None and not former.busy:
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        self._close_later(self._sessions.pop(key))

    def _close_later(self, session: "McpSession") -> None:
        task = asyncio.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    @override
    async def close(self) -> None:
        self._closed = True
        closing: list[Awaitable[None]] = [session.close() for session in self._sessions.values()]
        self._sessions.clear()
        listing = [listed.listing for listed in self._lists.values() if listed.listing is not None]
        await asyncio.gather(*closing, *self._closing, *listing, return_exceptions=True)
        for made in self._made.values():
            http, made.http = made.http, None
            if http is not None:
                await http.aclose()


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


def function_name(server: str, tool: str) -> str:
    """The unique function name of a server's tool.

    Servers have names without underscores.
    """
    plain = f"mcp_{server}_{tool}"
    name = _NO_NAME.sub("_", plain)
    if name == plain and len(name) <= _MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(f"{server}\0{tool}".encode("utf-8", "replace")).hexdigest()[:8]
    return f"{name[: _MAX_NAME_LENGTH - 9]}_{digest}"


def _names(options: Mapping[str, JsonValue], option: str) -> list[str] | None:
    """The names of an option, None if it is not there. Raises UnsupportedValue."""
    names = options.get(option)
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UnsupportedValue(f"{option} of gateway:mcp has to be a list of names.")
    return list(dict.fromkeys(str(name) for name in names))
