"""One HTTP/1.1 connection to an upstream: one request at a time, with a streamed or whole reply.

A whole reply wakes its reader once, however many packets it has. A connection is reused only after exactly one whole
reply: with a byte more, a byte less or invalid HTTP it is closed, so that no caller can get another's response.
"""

import asyncio
import math
import select
from collections.abc import Callable
from typing import Protocol, cast, override

import httptools

from ai_gateway.contract.stream import Sink
from ai_gateway.providers.http.bounded_reads import BUFFER, BoundedReads, poll_of, unacknowledged
from ai_gateway.providers.http.broken import BrokenReply, Disconnected, Undelivered, fault_in
from ai_gateway.providers.http.chunked import is_one_chunk, size_lines
from ai_gateway.providers.http.plain_reply import CONTROL, NAMES, Check, plain_reply

PIECE = 16 * 1024  # a stream is read in pieces of at most so many bytes
_HIGH_WATER = 2 * PIECE  # unread bytes beyond which reading is paused
_SMALL = 4 * 1024  # smaller packets are joined, to save the overhead of an object for each
_COPIED = 64 * 1024  # bodies up to this size are joined with their head, so that both are one write
_MAX_FIELD = 16 * 1024
_MAX_FIELDS = 128
_MAX_HEAD = 256 * 1024  # of all interim replies and the reply; also of chunk sizes and trailers without data
_BODILESS = {204, 304}
_FRAMING = {"content-length", "transfer-encoding", "content-encoding"}

_IDLE, _HEAD, _BODY, _WHOLE = range(4)  # the states of reading a reply
_FOR_HEAD, _FOR_SOME = -1, 0  # what a reader waits for: the head, or more than so many bytes of the body


class Owner(Protocol):
    """The pool of a connection: it has the timer for all connections, and is notified once when one ends."""

    loop: asyncio.AbstractEventLoop
    rings_at: float

    def ring_at(self, when: float) -> None: ...
    def ended(self, connection: "Connection") -> None: ...


