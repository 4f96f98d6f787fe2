"""HTTP to one upstream, within limits: connections, sizes, and a deadline for every phase."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, override
from urllib.parse import quote

import aiohttp
from yarl import URL

from ai_gateway.config.constants import UPSTREAM_CONNECTIONS, UPSTREAM_MAX_REPLY, VERSION
from ai_gateway.errors import ModelNotFound, UpstreamStreamTruncated
from ai_gateway.providers.http.errors import CLIENT_FAILURES, from_exception
from ai_gateway.providers.http.stream import OpenStream, check_head, too_large
from ai_gateway.providers.upstream import Timeouts

_MAX_HEADER = 16 * 1024
DRAIN_S = 0.05
# Read in small pieces, so that a client who reads slowly does not make us hold much of what the upstream sends.
_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller(Protocol):
    """Whatever calls an upstream within limits. Both calls raise the error that the client is to be told.

    `spent_s` is how much of the request's time has gone already.
    """

    async def fetch(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, *, spent_s: float = 0
    ) -> UpstreamReply: ...

    def stream(
        self, path: str, headers: Mapping[str, str], body: bytes, *, spent_s: float = 0
    ) -> AbstractAsyncContextManager[OpenStream]: ...

    async def aclose(self) -> None: ...


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

    async def fetch(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, *, spent_s: float = 0
    ) -> UpstreamReply:
        """One whole reply. Raises the error that the client is to be told."""
        try:
            async with (
                asyncio.timeout(self._timeouts.request - spent_s),
                self._request(method, path, headers, body) as reply,
            ):
                return UpstreamReply(reply.status, reply.headers, await read_all(self._provider, reply))
        except CLIENT_FAILURES as error:
            raise from_exception(self._provider, error) from error

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str], body: bytes, *, spent_s: float = 0
    ) -> AsyncIterator[OpenStream]:
        """A reply to be read as it comes; leaving the block closes the connection if it was not read to its end."""
        try:
            async with asyncio.timeout(self._timeouts.request - spent_s) as clock:
                async with self._request("POST", path, headers, body) as reply:
                    yield _HttpStream(self._provider, reply, clock, self._timeouts)
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


class _HttpStream(OpenStream):
    def __init__(
        self, provider: str, reply: aiohttp.ClientResponse, clock: asyncio.Timeout, timeouts: Timeouts
    ) -> None:
        super().__init__(provider, reply.status, reply.headers, clock, timeouts)
        self._reply = reply

    @override
    async def read(self) -> bytes:
        return await read_all(self.provider, self._reply)

    @override
    async def drain(self) -> None:
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(DRAIN_S):
                while await self._reply.content.readany():
                    pass

    @override
    async def next_bytes(self) -> bytes:
        try:
            return await self._reply.content.read(_PIECE)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise broken_off(self.provider, error) from error


async def read_all(provider: str, reply: aiohttp.ClientResponse) -> bytes:
    """The whole body, up to the cap."""
    check_head(provider, reply.headers)
    parts: list[bytes] = []
    size = 0
    while part := await reply.content.readany():
        size += len(part)
        if size > UPSTREAM_MAX_REPLY:
            raise too_large(provider)
        parts.append(part)
    return b"".join(parts)


def broken_off(provider: str, error: Exception) -> UpstreamStreamTruncated:
    """The error for a connection that ends in the middle of a stream."""
    return UpstreamStreamTruncated.broken_off(provider, detail=repr(error))


def path_segments(text: str) -> str:
    """A model id as path segments: slashes stay, all else is encoded, and no segment can climb."""
    segments = text.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ModelNotFound("There is no such model.", param="model")
    return "/".join(quote(segment, safe=":@") for segment in segments)
