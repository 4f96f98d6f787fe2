"""HTTP through the client of a vendor's SDK, within the same limits as our own transport.

An SDK brings its own pool, timeouts, retries, redirects and habits of reading. Here it keeps none of them: it gets a
client that is bounded from below, is asked for bytes and not for its models, and every phase has our deadline.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import override

import httpx

from ai_gateway.config.constants import UPSTREAM_CONNECTIONS, UPSTREAM_MAX_REPLY, VERSION
from ai_gateway.contract.budget import UNWEIGHED, Allocation
from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.providers.http.client import DRAIN_S, UpstreamReply
from ai_gateway.providers.http.stream import OpenStream, TimerDeadline, check_head
from ai_gateway.providers.sdk.errors import HTTP_FAILURES, from_sdk_exception
from ai_gateway.providers.upstream import Timeouts, Upstream

# Compressed replies are not asked for: between servers they cost more than they save, and can be bombs.
HEADERS = {"accept-encoding": "identity", "user-agent": f"ai-gateway/{VERSION}"}
_KEEP_ALIVE_S = 15.0


class BoundedTransport(httpx.AsyncHTTPTransport):
    """Connections as many as streams, no proxy from the environment, no cookies, and no reply that swells.

    SDKs read refusals by themselves, so these are capped here; other replies are capped where we read them.
    """

    def __init__(self, provider: str) -> None:
        limits = httpx.Limits(
            max_connections=UPSTREAM_CONNECTIONS,
            max_keepalive_connections=UPSTREAM_CONNECTIONS,
            keepalive_expiry=_KEEP_ALIVE_S,
        )
        super().__init__(verify=ssl.create_default_context(), limits=limits, trust_env=False)
        self._provider = provider

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers = once_each(request.headers)
        response = await super().handle_async_request(request)
        try:
            check_head(self._provider, response.headers)
        except Exception:
            await response.aclose()
            raise
        if "set-cookie" in response.headers:
            del response.headers["set-cookie"]
        if not response.is_success and isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _Capped(response.stream, self._provider)
        return response


class _Capped(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, provider: str) -> None:
        self._stream = stream
        self._provider = provider

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > UPSTREAM_MAX_REPLY:
                raise UpstreamInvalidResponse.too_large(self._provider)
            yield part

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()


def once_each(headers: httpx.Headers) -> httpx.Headers:
    """One field of each name, the last one said: SDKs merge ours with theirs as if case told names apart.

    Strict servers refuse a request that says twice who sends it.
    """
    return httpx.Headers(list({name.lower(): (name, value) for name, value in headers.raw}.values()))


def connect_timeout(timeouts: Timeouts) -> httpx.Timeout:
    """The one timeout that httpx can be trusted with; the others start again with every byte."""
    return httpx.Timeout(None, connect=timeouts.connect)


class SdkTransport(ABC):
    """Calls one upstream through an SDK's client: how a request is opened is what SDKs differ in.

    `failures` are the SDK's own exceptions.
    """

    failures: tuple[type[Exception], ...] = ()

    def __init__(self, upstream: Upstream) -> None:
        self._provider = upstream.name
        self._timeouts = upstream.timeouts
        self._caught: tuple[type[Exception], ...] = (*HTTP_FAILURES, *self.failures)

    @abstractmethod
    def open(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """The head of the reply, whatever its status; leaving the block closes it."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the pool."""

    async def fetch(  # noqa: PLR0913 - see Caller
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        room: Allocation | None = None,
        spent_s: float = 0,
    ) -> UpstreamReply:
        """One whole reply. Raises the error that the client is to be told.

        `spent_s` is how much of the request's time has gone already.
        """
        try:
            async with (
                asyncio.timeout(self._timeouts.request - spent_s),
                self.open(method, path, headers, body) as reply,
            ):
                return UpstreamReply(reply.status_code, reply.headers, await _read_all(self._provider, reply, room))
        except self._caught as error:
            raise from_sdk_exception(self._provider, error) from error

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str], body: bytes, *, room: Allocation | None = None, spent_s: float = 0
    ) -> AsyncIterator[OpenStream]:
        """A reply to be read as it comes; leaving the block closes the connection if it was not read to its end."""
        try:
            async with asyncio.timeout(self._timeouts.request - spent_s) as clock:
                async with self.open("POST", path, headers, body) as reply:
                    yield _SdkStream(self._provider, reply, clock, self._timeouts, room)
        except self._caught as error:
            raise from_sdk_exception(self._provider, error) from error


class _SdkStream(OpenStream):
    def __init__(
        self,
        provider: str,
        reply: httpx.Response,
        clock: asyncio.Timeout,
        timeouts: Timeouts,
        room: Allocation | None,
    ) -> None:
        super().__init__(provider, reply.status_code, reply.headers, TimerDeadline(clock), timeouts)
        self._reply = reply
        self._room = room
        self._parts: AsyncIterator[bytes] | None = None

    @override
    async def read(self) -> bytes:
        return await _read_all(self.provider, self._reply, self._room)

    @override
    async def drain(self) -> None:
        with suppress(httpx.HTTPError, OSError):
            async with asyncio.timeout(DRAIN_S):
                while await self._part():
                    pass

    @override
    async def next_bytes(self) -> bytes:
        try:
            return await self._part()
        except httpx.TransportError as error:
            raise UpstreamStreamTruncated.broken_off(self.provider, detail=repr(error)) from error

    async def _part(self) -> bytes:
        if self._parts is None:
            self._parts = self._reply.aiter_raw()
        return await anext(self._parts, b"")


async def _read_all(provider: str, reply: httpx.Response, room: Allocation | None) -> bytes:
    """The whole body, up to the cap; one that the SDK has read already was capped below. `room` is charged for it."""
    if reply.is_stream_consumed:
        return await reply.aread()
    parts: list[bytes] = []
    size = 0
    async for part in reply.aiter_raw():
        size += len(part)
        if size > UPSTREAM_MAX_REPLY:
            raise UpstreamInvalidResponse.too_large(provider)
        if room is not None and size > UNWEIGHED:
            room.charge(len(part), "replies")
        parts.append(part)
    return b"".join(parts)
