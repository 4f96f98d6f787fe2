"""The connection pool of one upstream: opened on demand, kept for a while, and bounded.

The connection used last is reused first, so that surplus ones grow old and are closed. One timer serves all of them,
including the deadlines of their requests: it fires at the earliest possible deadline, and checks again.
"""

import asyncio
import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from aiohappyeyeballs import start_connection

from ai_gateway.providers.http.broken import Disconnected
from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.lookup import Lookup, Resolve, resolve
from ai_gateway.providers.http.tunnel import open_tunnel
from ai_gateway.providers.upstream import Proxy

IDLE_S = 15.0
# Upstreams close idle connections too: after 5 s by default with uvicorn and Node.js. A request that is sent just then
# fails, so a pool closes its own earlier than its upstream did before, and tries now and then whether that still holds.
_LEAST_IDLE_S = 1.0
_EARLIER, _LATER = 0.8, 1.1
_STEADY_S, _STEP_S = 600.0, 10.0  # after such a close, and between two steps towards `IDLE_S`
_NEXT_ADDRESS_S = 0.25  # RFC 8305, section 5: the delay before the next address is tried concurrently


@dataclass(frozen=True, slots=True)
class Origin:
    """The destination of connections, and the proxy if there is one.

    `tls` is the context if encrypted, `name` the expected name in the certificate if it is not `host`.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    name: str | None = None
    proxy: Proxy | None = None


class Alarm(Protocol):
    """A timer that has been set."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The clock and timers of an event loop, as far as the pool needs them."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None], /) -> Alarm: ...


class Connections(NamedTuple):
    """The number of connections to an upstream, and of requests that wait for one."""

    busy: int
    idle: int
    waiting: int


