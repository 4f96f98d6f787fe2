"""HTTP to one upstream, within limits: connections, sizes, and a deadline for every phase."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Protocol, override
from urllib.parse import quote

from yarl import URL

from ai_gateway.config.constants import UPSTREAM_CONNECTIONS, VERSION
from ai_gateway.contract.budget import UNCHARGED, Allocation
from ai_gateway.contract.expiry import Expiry
from ai_gateway.contract.stream import Sink
from ai_gateway.errors import GatewayError, ModelNotFound, UpstreamStreamTruncated
from ai_gateway.providers.http.broken import BrokenReply, Undelivered
from ai_gateway.providers.http.errors import CLIENT_FAILURES, describe, from_exception
from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.plain_reply import Check
from ai_gateway.providers.http.pool import Connections, Origin, Pool
from ai_gateway.providers.http.request_head import head_lines, json_headers, request_head, request_line
from ai_gateway.providers.http.stream import OpenStream, check_head, too_large, whole_piece
from ai_gateway.providers.http.tls import tls_context
from ai_gateway.providers.upstream import Network, Sizes, Timeouts, Upstream

DRAIN_S = 0.05
_DRAINED = 64 * 1024
_LONGEST_MODEL = 256
_MAX_STARTS = 64  # bounded, because some paths contain model names that callers choose
# Methods that may be retried automatically (RFC 9110, section 9.2.2): those that run no model.
_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE", "OPTIONS", "TRACE"})


@dataclass(slots=True)
class UpstreamReply:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller(Protocol):
    """Calls an upstream within limits. Both methods raise the error for the client.

    `accept` is the wanted media type of the answer to a request that is JSON itself; without it, the headers say both.
    `spent_s` is the part of the request's time that is used already; `allocation` is charged for a whole reply.
    """

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
    ) -> UpstreamReply: ...

    def stream(  # noqa: PLR0913 - as above
        self,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        accept: str | None = None,
        allocation: Allocation | None = None,
        *,
        spent_s: float = 0,
    ) -> AbstractAsyncContextManager[OpenStream]: ...

    @property
    def connections(self) -> Connections | None:
        """The state of the connection pool, once there was a connection."""

    async def aclose(self) -> None: ...


class Transport:
    """Calls one upstream. Redirects are not followed: only configuration says where a credential goes.

    `make_pool` is for tests that need their own certificate or clock.
    """

    def __init__(  # noqa: PLR0913 - what is called, and what bounds it
        self,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        make_pool: Callable[[Origin], Pool] | None = None,
        *,
        sizes: Sizes = Sizes(),  # noqa: B008 - frozen
        network: Network = Network(),  # noqa: B008 - frozen
    ) -> None:
        self._provider = provider
        self._base_url = base_url.rstrip("/")
        url = self.url("")
        tls = tls_context(network.tls) if url.scheme == "https" else None
        proxied = network.proxy.headers if network.proxy is not None and tls is None else {}
        # Compressed replies are not requested: between servers they cost more than they save, and can be bombs.
        self._headers = {"accept-encoding": "identity", "user-agent": f"ai-gateway/{VERSION}", **proxied, **headers}
        self._names = {*(name.lower() for name in self._headers), *json_headers("")}
        self._timeouts = timeouts
        self._sizes = sizes
        self._uncharged = min(UNCHARGED, sizes.reply)
        self._host = url.host_port_subcomponent or ""
        self._path = url.raw_path.rstrip("/")
        if network.proxy is not None and tls is None:  # which reads the request (RFC 9112, section 3.2.2)
            self._path = f"http://{self._host}{self._path}"
        self._origin = Origin(url.raw_host or "", url.port or 80, tls, proxy=network.proxy)
        self._make_pool = make_pool or partial(Pool, limit=UPSTREAM_CONNECTIONS, connect_s=timeouts.connect)
        self._check = partial(check_head, provider, sizes)
        self._pool: Pool | None = None
        self._starts: dict[tuple[str, str, str | None], bytes] = {}

    def url(self, path: str) -> URL:
        """The upstream's URL for a path that is already encoded."""
        return URL(self._base_url + path, encoded=True)

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
        """One whole reply. Raises the error for the client."""
        head = self._head(method, path, headers, accept, body)
        pool = self._pool or self._opened()
        deadline = pool.time() + self._timeouts.request - spent_s
        may_repeat = method in _IDEMPOTENT
        try:
            while True:
                connection = pool.pick() or await pool.connect(deadline)
                try:
                    connection.send(head, body, deadline, self._check)
                    whole = await connection.whole(self._uncharged)
                    if whole is None:
                        whole = await read_large(self._provider, connection, self._sizes, allocation)
                    return UpstreamReply(connection.status, connection.headers, whole)
                except Undelivered as error:
                    if not (error.has_all_of(head, body) or may_repeat):
                        raise
                    may_repeat = may_repeat and error.has_all_of(head, body)
                except ConnectionError:
                    if not (may_repeat and connection.is_stale):
                        raise
                    may_repeat = False
                finally:
                    pool.put_back(connection)
        except CLIENT_FAILURES as error:
            raise from_exception(self._provider, error) from error

    def stream(  # noqa: PLR0913 - as above
        self,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        accept: str | None = None,
        allocation: Allocation | None = None,
        *,
        spent_s: float = 0,
    ) -> AbstractAsyncContextManager[OpenStream]:
        """A reply to be read as it comes; leaving the block closes the connection if it was not read to its end."""
        return _Opening(self, self._head("POST", path, headers, accept, body), body, spent_s, allocation)

    async def sent(self, head: bytes, body: bytes, spent_s: float) -> tuple[Pool, Connection]:
        """The connection on which the reply to a request has begun, and the pool to put it back into."""
        pool = self._pool or self._opened()
        return pool, await begun(pool, head, body, pool.time() + self._timeouts.request - spent_s, self._check)

    def read(self, pool: Pool, connection: Connection, allocation: Allocation | None) -> "_HttpStream":
        """That reply as a stream."""
        return _HttpStream(self._provider, connection, self._timeouts, self._sizes, pool.time, allocation)

    def failed(self, error: Exception) -> GatewayError:
        """The gateway's error for a failure of the connection."""
        return from_exception(self._provider, error)

    def _head(
        self, method: str, path: str, headers: Mapping[str, str], accept: str | None, body: bytes | None
    ) -> bytes:
        length = None if body is None and method == "GET" else len(body or b"")
        if not self._names.isdisjoint(headers):
            line = request_line(method, self._path + path)
            return request_head(line, {**self._usual(accept), **headers}, length)
        # The usual case: the head without its variable parts is validated once.
        start = self._starts.get((method, path, accept))
        if start is None:
            start = (request_line(method, self._path + path) + head_lines(self._usual(accept))).encode()
            if len(self._starts) < _MAX_STARTS:
                self._starts[method, path, accept] = start
        own = head_lines(headers).encode()
        return (
            b"%b%b\r\n" % (start, own) if length is None else b"%b%bContent-Length: %d\r\n\r\n" % (start, own, length)
        )

    def _usual(self, accept: str | None) -> dict[str, str]:
        """The headers of every request."""
        return {"Host": self._host, **self._headers, **json_headers(accept)}

    def _opened(self) -> Pool:
        # Made at the first call, because connections belong to the running event loop.
        self._pool = pool = self._make_pool(self._origin)
        return pool

    @property
    def connections(self) -> Connections | None:
        """The state of the connection pool, once there is one."""
        return self._pool.connections if self._pool is not None else None

    async def aclose(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
            await asyncio.sleep(0)  # sockets are closed in the event loop's next turn


def transport(upstream: Upstream, base_url: str) -> Transport:
    """A transport for the upstream at this URL, with its configured limits and network settings."""
    return Transport(
        upstream.name,
        base_url,
        upstream.sent_headers,
        upstream.timeouts,
        sizes=upstream.sizes,
        network=upstream.network,
    )


async def begun(pool: Pool, head: bytes, body: bytes, deadline: float, check: Check) -> Connection:
    """A connection of the pool on which the reply to a request has begun. Raises what ended it, as for `Connection`.

    A request of which nothing has reached the upstream is sent again on another connection.
    """
    while True:
        connection = pool.pick() or await pool.connect(deadline)
        try:
            connection.send(head, body, deadline, check)
            await connection.head()
        except BaseException as error:
            pool.put_back(connection)
            if not (isinstance(error, Undelivered) and error.has_all_of(head, body)):
                raise
        else:
            return connection


class _Opening(AbstractAsyncContextManager[OpenStream]):
    """A stream from its request to the end of the block. The connection's deadline cuts the block short."""

    __slots__ = (
        "_allocation",
        "_body",
        "_connection",
        "_expiry",
        "_head",
        "_pool",
        "_spent_s",
        "_stream",
        "_transport",
    )

    def __init__(
        self, transport: Transport, head: bytes, body: bytes, spent_s: float, allocation: Allocation | None
    ) -> None:
        self._transport = transport
        self._head, self._body = head, body
        self._spent_s = spent_s
        self._allocation = allocation

    @override
    async def __aenter__(self) -> OpenStream:
        try:
            self._pool, self._connection = await self._transport.sent(self._head, self._body, self._spent_s)
        except CLIENT_FAILURES as error:
            raise self._transport.failed(error) from error
        self._expiry = Expiry().__enter__()
        self._connection.on_deadline = self._expiry.expire
        self._stream = self._transport.read(self._pool, self._connection, self._allocation)
        return self._stream

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.release()
        self._pool.put_back(self._connection)
        try:
            self._expiry.__exit__(kind, error, traceback)
        except TimeoutError as timeout:
            raise self._transport.failed(timeout) from timeout
        if isinstance(error, CLIENT_FAILURES):
            raise self._transport.failed(error) from error


class _HttpStream(OpenStream):
    def __init__(  # noqa: PLR0913, PLR0917 - what is read, and what bounds it
        self,
        provider: str,
        connection: Connection,
        timeouts: Timeouts,
        sizes: Sizes,
        now: Callable[[], float],
        allocation: Allocation | None,
    ) -> None:
        deadline = _Deadline(connection, now)
        super().__init__(provider, connection.status, connection.headers, deadline, timeouts, sizes=sizes)
        self._connection = connection
        self._allocation = allocation

    @override
    async def read(self) -> bytes:
        return await read_large(self.provider, self._connection, self._sizes, self._allocation)

    @override
    async def drain(self) -> None:
        if not self._connection.is_whole:
            with suppress(BrokenReply, OSError):
                async with asyncio.timeout(DRAIN_S):
                    await self._connection.whole(_DRAINED)

    @property
    @override
    def is_whole(self) -> bool:
        return self._connection.is_whole

    @override
    async def next_bytes(self) -> bytes:
        return whole_piece(await self.next_pieces())

    @override
    async def next_pieces(self) -> bytes | list[bytes]:
        connection = self._connection
        try:
            while not (pieces := connection.take_chunks()) and not connection.is_whole:
                await connection.more()
        except (BrokenReply, ConnectionError) as error:
            raise broken_off(self.provider, error) from error
        return pieces

    @override
    def divert(self, take: Sink) -> None:
        self._connection.divert = take

    def release(self) -> None:
        """Release the connection for other requests."""
        del self._connection


class _Deadline:
    """A stream's deadline, kept by its connection."""

    def __init__(self, connection: Connection, now: Callable[[], float]) -> None:
        self.when = connection.deadline
        self.now = now
        self.at = connection.expire_at

    def stop(self) -> None:
        """Nothing to do: the deadline ends with the request."""


async def read_large(provider: str, connection: Connection, sizes: Sizes, allocation: Allocation | None) -> bytes:
    """The whole body, up to the cap; `allocation` is charged for a large one before it is read."""
    paid = min(UNCHARGED, sizes.reply)
    while (body := await connection.whole(paid)) is None:
        if paid >= sizes.reply:
            raise too_large(provider, sizes)
        more = min(paid, sizes.reply - paid)
        if allocation is not None:
            allocation.charge(more, "replies")
        paid += more
    return body


def broken_off(provider: str, error: Exception) -> UpstreamStreamTruncated:
    """The error for a connection that ends in the middle of a stream."""
    return UpstreamStreamTruncated.broken_off(provider, detail=describe(error))


def path_segments(text: str) -> str:
    """A model id as path segments: slashes stay, all else is encoded, and `..` has no effect."""
    segments = text.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ModelNotFound(f"There is no model '{text[:_LONGEST_MODEL]}'.", param="model")
    return "/".join(quote(segment, safe=":@") for segment in segments)
