"""HTTP to an MCP server: bounded in time and size, and to no other origin."""

from collections.abc import AsyncIterator
from typing import override

import httpx2

from ai_gateway.contract.budget import BudgetExceeded, ByteBudget, Loan
from ai_gateway.tools.mcp.server import McpServer

_CONNECT_S = 10.0
_LAST_EVENT_ID = "last-event-id"
# uvicorn and Node.js close idle connections after 5 s by default, and a call over one that is just being closed fails:
# this leaves 4 s for an event loop that lags behind.
_IDLE_S = 1.0
# More than all sessions with a server are likely to need. A call beyond is told so, and not that it took too long.
_CONNECTIONS = httpx2.Limits(max_connections=1_024, max_keepalive_connections=20, keepalive_expiry=_IDLE_S)
_TURN_S = 2.0


class TooLarge(httpx2.ReadError):
    """A reply exceeds the size limit of its server."""


class _Counted(httpx2.AsyncByteStream):
    """`loan` is charged until the stream is closed; None for streams that are not kept."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int, loan: Loan | None) -> None:
        self._stream = stream
        self._most = self._left = most
        self._loan = loan

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge(f"more than {self._most} bytes.")
            if self._loan is not None:
                try:
                    self._loan.charge(len(chunk))
                except BudgetExceeded:
                    raise TooLarge("more than there is memory for now.") from None
            yield chunk

    @override
    async def aclose(self) -> None:
        if self._loan is not None:
            self._loan.release()
        await self._stream.aclose()


class _Bounded(httpx2.AsyncHTTPTransport):
    """Bounds the size of replies; the SDK only bounds single events of streams.

    The stream of a server's own messages, which the SDK opens for each session, is answered as servers without it do
    (protocol 2025-06-18, "Listening for messages from the server"): nothing here reads them, and the streams of a
    hundred sessions would take every connection that there is for calls.
    """

    def __init__(self, most: int, shared: ByteBudget) -> None:
        super().__init__(limits=_CONNECTIONS)
        self._most = most
        self._shared = shared

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and _LAST_EVENT_ID not in request.headers:  # with it, a call's own reply is resumed
            return httpx2.Response(405)
        response = await super().handle_async_request(request)
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":  # compression was not requested, and could be a decompression bomb
            await response.aclose()
            raise TooLarge(f"what is compressed ({encoding[:20]}), which was not requested.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - it is what the transport makes
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Counted(response.stream, self._most, Loan(self._shared) if request.method == "POST" else None),
            extensions=response.extensions,
        )


def client_for(server: McpServer, shared: ByteBudget) -> httpx2.AsyncClient:
    """A client for all sessions with a server: loading certificates is slow. `shared` is the budget of its replies.

    Redirects are followed by the SDK, within the server's own origin only.
    """
    headers = {"accept-encoding": "identity"}
    if server.token is not None:
        headers["authorization"] = f"Bearer {server.token}"
    seconds = server.seconds
    timeout = httpx2.Timeout(seconds, connect=min(_CONNECT_S, seconds), pool=min(_TURN_S, seconds / 2))
    return httpx2.AsyncClient(headers=headers, timeout=timeout, transport=_Bounded(server.size, shared))
