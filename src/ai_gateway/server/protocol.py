"""HTTP on one connection: uvicorn's parser with our own cycle, bounded heads and readers, and the contract's errors."""

import asyncio
import math
import re
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Coroutine
from enum import Enum, auto
from typing import Any, cast, override

import httptools
from starlette.types import ASGIApp, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ai_gateway.config.constants import MAX_HEADER_BYTES, MAX_HEADER_COUNT
from ai_gateway.contract.disconnect import Connection
from ai_gateway.contract.wire import OPENAI
from ai_gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest
from ai_gateway.middleware.client_address import unmapped
from ai_gateway.middleware.reply_headers import ReplyHeaders
from ai_gateway.middleware.request_id import new_request_id
from ai_gateway.server.cycle import Cycle, RequestBody
from ai_gateway.server.lazy_timer import LazyTimer
from ai_gateway.server.refusal import refusal, wire_of_head
from ai_gateway.server.request_target import read_target
from ai_gateway.server.transport import CorkedTransport

_UPGRADE = re.compile(rb"(\n)upgrade([ \t]*:)", re.IGNORECASE)
# A last line that may become that header once the rest of it is there.
_HALF_AN_UPGRADE = re.compile(rb"\n(u(?:p(?:g(?:r(?:a(?:d(?:e[ \t]{0,64})?)?)?)?)?)?)\Z", re.IGNORECASE)
# The parser takes them for HTTP/1.0, and does not say that they are not.
_OTHER_PROTOCOL = re.compile(rb"^[A-Z_]+ +[^ \r\n]+ +(?:RTSP|ICE)/", re.MULTILINE)
_BAD_REQUEST = InvalidRequest("This is not a valid HTTP request.")
_HEADERS_TOO_LARGE = HeadersTooLarge(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes: send less.")


class Awaited(Enum):
    """What the next bytes of a connection belong to."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


_REQUEST, _HEAD, _BODY = Awaited  # an attribute of an enum takes as long as all else that is done for a header


class HttpProtocol(HttpToolsProtocol):
    """Parses requests, calls the application for one after the other, and closes the connection when it has to.

    A request is begun once all bytes of a read have been parsed: a body that came with its head is then complete.
    """

    header_timeout_s = 15.0
    reply_headers = ReplyHeaders()
    """What refusals carry beside their own headers."""

    cycle: Cycle | None  # type: ignore[assignment] # the request whose bytes were parsed last; uvicorn has its own kind
    _app: ASGIApp
    _awaited = _REQUEST
    _head_bytes = 0
    _head_uncounted = 0  # bytes of a packet that a body ended in: some of them may be a head's
    _fields = 0
    _trailer_bytes = 0
    _framing_bytes = 0
    _line_start = False
    _held = b""
    _discard_input = False
    # Times of the loop's clock, which one timer looks at.
    _head_due = math.inf
    _idle_due = math.inf
    _stall_due = math.inf
    _unread = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._app = cast("ASGIApp", self.app)
        self._connection = Connection()
        self._timer = LazyTimer(self.loop, self._check_deadlines)
        self._packet = b""
        self._head_parts: list[bytes] = []  # of a head that is not there in one packet
        self._unbegun: Cycle | None = None
        self._answered: Cycle | None = None
        self._waiting: deque[Cycle] = deque()  # pipelined behind the one that is being answered

    @property
    def stalled_s(self) -> float:
        """How long a client may take nothing of what it is sent. A reload can change it."""
        return 60.0

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The date (RFC 9110, section 6.6.1), which uvicorn's server writes anew every second."""
        return self.server_state.default_headers

    def draining(self) -> bool:
        """Whether the server stops, so that what is answered now is the last answer of its connection."""
        return False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        self._corked = CorkedTransport(transport, self.loop)
        self._connection.abort = self._corked.abort
        super().connection_made(self._corked)
        if self.client is not None:
            self.client = unmapped(self.client[0]), self.client[1]
        if self.server is not None:
            self.server = unmapped(self.server[0]), self.server[1]
        self._start_head_clock()

    @override
    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._discard_input:
            self._corked.drop(len(data))
            return
        self._idle_due = math.inf
        after_body = self._awaited is _BODY
        self._packet = data
        if after_body:
            self._framing_bytes += len(data)  # until a part of the body is found in it
        self._parse(data if after_body else self._without_upgrade(data))
        if self._held and self._awaited is _BODY:  # the blank line was cut in two, and this is no head's
            data, self._held = self._held, b""
            self._parse(data)
        # The parser keeps an unfinished head in memory, so it must end. Where a body ended in the same bytes, they
        # are not counted: how many of them are the head's is not known.
        if self._awaited is _HEAD and not after_body:
            self._count_head(data)
        elif self._awaited is _HEAD:
            self._head_uncounted = len(data)
        # So must an unfinished trailer, and whatever else stands between the parts of a body.
        elif after_body and self._awaited is _BODY and self._framing_bytes > MAX_HEADER_BYTES:
            self.refuse(_HEADERS_TOO_LARGE)
        if not self.transport.is_closing():
            self._go_on()

    def _count_head(self, data: bytes) -> None:
        self._head_bytes += len(data)
        self._head_parts.append(data)
        if self._head_bytes > MAX_HEADER_BYTES:
            self.refuse(_HEADERS_TOO_LARGE)

    def _go_on(self) -> None:
        """All bytes of a read have been parsed."""
        cycle = self.cycle
        # Neither a head, nor blank lines, nor the body of what was refused may go on for ever.
        if self._awaited is _HEAD or cycle is None or cycle.response_complete:
            self._start_head_clock()
        if cycle is not None and not cycle.body.complete and cycle.body.size > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        if self._unbegun is not None:
            self._begin(self._unbegun)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.refuse(_BAD_REQUEST)
        except httptools.HttpParserUpgrade:
            pass  # it has been refused, or will be the connection's last request

    def _without_upgrade(self, data: bytes) -> bytes:
        """The bytes of a head with the Upgrade header renamed, wherever packets cut it; some may be held back.

        Clients such as the JDK's offer HTTP/2 with every first request. A server may ignore that, but the parser would
        take the body for the other protocol.
        """
        if not self._held and not self._line_start:
            end_of_head = data.find(b"\r\n\r\n")
            # A search in lower case takes a third of one for either.
            if end_of_head >= 0 and data[:end_of_head].lower().find(b"\nupgrade") < 0:
                return data  # nearly every head: whole, and without that header
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
        self._awaited = _HEAD
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._awaited is _BODY:
            self._on_trailer(name, value)
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def _on_trailer(self, name: bytes, value: bytes) -> None:
        """A field behind a chunked body is no header and is dropped (RFC 9110, section 6.5.1), but it is counted."""
        self._fields += 1
        self._trailer_bytes += len(name) + len(value)
        if self._fields > MAX_HEADER_COUNT or self._trailer_bytes > MAX_HEADER_BYTES:
            self.refuse(_HEADERS_TOO_LARGE)

    @override
    def on_headers_complete(self) -> None:
        self._corked.peer_sends = True
        head_parts, head_size = self._head_parts, self._head_bytes + self._head_uncounted + len(self._packet)
        self._end_head()
        self._line_start = False
        parser = self.parser
        method = parser.get_method()
        if parser.should_upgrade():  # what follows is no HTTP to the parser, and must not become a request to it
            self._discard_input = True
            if method != b"CONNECT":
                self.refuse(_BAD_REQUEST)
                return
        version = parser.get_http_version()
        if version == "1.0" and _OTHER_PROTOCOL.search(b"".join([*head_parts, self._packet])) is not None:
            raise httptools.HttpParserError("another protocol")  # the parser stops, and it is refused
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self._discard_input and not self.draining()
        body = RequestBody(self._corked, self.flow, expects_continue=self.expect_100_continue)
        before = self.cycle
        self.cycle = Cycle(self._scope_of(method, version, head_size), body, self, keep_alive=keep_alive)
        self._awaited = _BODY
        self._fields, self._trailer_bytes, self._framing_bytes = len(self.headers), 0, 0
        self.headers = []
        if before is None or before.response_complete:
            self._unbegun = self.cycle
        else:
            self.flow.pause_reading()
            self._waiting.append(self.cycle)

    def _scope_of(self, method: bytes, version: str, head_size: int) -> Scope:
        path, raw_path, query = read_target(self.url)
        root = self.root_path
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method.decode("ascii"),
            "root_path": root,
            "path": root + path if root else path,
            "raw_path": root.encode("ascii") + raw_path if root else raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state.copy(),
            # Not part of ASGI: spares the application a task that waits for the client to leave, and a sum.
            "connection": self._connection,
            "head_size": head_size,
        }

    @override
    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.body.feed(body)

    @override
    def on_message_complete(self) -> None:
        self._awaited = _REQUEST
        self._corked.peer_sends = False
        if self.transport.is_closing() or self.cycle is None:
            return
        self.cycle.body.end()
        # A body that came faster than it was read has stopped the reading, and nobody asks for more of it. But without
        # reading nobody learns that the client leaves.
        if not self._waiting:
            self.flow.resume_reading()

    def _begin(self, cycle: Cycle) -> None:
        """Run the application at once, up to where it first waits; many a request is answered by then."""
        self._unbegun = None
        task = asyncio.Task(self._run(cycle), loop=self.loop, eager_start=True)
        if not task.done():
            self.tasks.add(task)

    def _run(self, cycle: Cycle) -> Coroutine[None, None, None]:
        self._answered = cycle
        self._connection.write = cycle.write_at_once
        return cycle.run(self._app)

    def on_end(self) -> None:
        """The application is done with a request."""
        self.tasks.discard(asyncio.current_task())

    @override
    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._waiting:
            # Not at once: behind a thousand small requests others would wait, and each would run inside of the last.
            task = self.loop.create_task(self._run(self._waiting.popleft()))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)  # which may be cancelled before it runs
        else:
            self._idle_due = self.loop.time() + self.timeout_keep_alive
            self._timer.run_by(self._idle_due)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._timer.cancel()
        for cycle in (self._answered, self.cycle):
            if cycle is not None:
                cycle.disconnect()
        self.flow.resume_writing()
        self._connection.lose()
        # These refer back to this, and would wait for the collector.
        self.cycle = self._answered = None
        self._waiting.clear()
        self.parser = None  # type: ignore[assignment] # as uvicorn has it

    @override
    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.transport.get_write_buffer_size()
        self._stall_due = self.loop.time() + self.stalled_s
        self._timer.run_by(self._stall_due)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall_due = math.inf

    def _start_head_clock(self) -> None:
        if self._head_due == math.inf:
            self._head_due = self.loop.time() + self.header_timeout_s
            self._timer.run_by(self._head_due)

    def _end_head(self) -> None:
        self._head_bytes = self._head_uncounted = 0
        if self._head_parts:
            self._head_parts = []
        self._head_due = math.inf

    def _check_deadlines(self) -> float:
        """Do what is due; the next time that something may be."""
        now = self.loop.time()
        if now >= min(self._head_due, self._idle_due):
            self._head_due = self._idle_due = math.inf
            self.transport.close()
        if now >= self._stall_due:
            # A client that has taken nothing since is given up: it holds memory, and a place among the requests.
            before, self._unread = self._unread, self.transport.get_write_buffer_size()
            if self._unread >= before:
                self._stall_due = math.inf
                self.transport.abort()
            else:
                self._stall_due = now + self.stalled_s
        return min(self._head_due, self._idle_due, self._stall_due)

    def refuse(self, error: GatewayError, request_id: bytes | None = None) -> None:
        """Answer in the application's place and close.

        An answer that has begun is only cut: a second one would become part of it. Nor is a request answered twice
        whose body goes on behind its answer.
        """
        cycle = self.cycle if self._awaited is _BODY else None
        headers = self.headers if cycle is None else cycle.scope["headers"]
        wire = OPENAI if self._awaited is _REQUEST else wire_of_head(self.url, headers)
        self._end_head()
        if self.transport.is_closing():
            return
        answered = self._answered
        rest = self._awaited is _BODY and self.cycle is answered
        if answered is not None and (answered.half_written() or (rest and answered.response_complete)):
            self.transport.close()
            return
        answer = refusal(error, wire, request_id or new_request_id(), self.default_headers, self.reply_headers)
        self.transport.write(answer)
        self.transport.close()
