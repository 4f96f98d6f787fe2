"""HTTP to one upstream, within limits: connections, sizes, and a deadline for every phase."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from ai_gateway.config.constants import UPSTREAM_CONNECTIONS, UPSTREAM_MAX_EVENT, UPSTREAM_MAX_REPLY, VERSION
from ai_gateway.errors import ModelNotFound, UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.providers.failures import CLIENT_FAILURES, from_exception
from ai_gateway.providers.sse import EventParser
from ai_gateway.providers.upstream import Timeouts

_MAX_HEADER = 16 * 1024
_DRAIN_S = 0.05
# Read in small pieces, so that a client who reads slowly does not make us hold much of what the upstream sends.
_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Calls one upstream. Redirects are not followed: only configuration says where a credential goes."""

    def __init__(self, provider: str, base_url: str, headers: Mapping[str, str], timeouts: Timeouts) -> None:
        self._provider = provider
        self._base_url = base_url.rstrip("/")
        # Compressed replies are not asked for: between servers they cost more than they save, and can be bombs.
        self._headers = {"accept-encoding": "identity", "user-agent": f"ai-gateway/{VERSION}", **headers}
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None

    def url(self, path: str) -> URL:
        """The upstream's address of a path that is already encoded."""
        return URL(self._base_url + path, encoded=True)

    async def fetch(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> UpstreamReply:
        """One whole reply. Raises the error that the client is to be told."""
        try:
            async with asyncio.timeout(self._timeouts.request), self._request(method, path, headers, body) as reply:
                return UpstreamReply(reply.status, reply.headers, await read_all(self._provider, reply))
        except CLIENT_FAILURES as error:
            raise from_exception(self._provider, error) from error

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator["OpenStream"]:
        """A reply to be read as it comes; leaving the block closes the connection if it was not read to its end."""
        try:
            async with asyncio.timeout(self._timeouts.request) as clock:
                async with self._request("POST", path, headers, body) as reply:
                    yield OpenStream(self._provider, reply, clock, self._timeouts)
        except CLIENT_FAILURES as error:
            raise from_exception(self._provider, error) from error

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._open().request(
            method, self.url(path), data=body, headers={**self._headers, **headers}, allow_redirects=False
        )

    def _open(self) -> aiohttp.ClientSession:
        # Made at the first call, because a session belongs to the running event loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=UPSTREAM_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
                read_bufsize=_PIECE,
            )
        return self._session

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class OpenStream:
    """The head of a streamed reply, and its events."""

    def __init__(
        self, provider: str, reply: aiohttp.ClientResponse, clock: asyncio.Timeout, timeouts: Timeouts
    ) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = reply.headers
        self._provider = provider
        self._reply = reply
        self._clock = clock
        self._timeouts = timeouts

    async def read(self) -> bytes:
        """The whole body, for a reply that turned out to be no stream."""
        return await read_all(self._provider, self._reply)

    async def events(self) -> AsyncGenerator[bytes]:
        """The data of each event. Every wait is bounded by the idle deadline, all of them by the stream's."""
        check_encoding(self._provider, self._reply)
        parser = EventParser(UPSTREAM_MAX_EVENT)
        now = asyncio.get_running_loop().time
        end = now() + self._timeouts.stream
        idle = now() + self._timeouts.stream_idle
        while True:
            self._clock.reschedule(min(idle, end))
            chunk = await self._next_bytes()
            # A client that reads slowly must not be taken for a silent provider; it has the stream's whole time.
            self._clock.reschedule(end)
            if not chunk:
                return
            lines = parser.lines
            for data in parser.feed(chunk):
                yield data
            if parser.lines > lines:  # single bytes are no progress, however regularly they come
                idle = now() + self._timeouts.stream_idle

    async def drain(self) -> None:
        """Read what little is left after the last event, so that the connection can carry the next request."""
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(_DRAIN_S):
                while await self._reply.content.readany():
                    pass

    async def _next_bytes(self) -> bytes:
        """What has arrived; empty at the end. A connection that breaks off has truncated the stream."""
        try:
            return await self._reply.content.read(_PIECE)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise UpstreamStreamTruncated(
                f"Provider '{self._provider}' broke the stream off before it was complete.", detail=repr(error)
            ) from error


async def read_all(provider: str, reply: aiohttp.ClientResponse) -> bytes:
    """The whole body, up to the cap."""
    check_encoding(provider, reply)
    parts: list[bytes] = []
    size = 0
    while part := await reply.content.readany():
        size += len(part)
        if size > UPSTREAM_MAX_REPLY:
            raise UpstreamInvalidResponse(f"Provider '{provider}' sent a reply that is too large to pass on.")
        parts.append(part)
    return b"".join(parts)


def check_encoding(provider: str, reply: aiohttp.ClientResponse) -> None:
    """Refuse a compressed reply, which was not asked for."""
    if reply.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UpstreamInvalidResponse(f"Provider '{provider}' sent a compressed reply that was not asked for.")


def path_segments(text: str) -> str:
    """A model id as path segments: slashes stay, all else is encoded, and no segment can climb."""
    segments = text.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ModelNotFound("There is no such model.", param="model")
    return "/".join(quote(segment, safe=":@") for segment in segments)
