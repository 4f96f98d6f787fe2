"""One pipelined connection to a Valkey or Redis server, with a timeout for each command.

The clients of either project take some 100 us of CPU for a command; with hiredis, which both use to read replies, and
nothing around it, a command takes 15. Commands are written here, from parts that stay the same from one to the next:
hiredis takes three times as long to pack one with twenty arguments.
"""

import asyncio
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast, override
from urllib.parse import unquote, urlsplit

import hiredis

from ai_gateway.accounts.counters.base import CountersError

TIMEOUT_S = 0.2
# Timeouts are counted in ticks. A late tick does not count: the event loop was busy, and may not have sent the command
# or read the answer yet.
_TICK_S = 0.05
_LATEST_S = 0.02
_TICKS = 5
_CONNECT_S = 1.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 1.0
_MAX_MOVES = 3
_PORT = 6379
_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
_MOVED = re.compile(r"MOVED \d+ (.+):(\d+)")
# Errors of a server that is not the right one any more, or not yet: reconnecting may lead to another.
_ELSEWHERE = ("MOVED", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH")

type Argument = str | int | float


def sent(*arguments: Argument) -> str:
    """Arguments of a command as they are sent, each with its length in bytes."""
    return "".join([f"${len(text.encode())}\r\n{text}\r\n" for text in map(str, arguments)])


def _command(*arguments: Argument) -> bytes:
    return f"*{len(arguments)}\r\n{sent(*arguments)}".encode()


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address and credentials."""

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    database: int
    is_secure: bool

    @override
    def __str__(self) -> str:
        """The address without credentials, for logs."""
        return f"{self.host}:{self.port}/{self.database}"


def address_of(url: str) -> Address:
    """From `redis://USER:PASSWORD@HOST:PORT/DATABASE`; `rediss` for TLS, `valkey` and `valkeys` as well.

    Raises ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss", "valkey", "valkeys"} or not parts.hostname:
        raise ValueError("use redis://HOST:PORT/DATABASE, or rediss:// for TLS")
    if parts.query or parts.fragment:
        raise ValueError("nothing may follow the database's number")
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("a database is a number")
    return Address(
        parts.hostname,
        parts.port or _PORT,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        int(database or 0),
        parts.scheme in {"rediss", "valkeys"},
    )


class Connection:
    """Sends one script's calls to a server.

    Its two keys are `life`, which begins with `key` and names the server's process, and `key` itself. In a cluster it
    is the node of `key`, and of all keys with the same hash tag.

    `line` is None while disconnected. It connects on demand, with growing pauses after failures. Every method raises
    CountersError.
    """

    def __init__(self, address: Address, script: str, key: str) -> None:
        self.life = ""
        self._key = key
        self._address = self._given = address
        self._script = script
        self._tls: ssl.SSLContext | None = None
        self._begins = ""  # what every call begins with, behind the number of its arguments
        self.line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None
        self._pause_s = 0.0
        self._not_before = 0.0
        self._closed = False

    async def connect(self) -> None:
        """Connect; afterwards `line` and `life` are set."""
        if self.line is None:
            await self._connected()

    def send(self, arguments: str, count: int) -> "asyncio.Future[object]":
        """Run the script with so many arguments, as `sent` gives them. The answer is for `checked`.

        It is the same server as before, since values may depend on it.
        """
        line = self.line
        if line is None:
            raise CountersError(f"{self._address}: disconnected")
        return line.request(f"*{count + 5}\r\n{self._begins}{arguments}".encode())

    async def checked(self, answer: object, arguments: str, count: int) -> list[object]:
        """The answer of the script, which may have to be told to the server first."""
        line = self.line
        if line is None:
            raise CountersError(f"{self._address}: disconnected")
        if isinstance(answer, hiredis.ReplyError) and str(answer).startswith("NOSCRIPT"):
            begins = sent("EVAL", self._script, 2, self.life, self._key)
            answer = await line.request(f"*{count + 5}\r\n{begins}{arguments}".encode())
        if isinstance(answer, list):
            return answer
        raise self._refused(line, answer)

    async def aclose(self) -> None:
        """Disconnect, and never connect again."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self.line is not None:
            self.line.abort("closed")

    def _refused(self, line: "_Line", answer: object) -> CountersError:
        text = str(answer)
        if text.startswith(_ELSEWHERE):
            moved = _MOVED.match(text)
            self._address = self._moved_to(moved) if moved else self._given
            self._not_before = self._pause_s = 0.0
            line.abort(text)
        return CountersError(f"{self._address}: {text}")

    def _moved_to(self, moved: re.Match[str]) -> Address:
        return replace(self._given, host=moved[1], port=int(moved[2]))

    async def _connected(self) -> "_Line":
        """A connection, within the time limit of a call."""
        if self._connecting is None:
            if self._closed or time.monotonic() < self._not_before:
                raise CountersError(f"{self._address}: not connected")
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(self._connection_made)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise CountersError(f"{self._address}: no connection within {TIMEOUT_S} s") from None

    def _connection_made(self, connecting: "asyncio.Task[_Line]") -> None:
        self._connecting = None
        if connecting.cancelled() or connecting.exception() is not None:
            self._address = self._given
            self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _MAX_PAUSE_S)
            self._not_before = time.monotonic() + self._pause_s
        else:
            self._pause_s = 0.0

    async def _connect(self) -> "_Line":
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await self._open()
        except (OSError, TimeoutError) as error:
            raise CountersError(f"{self._address}: {error or f'no connection within {_CONNECT_S} s'}") from error

    async def _open(self) -> "_Line":
        for _ in range(_MAX_MOVES):
            line = await self._session()
            elsewhere = _MOVED.match(str(await line.request(_command("EXISTS", self._key))))
            if elsewhere is None:
                self.line = line
                return line
            line.abort("moved")
            self._address = self._moved_to(elsewhere)
        raise CountersError(f"{self._given}: its cluster does not know where the counters are")

    async def _session(self) -> "_Line":
        address = self._address
        if address.is_secure and self._tls is None:
            self._tls = ssl.create_default_context()  # loading the system's trust store takes some 20 ms
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(
            lambda: _Line(self._lost, str(address)), address.host, address.port, ssl=self._tls
        )
        try:
            if address.password is not None:
                await _good(line, "AUTH", *([address.user] if address.user else []), address.password)
            if address.database:
                await _good(line, "SELECT", address.database)
            digest = await _good(line, "SCRIPT", "LOAD", self._script)
            found = _RUN_ID.search(await _good(line, "INFO", "server"))
        except BaseException:
            line.abort("no session")
            raise
        if found is None:
            line.abort("no session")
            raise CountersError(f"{address}: INFO server has no run_id")
        self.life = f"{self._key}{found[1].decode()}:"
        self._begins = sent("EVALSHA", digest.decode(), 2, self.life, self._key)
        return line

    def _lost(self, line: "_Line") -> None:
        if self.line is line:
            self.line = None


async def _good(line: "_Line", *command: Argument) -> bytes:
    answer = await line.request(_command(*command))
    if isinstance(answer, hiredis.ReplyError):
        raise CountersError(f"{line.name}: {command[0]!r}: {answer}")
    return answer if isinstance(answer, bytes) else b""


class _Line(asyncio.Protocol):
    """The protocol. Answers arrive in the order of commands; if one is late, so are all others, and it disconnects."""

    def __init__(self, lost: "Callable[[_Line], None]", name: str) -> None:
        self.name = name
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[object], int]] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._due = 0.0

    def request(self, command: bytes) -> "asyncio.Future[object]":
        """Send a command. The answer may be an error."""
        answer: asyncio.Future[object] = self._loop.create_future()
        if self._transport is None:
            answer.set_exception(CountersError(f"{self.name}: disconnected"))
            return answer
        self._waiting.append((answer, self._ticks))
        if self._timer is None:
            self._tick_later()
        self._transport.write(command)
        return answer

    def abort(self, reason: str) -> None:
        """Disconnect, with this reason for waiting commands."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._lost(self)
        while self._waiting:
            answer, _ = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(CountersError(f"{self.name}: {reason}"))

    def _tick_later(self) -> None:
        self._due = self._loop.time() + _TICK_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        self._ticks += self._loop.time() - self._due < _LATEST_S
        if self._ticks - self._waiting[0][1] >= _TICKS:
            self.abort(f"no answer within {TIMEOUT_S} s")
        else:
            self._tick_later()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # as create_connection promises; uvloop's is no subclass
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @override
    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not False:
                waiting, _ = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(answer)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(f"not the protocol of Redis: {error}")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.abort(str(exc or "disconnected"))
