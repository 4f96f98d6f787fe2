"""HTTP/1.1 on one connection: uvicorn's parser protocol with our own cycle, limits and errors."""

import asyncio
import math
import re
from asyncio import AbstractEventLoop, Future
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
from ai_gateway.server.known_head import KnownHead
from ai_gateway.server.lazy_timer import LazyTimer
from ai_gateway.server.refusal import refusal, wire_of_head
from ai_gateway.server.request_target import request_scope
from ai_gateway.server.transport import CorkedTransport
from ai_gateway.server.upgrade_header import UpgradeHeader

# Versions that the parser (llhttp) silently treats as HTTP/1.0.
_OTHER_PROTOCOL = re.compile(rb"^[A-Z_]+ +[^ \r\n]+ +(?:RTSP|ICE)/", re.MULTILINE)
_BAD_REQUEST = InvalidRequest("This is not a valid HTTP request.")
_HEADERS_TOO_LARGE = HeadersTooLarge(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes: send less.")


class Awaited(Enum):
    """The part of a request that the next bytes of a connection belong to."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


_REQUEST, _HEAD, _BODY = Awaited  # reading an enum's attribute costs as much as the rest of the work for a header


class HttpProtocol(HttpToolsProtocol):
    """Parses requests, calls the application for one after the other, and closes the connection when it has to.

    A request is started once all bytes of a read are parsed: a body that came with its head is then complete.
    """

    header_timeout_s = 15.0
    reply_headers = ReplyHeaders()
    """The common headers of error responses."""

    cycle: Cycle | None  # type: ignore[assignment] # the request whose bytes were parsed last; uvicorn has its own kind
    _app: ASGIApp
    _awaited = _REQUEST
    _head_bytes = 0
    _head_uncounted = 0  # bytes of a packet in which a body ended: some may belong to the next head
    _fields = 0
    _trailer_bytes = 0
    _framing_bytes = 0
    _discard_input = False
    _last: bytes | None = None  # what ends the connection behind the replies to all requests: a refusal
    # Deadlines in the loop's time, checked by one timer.
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
        self.done: Future[None] = self.loop.create_future()
        self.done.set_result(None)
        self._upgrade = UpgradeHeader()
        self._known = KnownHead()
        self._packet = b""
        self._head_parts: list[bytes] = []  # of a head that spans several packets
        self._unbegun: Cycle | None = None
        self._answered: Cycle | None = None
        self._waiting: deque[Cycle] = deque()  # pipelined requests behind the current one

    @property
    def stalled_s(self) -> float:
        """Seconds that a client may read nothing of its response. A reload can change it."""
        return 60.0

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The Date header (RFC 9110, section 6.6.1), which uvicorn's server updates every second."""
        return self.server_state.default_headers

    def draining(self) -> bool:
        """Whether the server is stopping, so that each response closes its connection."""
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
        begins = self._is_free()
        if begins and (known := self._known.request(data)) is not None:
            self._begin_known(*known)
            return
        fed = self._feed(data)
        if not self.transport.is_closing():
            new = self._unbegun
            if begins and fed is data and new is not None and new.keep_alive and self._awaited is _REQUEST:
                self._known.learn(data, new.scope)
            self._go_on()

    def _is_free(self) -> bool:
        """Whether the next bytes begin a request, and all before it on this connection are answered."""
        cycle, between = self.cycle, self._awaited is _REQUEST and not self._upgrade.is_between
        return between and (cycle is None or cycle.response_complete) and not self._waiting

    def _begin_known(self, scope: Scope, body: bytes) -> None:
        """Begin a request past the parser, which calls back for each header: a fifth of a small request's work."""
        scope["state"] = self.app_state.copy()
        self._head_due = math.inf
        self.cycle = Cycle(scope, RequestBody(self._corked, self.flow, body), self, not self.draining())
        self._begin(self.cycle)

    def _feed(self, data: bytes) -> bytes:
        """Have the parser read these bytes; returns what it got."""
        after_body, before = self._awaited is _BODY, self.cycle
        self._packet = data
        if after_body:
            self._framing_bytes += len(data)  # until the parser reports a part of the body in it
        fed = data if after_body else self._upgrade.renamed(data)
        self._parse(fed)
        if self._awaited is _BODY and (held := self._upgrade.take_held()):  # held back, but they belong to the body
            data = held
            self._parse(data)
        # The parser keeps an unfinished head in memory, so its size is bounded. Bytes in which another request or its
        # body ended are not counted, because the head's part of them is unknown.
        if self._awaited is _HEAD and not after_body and self.cycle is before:
            self._head_bytes += len(data)
            self._head_parts.append(data)
            if self._head_bytes > MAX_HEADER_BYTES:
                self.refuse(_HEADERS_TOO_LARGE)
        elif self._awaited is _HEAD:
            self._head_uncounted = len(data)
        # The same holds for trailers and chunk sizes.
        elif after_body and self._awaited is _BODY and self._framing_bytes > MAX_HEADER_BYTES:
            self.refuse(_HEADERS_TOO_LARGE)
        return fed

    def _go_on(self) -> None:
        """All bytes of a read have been parsed."""
        cycle = self.cycle
        # Heads, blank lines and bodies of refused requests are bounded in time. While requests wait, nothing is read.
        if (self._awaited is _HEAD and not self._waiting) or cycle is None or cycle.response_complete:
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
            pass  # refused already, or the connection's last request

    @override
    def on_message_begin(self) -> None:
        self._awaited, self.url, self.headers = _HEAD, b"", []
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
        """A trailer field is dropped (RFC 9110, section 6.5.1), but its size counts."""
        self._fields += 1
        self._trailer_bytes += len(name) + len(value)
        if self._fields > MAX_HEADER_COUNT or self._trailer_bytes > MAX_HEADER_BYTES:
            self.refuse(_HEADERS_TOO_LARGE)
            raise httptools.HttpParserError("too large")  # stops the parser

    @override
    def on_headers_complete(self) -> None:
        self._corked.peer_sends = True
        head_parts, head_size = self._head_parts, self._head_bytes + self._head_uncounted + len(self._packet)
        self._end_head()
        self._upgrade.end()
        parser = self.parser
        method = parser.get_method()
        if parser.should_upgrade():  # the parser would treat what follows as another protocol
            self._discard_input = True
            if method != b"CONNECT":
                self.refuse(_BAD_REQUEST)
                raise httptools.HttpParserError("another protocol")  # stops the parser
        version = parser.get_http_version()
        if version == "1.0" and _OTHER_PROTOCOL.search(b"".join([*head_parts, self._packet])) is not None:
            raise httptools.HttpParserError("another protocol")  # stops the parser; the request is refused
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self._discard_input and not self.draining()
        body = RequestBody(self._corked, self.flow)
        body.expects_continue = self.expect_100_continue and version != "1.0"  # RFC 9110, section 10.1.1
        before = self.cycle
        scope = request_scope(self, method, version, self._connection, head_size)
        self.cycle = Cycle(scope, body, self, keep_alive)
        self._awaited = _BODY
        self._fields, self._trailer_bytes, self._framing_bytes = len(self.headers), 0, 0
        self.headers = []
        if before is None or before.response_complete:
            self._unbegun = self.cycle
        else:
            self.flow.pause_reading()
            self._waiting.append(self.cycle)

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
        # Reading was paused if the body came faster than it was read. It is resumed, or a disconnect would go
        # unnoticed.
        if not self._waiting:
            self.flow.resume_reading()

    def _begin(self, cycle: Cycle) -> None:
        """Run the application at once up to its first wait; many requests are complete by then."""
        self._unbegun = None
        task = asyncio.Task(self._run(cycle), loop=asyncio.get_running_loop(), eager_start=True)
        if not task.done():
            self.tasks.add(task)

    def _run(self, cycle: Cycle) -> Coroutine[None, None, None]:
        self._answered = cycle
        self._connection.write = cycle.write_at_once
        return cycle.run(self._app)

    def on_end(self) -> None:
        """The application has finished a request."""
        self.tasks.discard(asyncio.current_task())

    @override
    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self._waiting:
            # Not directly: a thousand pipelined requests would run recursively and block other connections.
            task = self.loop.create_task(self._run(self._waiting.popleft()))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)  # a task may be cancelled before it runs
        elif self._last is not None:
            self._corked.write_now(self._last)
            self.transport.close()
        else:
            self._idle_due = self.loop.time() + self.timeout_keep_alive
            self._timer.run_by(self._idle_due)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._timer.cancel()
        self._corked.lose()
        for cycle in (self._answered, self.cycle):
            if cycle is not None:
                cycle.disconnect()
        self.flow.resume_writing()
        self._connection.lose()
        # Breaks reference cycles.
        self.cycle = self._answered = None
        self._known = KnownHead()  # there is a key in it
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
        """Apply the deadlines that have passed; returns the next one."""
        now = self.loop.time()
        if now >= min(self._head_due, self._idle_due):
            self._head_due = self._idle_due = math.inf
            self._end(b"", None)
        if now >= self._stall_due:
            # A client that has read nothing since is disconnected: it occupies memory and a place in flight.
            before, self._unread = self._unread, self.transport.get_write_buffer_size()
            if self._unread >= before:
                self._stall_due = math.inf
                self.transport.abort()
            else:
                self._stall_due = now + self.stalled_s
        return min(self._head_due, self._idle_due, self._stall_due)

    def refuse(self, error: GatewayError, request_id: bytes | None = None) -> None:
        """Answer with the error instead of the application, and close the connection.

        A response that has begun is only cut off, since a second one would become part of it; and a request that is
        answered already, but still sends its body, is not answered again.
        """
        cycle = self.cycle if self._awaited is _BODY else None
        headers = self.headers if cycle is None else cycle.scope["headers"]
        wire = OPENAI if self._awaited is _REQUEST else wire_of_head(self.url, headers)
        self._end_head()
        if self.transport.is_closing() or self._last is not None:
            return
        answer = refusal(error, wire, request_id or new_request_id(), self.default_headers, self.reply_headers)
        self._end(answer, self._answered if request_id is not None else cycle)

    def _end(self, answer: bytes, refused: Cycle | None) -> None:
        """Write the answer to the refused request, of which there is no cycle before its head has ended, and close.

        Requests before it are answered first, in their order (RFC 9112, section 9.3.2), but nothing behind it is read.
        """
        current = self._unbegun or self._answered
        if refused is not None and self._waiting and self._waiting[-1] is refused:
            self._waiting.pop()
        elif refused is not None and refused is current:
            self._unbegun = None
            if not (refused.half_written() or refused.response_complete):
                self.transport.write(answer)
            self.transport.close()
            return
        if current is None or current.response_complete:
            self.transport.write(answer)
            self.transport.close()
            return
        self._last, self._discard_input, self._awaited = answer, True, _REQUEST
        self.flow.pause_reading()
