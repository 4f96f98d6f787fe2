"""An OpenAI-like upstream on loopback that misbehaves to order and remembers what it was asked.

The `model` of a request chooses the behaviour (`tests/support/behaviours.py`); what follows a `#` is only a label that
tells one test's requests from another's. It runs in a thread of its own, so sync and async tests can use it alike.
"""

import asyncio
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.support.serving import HOST, serving

REASONS = {200: "OK", 204: "No Content", 302: "Found", 429: "Too Many Requests", 500: "Internal Server Error"}


class Hangup(Exception):
    """A behaviour asks for the connection to be closed."""


@dataclass
class Seen:
    """One request as it arrived. `gone` is set when it has ended; `gone_at` says when (monotonic).

    Requests of the same `peer`, a port, came over the same connection.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float = field(default_factory=time.monotonic)
    gone: threading.Event = field(default_factory=threading.Event)
    gone_at: float = 0.0
    peer: int = 0

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body or b"{}")
        return value

    @property
    def model(self) -> str:
        if self.method == "GET":
            _, found, name = self.path.partition("/models/")
            return unquote(name) if found else "models-list"
        with suppress(ValueError, AttributeError, RecursionError):  # a body may be anything
            return str(self.json.get("model", ""))
        return ""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def left(self) -> None:
        self.gone_at = time.monotonic()
        self.gone.set()


class Exchange:
    """One request and the pen that answers it."""

    def __init__(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.seen = seen
        self.writer = writer

    async def raw(self, *pieces: bytes) -> None:
        """Exact bytes, each piece in a packet of its own as far as loopback keeps them apart."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.01)

    async def reply(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        await self.raw(head(status, fields) + body)

    async def json(self, value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        await self.reply(json.dumps(value).encode(), status=status, headers=headers)

    async def open_stream(self) -> None:
        await self.raw(head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}))

    async def chunk(self, piece: bytes) -> None:
        """One HTTP chunk, whatever it holds of an event."""
        await self.raw(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def event(self, value: object) -> None:
        await self.chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    async def end_stream(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def hang(self) -> None:
        """Until the other side leaves, or the upstream is stopped."""
        await asyncio.sleep(3600)

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise Hangup


Behaviour = Callable[[Exchange], Awaitable[None]]


class Upstream:
    """Start with `running_upstream()`. `requests` grows in order of arrival."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._tls = tls
        self._programmed: dict[str, tuple[bytes, ...]] = {}
        self.requests: list[Seen] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{HOST}:{self.port}/v1"

    def program(self, model: str, *pieces: bytes) -> None:
        """Answer requests for this model with these exact bytes, then close unless the reply says where it ends.

        A connection that is closed although it could have been kept is met by the next request just as it closes.
        """
        self._programmed[model] = pieces

    def forget(self) -> None:
        """Begin anew: no request has been made, and no model has a program."""
        self.requests.clear()
        self._programmed.clear()

    def seen(self, model: str) -> list[Seen]:
        return [seen for seen in list(self.requests) if seen.model == model]

    def last(self, model: str, within: float = 15.0) -> Seen:
        """The newest request for this model; waits for the first one."""
        deadline = time.monotonic() + within
        while not (found := self.seen(model)):
            assert time.monotonic() < deadline, f"no request for {model!r} reached the upstream within {within} s"
            time.sleep(0.01)
        return found[-1]

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = b""
        with suppress(Hangup):
            while seen := await _read_request(reader, first):
                seen.peer = writer.get_extra_info("peername")[1]
                self.requests.append(seen)
                try:
                    first = await self._answer(reader, Exchange(seen, writer))
                finally:
                    seen.left()

    async def _answer(self, reader: asyncio.StreamReader, exchange: Exchange) -> bytes:
        """Behave until done or until the client leaves; the first byte of the next request, or none."""
        acting = asyncio.ensure_future(self._act(exchange))
        watching = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({acting, watching}, return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                acting.result()
            elif not watching.result():
                raise Hangup
            await acting
            return await watching
        finally:
            for task in (acting, watching):
                task.cancel()
            await asyncio.gather(acting, watching, return_exceptions=True)

    async def _act(self, exchange: Exchange) -> None:
        if (pieces := self._programmed.get(exchange.seen.model)) is not None:
            await exchange.raw(*pieces)
            if keeps_its_connection(b"".join(pieces)):
                return
            raise Hangup
        await self._behave(exchange)


async def _read_request(reader: asyncio.StreamReader, first: bytes) -> Seen | None:
    """The next request of a connection, or None when there is none."""
    if not first and not (first := await reader.read(1)):
        return None
    lines = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
    fields = dict(headers)
    if fields.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Seen(method, path, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


def keeps_its_connection(reply: bytes) -> bool:
    """Whether all is there, and nothing more, of a reply that says itself where it ends and keeps the connection."""
    top, _, body = reply.partition(b"\r\n\r\n")
    lines = [line.partition(b":") for line in top.lower().split(b"\r\n")[1:]]
    fields = {name: value.strip() for name, _, value in lines}
    if not top.startswith(b"HTTP/1.1 ") or fields.get(b"connection") == b"close":
        return False
    if fields.get(b"transfer-encoding") == b"chunked":
        return _ends_with_its_chunks(body)
    return fields.get(b"content-length") == b"%d" % len(body)


def _ends_with_its_chunks(body: bytes) -> bool:
    """Whether there are chunks, the last one, perhaps trailers, and nothing behind them."""
    while (line := body.partition(b"\r\n"))[1]:
        with suppress(ValueError):
            if size := int(line[0], 16):
                body = line[2][size + 2 :]
                continue
            return (b"\r\n" + line[2]).find(b"\r\n\r\n") == len(line[2]) - 2
        break
    return False


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@contextmanager
def running_upstream(behave: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    upstream = Upstream(behave, tls)
    with serving(upstream.converse, limit=2**26, backlog=512, ssl=tls) as upstream.port:
        yield upstream


_shared: list[Upstream] = []


@contextmanager
def shared(running: AbstractContextManager[Upstream]) -> Iterator[Upstream]:
    """One that several modules ask: it begins anew with each of them."""
    with running as upstream:
        _shared.append(upstream)
        yield upstream
        _shared.remove(upstream)


def shared_upstreams() -> list[Upstream]:
    return _shared
