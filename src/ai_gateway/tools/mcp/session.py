"""A session with an MCP server, by the official SDK. Importing this module takes a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import anyio
import httpx2
import structlog
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    Implementation,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)
from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from ai_gateway.config.constants import VERSION
from ai_gateway.redaction import MARK, redact
from ai_gateway.tools.mcp.egress import TooLarge
from ai_gateway.tools.mcp.server import McpFailure, McpServer
from ai_gateway.tools.tool import Result

_MAX_PAGES = 20
_MAX_TOOLS = 500
_MAX_REASON_LENGTH = 500
_CLOSE_S = 2.0
_log = structlog.get_logger(__name__)


class McpSession:
    """Connects on its own, and stays connected until it is closed or the server disconnects.

    The SDK requires that one task opens and closes a connection: the session has its own.
    """

    def __init__(self, server: McpServer, http: httpx2.AsyncClient) -> None:
        self.server = server
        self._http = http
        self.used = time.monotonic()
        self.busy = 0
        self._ended: McpFailure | None = None
        self._closing = asyncio.Event()
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._stay_connected())

    @property
    def is_over(self) -> bool:
        """Whether it can be used no more."""
        return self._task.done() or self._closing.is_set()

    async def tools(self, seconds: float) -> list[Tool]:
        """Every tool of the server. Raises McpFailure."""
        found: list[Tool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._request(partial(Client.list_tools, cursor=cursor), seconds)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None or len(found) >= _MAX_TOOLS:
                break
        return found[:_MAX_TOOLS]

    async def call(self, name: str, arguments: Mapping[str, JsonValue], seconds: float) -> Result:
        """Call a tool. Raises McpFailure."""
        result = await self._request(lambda client: client.call_tool(name, dict(arguments)), seconds)
        text = _text(result)
        if self.server.token:  # servers that echo requests would reveal it
            text = text.replace(self.server.token, MARK)
        return Result(text or "(no content)", failed=result.is_error)

    async def _request[Reply](self, send: Callable[[Client], Awaitable[Reply]], seconds: float) -> Reply:
        self.busy += 1
        try:
            async with asyncio.timeout(min(seconds, self.server.seconds)):
                client = await asyncio.shield(self._client)
                return await send(client)
        except TimeoutError:
            raise McpFailure(f"The server '{self.server.name}' did not answer in time.") from None
        except McpFailure:
            raise
        except Exception as error:
            raise await self._reason(error) from error
        finally:
            self.busy -= 1
            self.used = time.monotonic()

    async def _reason(self, error: Exception) -> McpFailure:
        """The reason of a failure; for a closed connection, the session's task gets it a moment later."""
        if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
            await asyncio.wait({self._task}, timeout=_CLOSE_S)
        return self._ended or self._failure(error)

    async def close(self) -> None:
        """End the session; the request that ends it at the server has a short timeout."""
        self._closing.set()
        await asyncio.wait({self._task}, timeout=_CLOSE_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _stay_connected(self) -> None:
        try:
            async with Client(
                streamable_http_client(self.server.url, http_client=self._http, max_sse_event_size=self.server.size),
                client_info=Implementation(name="ai-gateway", version=VERSION),
                read_timeout_seconds=self.server.seconds,
                cache=None,
            ) as client:
                self._client.set_result(client)
                await self._closing.wait()
        except Exception as error:
            failure = self._ended = self._failure(error)
            _log.warning("MCP server failed", server=self.server.name, problem=str(failure))
            if not self._client.done():
                self._client.set_exception(failure)
                self._client.exception()  # mark it as retrieved: it is reported to waiting callers or logged
        finally:
            if not self._client.done():
                self._client.set_exception(McpFailure(f"The session with '{self.server.name}' was closed."))
                self._client.exception()

    def _failure(self, error: BaseException) -> McpFailure:
        """The reason for a model, unwrapped from an exception group."""
        while isinstance(error, BaseExceptionGroup) and error.exceptions:
            error = error.exceptions[0]
        match error:
            case McpFailure():
                return error
            case MCPError():
                message = f"refused: {redact(str(error)[:_MAX_REASON_LENGTH])}"
            case ValidationError():
                message = "does not answer as the protocol demands."
            case TooLarge():
                message = f"sent too much: {error}"
            case httpx2.HTTPStatusError():
                message = f"answered with status {error.response.status_code}."
            case httpx2.HTTPError() | OSError() | anyio.ClosedResourceError() | anyio.BrokenResourceError():
                is_busy = isinstance(error, httpx2.PoolTimeout)
                message = (
                    "has too many calls at once: try later." if is_busy else "cannot be reached, or has broken off."
                )
            case _:
                message = f"failed ({type(error).__name__})."
        return McpFailure(f"The server '{self.server.name}' {message}")


def _text(result: CallToolResult) -> str:
    """A result as text for a model: its texts, and a placeholder for other content."""
    parts = []
    for block in result.content:
        match block:
            case TextContent():
                parts.append(block.text)
            case ImageContent() | AudioContent():
                parts.append(f"[{block.mime_type}: not shown]")
            case ResourceLink():
                parts.append(f"[{block.name}: {block.uri}]")
            case EmbeddedResource(resource=TextResourceContents() as resource):
                parts.append(resource.text)
            case EmbeddedResource():
                parts.append(f"[{block.resource.uri}: not shown]")
    if not parts and result.structured_content is not None:
        return to_json(result.structured_content).decode()
    return "\n".join(parts)
