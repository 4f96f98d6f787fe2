"""HTTP through the client of a vendor's SDK, within the same limits as our own transport.

An SDK has its own pool, timeouts, retries, redirects and parsing. None of them is used: its requests go over our
connections, it returns bytes and not its models, and every phase has our deadline.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import override

import httpx

from ai_gateway.config.constants import UPSTREAM_CONNECTIONS, VERSION
from ai_gateway.contract.budget import UNCHARGED, Allocation
from ai_gateway.providers.http.broken import BrokenReply
from ai_gateway.providers.http.client import (
    DRAIN_S,
    UpstreamReply,
    begun,
    broken_off,
)
from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.pool import Connections, Origin, Pool
from ai_gateway.providers.http.request_head import json_headers, request_head, request_line
from ai_gateway.providers.http.stream import OpenStream, TimerDeadline, check_head, too_large
from ai_gateway.providers.http.tls import tls_context
from ai_gateway.providers.sdk.errors import HTTP_FAILURES, from_sdk_exception
from ai_gateway.providers.upstream import Sizes, Timeouts, Upstream

# Compressed replies are not requested: between servers they cost more than they save, and can be decompression bombs.
HEADERS = {"accept-encoding": "identity", "user-agent": f"ai-gateway/{VERSION}"}


class BoundedTransport(httpx.AsyncBaseTransport):
    """An httpx transport over our own connections, with the same limits as our own client.

    It uses only the configured proxy, no cookies and no compression, and never reuses a connection with surplus bytes.
    SDKs read error responses by themselves, so these are capped here; others are capped where we read them.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._provider = upstream.name
        self._timeouts = timeouts = upstream.timeouts
        self._sizes = upstream.sizes
        self._network = upstream.network
        self._longest_s = timeouts.request + timeouts.stream  # each call has a shorter deadline of its own
        self._check = partial(check_head, upstream.name, upstream.sizes)
        self._pool: Pool | None = None

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        headers = dict(once_each(request.headers).multi_items())
        headers.pop("content-length", None)
        length = None if request.method == "GET" else len(body)
        target = request.url.raw_path.decode()
        if self._network.proxy is not None and request.url.scheme == "http":  # which reads the request
            target = f"http://{request.url.netloc.decode()}{target}"
            headers |= self._network.proxy.headers
        head = request_head(request_line(request.method, target), headers, length)
        pool = self._pool or self._opened(request.url)
        deadline = pool.time() + self._longest_s
        connection = await begun(pool, head, body, deadline, self._check)
        fields = {name: value for name, value in connection.headers.items() if name != "set-cookie"}
        if "content-type" in fields:  # without its charset, by which an SDK would decode the body
            fields["content-type"] = fields["content-type"].partition(";")[0]
        reply = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
        sizes = None if 200 <= connection.status < 300 else self._sizes
        stream = _Body(self._provider, pool, connection, sizes)
        return httpx.Response(connection.status, headers=reply, stream=stream, request=request)

    @property
    def connections(self) -> Connections | None:
        """Those of the pool, once there is one."""
        return self._pool.connections if self._pool is not None else None

    def _opened(self, url: httpx.URL) -> Pool:
        # Made at the first call, because connections belong to the running event loop. All calls go to one host.
        tls = tls_context(self._network.tls) if url.scheme == "https" else None
        origin = Origin(url.raw_host.decode(), url.port or (443 if tls else 80), tls, proxy=self._network.proxy)
        self._pool = pool = Pool(origin, limit=UPSTREAM_CONNECTIONS, connect_s=self._timeouts.connect)
        return pool

    @override
    async def aclose(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
            await asyncio.sleep(0)  # sockets are closed in the event loop's next turn


class _Body(httpx.AsyncByteStream):
    """A reply's body as a stream, within `sizes` if given."""

    def __init__(self, provider: str, pool: Pool, connection: Connection, sizes: Sizes | None) -> None:
        self._provider = provider
        self._pool = pool
        self._connection: Connection | None = connection
        self._sizes = sizes

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while (connection := self._connection) is not None:
            while not (piece := connection.take()) and not connection.is_whole:
                await connection.more()
            if not piece:
                return
            size += len(piece)
            if self._sizes is not None and size > self._sizes.reply:
                raise too_large(self._provider, self._sizes)
            yield piece

    @override
    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.put_back(connection)


_EMPTY = httpx.ByteStream(b"")


def once_each(headers: httpx.Headers) -> httpx.Headers:
    """The last field of each name: SDKs merge headers as if names were case-sensitive.

    Strict servers refuse a request with two Authorization headers.
    """
    return httpx.Headers(list({name.lower(): (name, value) for name, value in headers.raw}.values()))


class SdkTransport(ABC):
    """Calls one upstream through an SDK's client; subclasses implement how a request is opened.

    `failures` are the SDK's own exceptions. `carrier` is the transport for the SDK's client.
    """

    failures: tuple[type[Exception], ...] = ()

    def __init__(self, upstream: Upstream) -> None:
        self._provider = upstream.name
        self._timeouts = upstream.timeouts
        self._sizes = upstream.sizes
        self.carrier = BoundedTransport(upstream)
        self._caught: tuple[type[Exception], ...] = (*HTTP_FAILURES, *self.failures)

    @abstractmethod
    def open(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """The reply with its head read, of any status; leaving the block closes it."""

    @property
    def connections(self) -> Connections | None:
        """The state of the connection pool, once there was a connection."""
        return self.carrier.connections

    @abstractmethod
    async def aclose(self) -> None:
        """Close the pool."""

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        async with self.open(method, path, headers, body) as reply:
            try:
                yield reply
            finally:
                await reply.aclose()
                reply.stream = _EMPTY  # breaks the reference cycle of httpx's reply and stream

    async def fetch(  # noqa: PLR0913, PLR0917 - what a request is made of, and what bounds it
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        accept: str | None = None,
        allocation: Allocation | None = None,
        *,
        spent_s: float = 0,
    ) -> UpstreamReply:
        """One whole reply. Raises the error for the client.

        `spent_s` is the part of the request's time that is used already; `allocation` is charged for a large reply.
        """
        try:
            async with (
                asyncio.timeout(self._timeouts.request - spent_s),
                self._opened(method, path, {**json_headers(accept), **headers}, body) as reply,
            ):
                return UpstreamReply(
                    reply.status_code, reply.headers, await _read_all(self._provider, reply, self._sizes, allocation)
                )
        except self._caught as error:
            raise from_sdk_exception(self._provider, error) from error

    @asynccontextmanager
    async def stream(  # noqa: PLR0913 - as above
        self,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        accept: str | None = None,
        allocation: Allocation | None = None,
        *,
        spent_s: float = 0,
    ) -> AsyncIterator[OpenStream]:
        """A reply to be read as it comes; leaving the block closes the connection if it was not read to its end."""
        try:
            async with asyncio.timeout(self._timeouts.request - spent_s) as clock:
                async with self._opened("POST", path, {**json_headers(accept), **headers}, body) as reply:
                    yield _SdkStream(self._provider, reply, clock, self._timeouts, self._sizes, allocation)
        except self._caught as error:
            raise from_sdk_exception(self._provider, error) from error


class _SdkStream(OpenStream):
    def __init__(  # noqa: PLR0913, PLR0917 - what is read, and what bounds it
        self,
        provider: str,
        reply: httpx.Response,
        clock: asyncio.Timeout,
        timeouts: Timeouts,
        sizes: Sizes,
        allocation: Allocation | None,
    ) -> None:
        super().__init__(provider, reply.status_code, reply.headers, TimerDeadline(clock), timeouts, sizes=sizes)
        self._reply = reply
        self._allocation = allocation
        self._parts: AsyncIterator[bytes] | None = None

    @override
    async def read(self) -> bytes:
        return await _read_all(self.provider, self._reply, self._sizes, self._allocation)

    @override
    async def drain(self) -> None:
        with suppress(BrokenReply, OSError):
            async with asyncio.timeout(DRAIN_S):
                while await self._part():
                    pass

    @override
    async def next_bytes(self) -> bytes:
        try:
            return await self._part()
        except (BrokenReply, ConnectionError) as error:
            raise broken_off(self.provider, error) from error

    async def _part(self) -> bytes:
        if self._parts is None:
            self._parts = self._reply.aiter_raw()
        return await anext(self._parts, b"")


async def _read_all(provider: str, reply: httpx.Response, sizes: Sizes, allocation: Allocation | None) -> bytes:
    """The whole body, up to the cap; one that the SDK has read was capped by the transport."""
    if reply.is_stream_consumed:
        return await reply.aread()
    parts: list[bytes] = []
    size = 0
    async for part in reply.aiter_raw():
        size += len(part)
        if size > sizes.reply:
            raise too_large(provider, sizes)
        if allocation is not None and size > UNCHARGED:
            allocation.charge(len(part), "replies")
        parts.append(part)
    return b"".join(parts)