class Connection(BoundedReads):
    """A connection, and the part of the current reply that has arrived.

    Call `send`, then either `whole`, or `head` followed by `take` and `more` until the end; and `finish` in any case.
    When `deadline` has passed the reader gets a TimeoutError; if `on_deadline` is set it is called instead, even for a
    connection that has ended by then.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self.on_body = self._parts.append  # httptools calls it for each event of a stream
        self._parser = httptools.HttpResponseParser(self)
        # Lenient parsing: line ends without CR, folded and odd header values are accepted, as other clients do. None of
        # it changes where a reply ends.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._poll: select.poll | None = None
        self._state = _IDLE
        self._waiter: asyncio.Future[None] | None = None
        self._buffer: list[bytes] = []
        self._error: Exception | None = None
        self._paused = self._has_ended = self.is_reused = False
        self.deadline = math.inf
        self.on_deadline: Callable[[], object] | None = None
        self.divert: Sink | None = None
        self._forget()

    def _forget(self) -> None:
        """Clear the state of the previous reply."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self._check: Check | None = None
        self._fields = self._reason = self._overhead = self._size = self._offset = 0
        self._enough = _FOR_SOME
        self._keep_alive = self._until_end = self._is_after_chunk = self._is_apart = False

    # -- for callers of the upstream --

    def send(self, head: bytes, body: bytes | None, deadline: float, check: Check) -> None:
        """Send a request. `check` is called with the reply's headers; its exception is raised in the reader."""
        if (transport := self._transport) is None:
            raise Disconnected("the connection has ended")
        self._state = _HEAD
        self._check = check
        self.expire_at(deadline)
        if body and len(body) > _COPIED:
            transport.writelines((head, body))
        else:
            transport.write(head + body if body else head)

    async def head(self) -> None:
        """Wait for `status` and `headers`."""
        while self._state == _HEAD:
            await self._arrival(_FOR_HEAD)

    async def whole(self, most: int) -> bytes | None:
        """The whole body; None if it is larger than `most`."""
        while self._state != _WHOLE and self._size <= most:
            await self._arrival(most)
        return None if self._size > most else self._taken()

    def take_chunks(self) -> bytes | list[bytes]:
        """As `take`, but in the chunks that have arrived, if nothing else has."""
        if not self._is_apart:
            return self.take()
        chunks, self._buffer, self._size, self._is_apart = self._buffer, [], 0, False
        return chunks

    def take(self) -> bytes:
        """The next bytes of the body, up to `PIECE`; empty if there are none yet, or at the end."""
        if self._size <= PIECE:
            return self._taken()
        first = self._buffer[0]
        piece = first[self._offset : self._offset + PIECE]
        self._offset += len(piece)
        self._size -= len(piece)
        if self._offset == len(first):
            self._offset = 0
            del self._buffer[0]
        return piece

    def more(self) -> asyncio.Future[None]:
        """To be awaited while `take` is empty: done when there are bytes, or when the reply `is_whole`."""
        return self._arrival(_FOR_SOME)

    @property
    def is_whole(self) -> bool:
        """Whether the whole reply has arrived."""
        return self._state == _WHOLE

    @property
    def is_stale(self) -> bool:
        """Whether it was used before, and ended without a byte of this reply: it was closed meanwhile."""
        return self.is_reused and self._state == _HEAD and self._overhead == 0

    def finish(self) -> bool:
        """End the reply; returns whether the connection can be reused. If not, it is closed."""
        fit = (
            self._state == _WHOLE
            and self._keep_alive
            and not self._paused
            and self._transport is not None
            and not self._transport.is_closing()
            # After an early response, it is unknown whether the upstream reads the rest of the request.
            and self._transport.get_write_buffer_size() == 0
        )
        self._waiter = self._error = self.on_deadline = self.divert = None
        self._buffer = []
        self._forget()
        self._state = _IDLE
        self.is_reused = True
        if not fit:
            self.close()
        return fit

    def expire_at(self, when: float) -> None:
        """Move the deadline, which is cheap."""
        self.deadline = when
        if when < self._owner.rings_at:
            self._owner.ring_at(when)

    # -- for the pool --

    @property
    def is_idle(self) -> bool:
        """Whether it is unused."""
        return self._state == _IDLE

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it, as far as the event loop knows."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Whether an idle connection is open and has no unread data in its socket."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._poll is None:
            self._poll = poll_of(self._transport)
        return not self._poll.poll(0)

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = math.inf
        if self.on_deadline is not None:
            self.on_deadline()
        else:
            self._end(TimeoutError("there was no whole reply in time"))

    def close(self) -> None:
        """Close the connection at once, even during a reply."""
        self._end(Disconnected("the connection was closed"))

    # -- for the event loop --

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def buffer_updated(self, nbytes: int) -> None:
        data = BUFFER[:nbytes].tobytes()
        if self._is_after_chunk:  # the parser need not see another chunk: it is where it was before
            line = size_lines.get(nbytes, data)
            body = data.removeprefix(line).removesuffix(b"\r\n")
            if len(body) == nbytes - len(line) - 2 and self._diverts(body, data):
                return
            self._is_after_chunk = False
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if not _HEAD <= self._state <= _BODY:
            self._end(BrokenReply("there is more than the reply"))
            return
        if self._state == _HEAD and self._enough > _FOR_SOME and not self._overhead and self._take_plain(data):
            return
        self._overhead += len(data)
        fault = fault_in(self._parser, data)
        if parts := self._parts:
            self._overhead = 0
            self._keep(parts[0] if len(parts) == 1 else b"".join(parts), data)
            parts.clear()
        if fault is None and self._overhead > _MAX_HEAD:
            fault = BrokenReply("the head of the reply, or what stands between its parts, is too large")
        if fault is not None:
            self._end(fault)
        elif self._state == _WHOLE or (self._state == _BODY and self._size > self._enough):
            self._wake()
            if self._size > _HIGH_WATER and self._state == _BODY and not self._paused and self._transport:
                self._paused = True
                self._transport.pause_reading()

    @override
    def eof_received(self) -> bool:
        self._lost(None)
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        # Breaks the reference cycle of parser and connection.
        self._transport = self._parser = self._poll = None  # type: ignore[assignment] # nothing comes any more

    # -- for the parser --

    def on_message_begin(self) -> None:
        """See httptools. Interim replies precede the reply; a message after the reply is unsolicited."""
        if self._state != _HEAD:
            raise BrokenReply("there is more than the reply")

    def on_status(self, reason: bytes) -> None:
        """See httptools: a part of the reason phrase."""
        self._reason += len(reason)
        if self._reason > _MAX_FIELD:
            raise BrokenReply("the status line is too large")

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. Trailers are ignored."""
        if self._state != _HEAD:
            return
        self._fields += 1
        if self._fields > _MAX_FIELDS or len(name) + len(value) > _MAX_FIELD:
            raise BrokenReply("the head of the reply is too large")
        # llhttp ignores a blank between some names and their colon, and so do we.
        field = NAMES.get(name) or name.decode("latin-1").lower().rstrip()
        text = value.decode("latin-1").strip()
        if not text.isprintable() and CONTROL.search(text):
            if field in _FRAMING:
                raise BrokenReply(f"the {field} of the reply cannot be read")
            return  # it must not get into our own headers or logs
        known = self.headers.get(field)
        # A repeated field is a list (RFC 9110, 5.3). Proxies repeat some word for word, which says nothing more.
        self.headers[field] = text if known is None or known == text else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100:
                raise BrokenReply(f"there is no status {status}")
            self.headers = {}  # an interim reply (100, 103)
            self._fields = self._reason = 0
            return
        coding = self.headers.get("transfer-encoding", "identity").lower()
        if coding not in {"chunked", "identity"}:
            raise BrokenReply("the reply has a transfer coding that was not requested")
        self._until_end = coding == "identity" and "content-length" not in self.headers and status not in _BODILESS
        if self._check is not None:
            self._check(self.headers)
        self.status = status
        self._state = _BODY

    def on_message_complete(self) -> None:
        """See httptools. An interim reply is complete as well."""
        if self._state == _BODY:
            self._state = _WHOLE
            self._keep_alive = self._parser.should_keep_alive()

    # -- internal --

    def _take_plain(self, data: bytes) -> bool:
        """Take a plain reply that has arrived whole, without the parser; returns False for anything else."""
        if (plain := plain_reply(data)) is not None:
            self.headers, body = plain
            try:
                if self._check is not None:
                    self._check(self.headers)
            except Exception as error:  # raised in the reader
                self._end(error)
                return True
            self.status, self._state, self._keep_alive = 200, _WHOLE, True
            self._buffer, self._size = [body], len(body)
            self._wake()
        return plain is not None

    def _keep(self, body: bytes, packet: bytes) -> None:
        """Keep the body's part of one packet, unless it is diverted."""
        if self.divert is not None and self._state == _BODY and len(body) <= PIECE and self._diverts(body):
            self._is_after_chunk = is_one_chunk(packet, body)
            return
        buffer = self._buffer
        if self._is_apart:
            buffer[:], self._is_apart = [b"".join(buffer)], False
        if not buffer and len(self._parts) > 1 and len(body) <= PIECE:
            self._buffer, self._is_apart = self._parts.copy(), True
        elif buffer and len(buffer[-1]) + len(body) <= _SMALL:
            buffer[-1] += body
        else:
            buffer.append(body)
        self._size += len(body)

    def _diverts(self, body: bytes, chunk: bytes | None = None) -> bool:
        """Divert the body's part of one packet, if the reader waits for it and nothing else is buffered."""
        divert, waiter = self.divert, self._waiter
        if divert is None or waiter is None or waiter.done() or self._enough != _FOR_SOME or self._size:
            return False
        try:
            return divert(body, chunk)
        except Exception as error:  # raised in the reader
            self._end(error)
            return True

    def _taken(self) -> bytes:
        buffer = self._buffer
        if not buffer:
            return b""
        body = buffer[0] if len(buffer) == 1 else b"".join(buffer)
        if self._offset:
            body = body[self._offset :]
        buffer.clear()
        self._size = self._offset = 0
        self._is_apart = False
        return body

    def _arrival(self, enough: int) -> asyncio.Future[None]:
        """Done when more than `enough` bytes of the body are buffered, or at its end. Raises the connection's error."""
        if self._error is not None:
            raise self._error  # not in a local variable, which would make a reference cycle with the frame
        self._enough = enough
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self._waiter = waiter = self._owner.loop.create_future()
        return waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _lost(self, error: Exception | None) -> None:
        """The upstream closed the connection, which is also the end of replies without a length."""
        if self._state == _BODY and self._until_end and error is None:
            self._state = _WHOLE
        elif self._state == _BODY:
            error = BrokenReply("the reply broke off" + (f": {error}" if error else ""))
        elif self.is_stale and self._transport is not None and isinstance(error, BrokenPipeError | None):
            error = Undelivered(unacknowledged(self._transport))
        self._end(error or Disconnected("the upstream closed the connection before it replied"))

    def _end(self, error: Exception) -> None:
        """The connection has ended. A reply that is whole by then is valid."""
        if self._error is None and _HEAD <= self._state <= _BODY:
            self._error = error.with_traceback(None)
        self._keep_alive = False
        self._wake()
        if self._transport is not None:
            self._transport.abort()
        if not self._has_ended:
            self._has_ended = True
            self._owner.ended(self)
