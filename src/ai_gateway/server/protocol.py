"""HTTP on one connection: uvicorn's parser with bounds on a request's head, and refusals in the contract's words."""

import asyncio
import re
from asyncio import TimerHandle
from enum import Enum, auto
from typing import cast, override

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ai_gateway.config.constants import MAX_HEADER_BYTES
from ai_gateway.contract.disconnect import Connection
from ai_gateway.contract.wire import OPENAI
from ai_gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest
from ai_gateway.middleware.request_id import new_request_id
from ai_gateway.server.transport import CorkedTransport

_UPGRADE = re.compile(rb"(\n)upgrade([ \t]*:)", re.IGNORECASE)
# A last line that may become that header once the rest of it is there.
_HALF_AN_UPGRADE = re.compile(rb"\n(u(?:p(?:g(?:r(?:a(?:d(?:e[ \t]{0,64})?)?)?)?)?)?)\Z", re.IGNORECASE)
_BAD_REQUEST = InvalidRequest("This is not a valid HTTP request.")
_HEADERS_TOO_LARGE = HeadersTooLarge(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes: send less.")
_REASONS = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class Awaited(Enum):
    """What the next bytes of a connection belong to."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's parser with bounds on a request's head, in size and time, and refusals in the contract's words."""

    header_timeout_s = 15.0
    stalled_s = 60.0
    """How long a client may take nothing of what it is sent."""
    refusal_headers = b""
    """Lines that refusals of this class carry beside their own."""
    _awaited = Awaited.REQUEST
    _head_bytes = 0
    _head_timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None
    _line_start = False
    _held = b""
    _deaf = False

    def draining(self) -> bool:
        """Whether the server stops, so that what is answered now is the last answer of its connection."""
        return False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(CorkedTransport(transport, self.loop, lambda: self._awaited is Awaited.BODY))
        self._connection = Connection()
        self._start_head_timer()

    @override
    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._deaf:
            return
        after_body = self._awaited is Awaited.BODY
        super().data_received(data if after_body else self._without_upgrade(data))
        if self._held and self._awaited is Awaited.BODY:  # the blank line was cut in two, and this is no head's
            data, self._held = self._held, b""
            super().data_received(data)
        # The parser keeps an unfinished head in memory, so it must end. Where a body ended in the same bytes, they
        # are not counted: how many of them are the head's is not known.
        if self._awaited is Awaited.HEAD and not after_body:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self._refuse(_HEADERS_TOO_LARGE)
        cycle: RequestResponseCycle | None = self.cycle
        if (cycle is None or cycle.response_complete) and not self.transport.is_closing():
            self._start_head_timer()  # a blank line, or the body of what was refused: neither may go on for ever

    def _without_upgrade(self, data: bytes) -> bytes:
        """The bytes of a head with the Upgrade header renamed, wherever packets cut it; some may be held back.

        Clients such as the JDK's offer HTTP/2 with every first request. A server may ignore that, but the parser would
        take the body for the other protocol.
        """
        data, self._held = self._held + data, b""
        head, end, rest = (b"\n" * self._line_start + data).partition(b"\r\n\r\n")
        half = None if end else _HALF_AN_UPGRADE.search(head)
        if half is not None:
            head, self._held = head[: half.start(1)], half[1]
        renamed = _UPGRADE.sub(rb"\1x-upgrd\2", head + end) + rest
        renamed = renamed[self._line_start :]
        self._line_start = not end and (head.endswith(b"\n") or (self._line_start and not renamed))
        return renamed

    @override
    def on_message_begin(self) -> None:
        self._awaited = Awaited.HEAD
        self._start_head_timer()
        super().on_message_begin()
        # Not part of ASGI: spares the application a task that waits for the client to leave.
        cast("dict[str, object]", self.scope)["connection"] = self._connection

    @override
    def on_headers_complete(self) -> None:
        self._awaited = Awaited.BODY
        self._end_head()
        self._line_start = False
        if self.parser.should_upgrade():  # what follows is no HTTP to the parser, and must not become a request to it
            self._deaf = True
            if self.parser.get_method() != b"CONNECT":
                self._refuse(_BAD_REQUEST)
                return
        super().on_headers_complete()
        if self._deaf:
            self.cycle.keep_alive = False
        if self.draining():
            self.cycle.keep_alive = False

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, _without_chunks(app, cycle) if cycle.scope["http_version"] == "1.0" else app)

    @override
    def on_message_complete(self) -> None:
        self._awaited = Awaited.REQUEST
        if self.transport.is_closing():
            return
        super().on_message_complete()
        # A body that came faster than it was read has stopped the reading, and nobody asks for more of it. But without
        # reading nobody learns that the client leaves.
        if not self.pipeline:
            self.flow.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self.resume_writing()
        super().connection_lost(exc)
        self._connection.lose()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _watch_reader(self, waiting: int) -> None:
        self._write_timer = self.loop.call_later(self.stalled_s, self._look_at_reader, waiting)

    def _look_at_reader(self, before: int) -> None:
        """Give up a client that has taken nothing since: it holds memory, and a place among the requests."""
        waiting = self.transport.get_write_buffer_size()
        if waiting < before:
            self._watch_reader(waiting)
        else:
            self.transport.abort()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _end_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(_BAD_REQUEST)

    def _refuse(self, error: GatewayError) -> None:
        """Answer and close; there is no request that the application could answer."""
        self._end_head()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.close()  # another answer is half written: a second one would become part of it
            return
        body = OPENAI.render(error)
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
            b"connection: close\r\n" % (error.status, _REASONS[error.status], len(body), new_request_id())
        )
        self.transport.write(head + self.refusal_headers + b"\r\n" + body)
        self.transport.close()


def _without_chunks(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """The application for a client of HTTP/1.0, which knows no chunks.

    Where a reply has no length, the end of the connection is its end.
    """

    async def plain(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        sized = True

        async def delimited(message: ASGISendEvent) -> None:
            nonlocal sized
            if message["type"] == "http.response.start":
                sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = None if sized else False
            elif message["type"] == "http.response.body" and not sized:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, delimited)

    return plain