class Pool:
    """The connections to one origin. At most `limit` exist at a time; further requests wait in turn.

    `pick` a connection, or `connect` if there is none, and `put_back` in any case.
    """

    def __init__(
        self, origin: Origin, limit: int, connect_s: float, *, clock: Clock | None = None, resolve: Resolve = resolve
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.rings_at = math.inf
        self._origin = origin
        self._connect_s = connect_s
        self._clock: Clock = clock or self.loop
        self.time = self._clock.time
        """The present time, in the clock of deadlines."""
        first = origin.proxy or origin  # a proxy resolves the upstream's name itself
        self._lookup = Lookup(first.host, first.port, resolve)
        self._known: set[Connection] = set()  # open or in use
        self._idle: dict[Connection, float] = {}  # with the time since when, and in this order
        self._idle_s = IDLE_S
        self._longer_at = -math.inf
        self._places = limit  # free places for further connections
        self._queue: dict[asyncio.Future[Connection | None], None] = {}
        self._alarm: Alarm | None = None
        self._is_closed = False

    @property
    def connections(self) -> Connections:
        """What there is now."""
        return Connections(len(self._known) - len(self._idle), len(self._idle), len(self._queue))

    def pick(self) -> Connection | None:
        """The usable idle connection that was used last, if there is one."""
        while self._idle:
            connection, since = self._idle.popitem()
            if connection.deadline > self._clock.time():
                if connection.is_quiet:
                    return connection
                self._was_closed_after(self._clock.time() - since)
            connection.close()
        return None

    async def connect(self, deadline: float) -> Connection:
        """A new connection, or the next free one. Raises OSError; TimeoutError if it takes too long."""
        async with asyncio.timeout(deadline - self._clock.time()):
            while (connection := await self._turn()) is not None:
                if connection.is_quiet:
                    return connection
                connection.close()
            try:
                async with asyncio.timeout(self._connect_s):
                    return await self._made()
            except BaseException:
                self._offer(None)
                raise

    def put_back(self, connection: Connection) -> None:
        """Return a connection: the next waiting request gets it, if it can be reused."""
        if connection.finish():
            self._offer(connection)
        else:
            self._known.discard(connection)

    def ring_at(self, when: float) -> None:
        """Check the deadlines at this time."""
        if self._alarm is not None:
            self._alarm.cancel()
        self.rings_at = when
        self._alarm = self._clock.call_at(when, self._ring)

    def ended(self, connection: Connection) -> None:
        """A connection has ended. One in use stays known until it is put back, since its user still has a deadline."""
        since = self._idle.pop(connection, None)
        if since is not None:
            if connection.deadline == math.inf:
                self._has_expired()
            else:
                self._was_closed_after(self._clock.time() - since)
        elif connection.is_stale:  # so may be all that were idle for longer: a second try gets a new one
            while self._idle:
                self._idle.popitem()[0].close()
        if connection in self._known:
            if connection.is_idle:
                self._known.discard(connection)
            self._offer(None)

    def close(self) -> None:
        """Close every connection, and fail every request that waits for one."""
        self._is_closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for connection in list(self._known):
            connection.close()
        while self._queue:
            self._offer(None)

    def _ring(self) -> None:
        self._alarm, self.rings_at = None, math.inf
        now = self._clock.time()
        for connection in [each for each in self._known if each.deadline <= now]:
            connection.expire()
        earliest = min((connection.deadline for connection in self._known), default=math.inf)
        if earliest < self.rings_at:
            self.ring_at(earliest)

    async def _turn(self) -> Connection | None:
        """Wait for a connection that is put back; None for a free place to open one."""
        self._check_open()
        if self._places:
            self._places -= 1
            return None
        turn: asyncio.Future[Connection | None] = self.loop.create_future()
        self._queue[turn] = None
        try:
            connection = await turn
        except BaseException:
            self._queue.pop(turn, None)
            if turn.done() and not turn.cancelled():  # it arrived although the wait was cancelled: pass it on
                self._offer(turn.result())
            raise
        self._check_open()
        return connection

    def _offer(self, connection: Connection | None) -> None:
        """Give the connection, or a free place, to the request that has waited longest; else keep it."""
        while self._queue:
            turn = next(iter(self._queue))
            del self._queue[turn]
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is None:
            self._places += 1
        elif self._is_closed:
            connection.close()
        else:
            self._idle[connection] = now = self._clock.time()
            connection.expire_at(now + self._idle_s)

    def _was_closed_after(self, idle_s: float) -> None:
        """The upstream has closed a connection that was idle for so long."""
        self._idle_s = max(_LEAST_IDLE_S, min(self._idle_s, _EARLIER * idle_s))
        self._longer_at = self._clock.time() + _STEADY_S

    def _has_expired(self) -> None:
        """An idle connection has not been closed by the upstream for as long as it was kept."""
        if self._idle_s < IDLE_S and (now := self._clock.time()) >= self._longer_at:
            self._idle_s = min(IDLE_S, self._idle_s * _LATER)
            self._longer_at = now + _STEP_S

    def _check_open(self) -> None:
        if self._is_closed:
            raise Disconnected("the pool was closed")

    async def _made(self) -> Connection:
        origin = self._origin
        addresses = await self._lookup.addresses()
        try:
            sock = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=self.loop)
        except OSError as error:
            # The traceback's frames refer to it: without this, it would keep the whole request until the next
            # collection.
            raise error.with_traceback(None) from None
        except RuntimeError as error:  # uvloop's, for a descriptor that something else has closed
            raise OSError(str(error)) from None
        if origin.proxy is not None and origin.tls is not None:
            await open_tunnel(self.loop, sock, origin.proxy, origin.host, origin.port)
        _, connection = await self.loop.create_connection(
            lambda: Connection(self),
            sock=sock,
            ssl=origin.tls,
            server_hostname=(origin.name or origin.host).rstrip(".") if origin.tls else None,
        )
        if self._is_closed or not connection.is_open:
            connection.close()
            raise Disconnected("the connection was closed as soon as it was made")
        self._known.add(connection)
        return connection


class PoolOwner:
    """A client of one upstream. Its pool is made at the first call: connections belong to the running event loop."""

    _pool: Pool | None

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
