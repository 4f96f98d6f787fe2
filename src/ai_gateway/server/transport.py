"""A transport that collects small writes like TCP_CORK, and closes without a reset where possible."""

import asyncio
import socket
from contextlib import suppress
from fcntl import ioctl
from struct import Struct
from termios import TIOCOUTQ
from typing import cast, override

# Larger writes are not collected: they would fill memory and hide backpressure.
_FLUSH_AT = 32 * 1024
# Seconds for a client that is still sending to read its response.
_LINGER_S = 1.0
_LINGER_BYTES = 32 * 1024 * 1024
# Seconds between two looks at whether all of a connection with TLS that is being closed has arrived.
_LOOK_S = 0.5
_COUNT = Struct("i")


class CorkedTransport(asyncio.Transport):
    """Wraps a transport, and joins the writes of one turn of the event loop into one system call.

    The first write of a turn is sent at once: a stream's first event does not wait for its second, nor for other
    connections. The others are collected and sent at the end of the turn.

    Closing a socket with unread data resets the connection, and the client may lose the response (RFC 9112, section
    9.6). So while `peer_sends`, only our side is closed at first; the protocol has to `drop` the data.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.peer_sends = False
        self._inner = transport
        self._lingers = False
        self._look: asyncio.TimerHandle | None = None
        self._dropped = 0
        transport.set_write_buffer_limits(high=_FLUSH_AT)
        self._loop = loop
        self._corked = False
        self._parts: list[bytes | bytearray | memoryview] = []
        self._size = 0

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing():  # it would not be sent
            return
        if not self._corked:
            self._corked = True
            self._loop.call_soon(self._uncork)
            self._inner.write(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _FLUSH_AT:
            self.flush()

    def write_now(self, data: bytes) -> None:
        """Write data that nothing follows in this turn: the end of a reply, or all that has arrived of a stream."""
        if self._lingers or self._inner.is_closing():
            return
        if self._parts:
            self._parts.append(data)
            self.flush()
        else:
            self._inner.write(data)

    def _uncork(self) -> None:
        self._corked = False
        self.flush()

    def flush(self) -> None:
        """Write what was collected, unless the connection is lost."""
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._inner.is_closing():
            self._inner.write(parts[0] if len(parts) == 1 else b"".join(parts))

    @override
    def close(self) -> None:
        self.flush()
        if self._lingers or self._inner.is_closing() or not self.peer_sends:
            self._close_inner()
            return
        self._lingers = True
        if self._inner.can_write_eof():  # TLS cannot be closed in one direction
            self._inner.write_eof()
        if not self._inner.is_reading():
            self._inner.resume_reading()
        self._loop.call_later(_LINGER_S, self._close_inner)

    def _close_inner(self) -> None:
        """Close the transport, which with TLS would wait half a minute for the client to close its side as well.

        An idle client does so when it next uses the connection, and until then a stop would wait for it.
        """
        if not (self._inner.is_closing() or self._inner.can_write_eof()):
            self._look = self._loop.call_later(_LOOK_S, self._end_tls, False)
        self._inner.close()

    def _end_tls(self, had_arrived: bool, /) -> None:
        """End a connection whose client has all that was sent, the end of the encryption included."""
        arrived = self._all_arrived()
        if arrived and had_arrived:  # at one look, what the transport still holds may be about to be sent
            self._inner.abort()
        else:
            self._look = self._loop.call_later(_LOOK_S, self._end_tls, arrived)

    def lose(self) -> None:
        """The connection is lost: another one may have its number."""
        if self._look is not None:
            self._look.cancel()

    def _all_arrived(self) -> bool:
        """Whether the client's system has everything that was sent.

        The transport does not tell how much it holds that is encrypted already. But while it holds anything, the
        kernel has something to send as well.
        """
        sock = cast("socket.socket", self._inner.get_extra_info("socket"))
        with suppress(OSError):  # not every system tells
            return _COUNT.unpack(ioctl(sock.fileno(), TIOCOUTQ, _COUNT.pack(0))) == (0,)
        return False

    def drop(self, size: int) -> None:
        """Discard so many received bytes. A client that keeps sending is disconnected."""
        self._dropped += size
        if self._dropped > _LINGER_BYTES:
            self._inner.abort()

    @override
    def abort(self) -> None:
        self._parts, self._size = [], 0
        self._inner.abort()

    @override
    def is_closing(self) -> bool:
        return self._lingers or self._inner.is_closing()

    @override
    def pause_reading(self) -> None:
        self._inner.pause_reading()

    @override
    def resume_reading(self) -> None:
        self._inner.resume_reading()

    @override
    def is_reading(self) -> bool:
        return self._inner.is_reading()

    @override
    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._inner.get_extra_info(name, default)

    @override
    def get_write_buffer_size(self) -> int:
        return self._size + self._inner.get_write_buffer_size()

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner.set_protocol(protocol)

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._inner.get_protocol()
