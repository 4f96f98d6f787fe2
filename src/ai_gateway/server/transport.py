"""A transport that collects small writes like TCP_CORK, and that ends as politely as it can."""

import asyncio
from typing import override

# Beyond this, waiting would only fill memory; and a slow reader must be felt.
_FLUSH_AT = 32 * 1024
# A client that is still sending gets so long to find out that it has been answered.
_LINGER_S = 1.0
_LINGER_BYTES = 32 * 1024 * 1024


class CorkedTransport(asyncio.Transport):
    """Wraps a transport, and makes one system call of the writes that follow each other in a turn of the event loop.

    The first one of a turn leaves at once: a stream's first event does not wait for its second, nor for the other
    connections that are ready. The others are collected and leave at the end of the turn.

    Closing a socket with unread data resets the connection, and the client may lose the answer over it (RFC 9112,
    section 9.6). So while the `peer_sends`, only our side is closed at first; whoever gets the data has to drop it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.peer_sends = False
        self._inner = transport
        self._lingers = False
        self._dropped = 0
        transport.set_write_buffer_limits(high=_FLUSH_AT)
        self._loop = loop
        self._corked = False
        self._parts: list[bytes | bytearray | memoryview] = []
        self._size = 0

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing():  # nobody would get it
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
        """Write what nothing follows that it could leave with: the end of a reply, or all that came of a stream."""
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
        """Hand over what was collected; a connection that is lost has no use for it."""
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._inner.is_closing():
            self._inner.write(parts[0] if len(parts) == 1 else b"".join(parts))

    @override
    def close(self) -> None:
        self.flush()
        if self._lingers or self._inner.is_closing() or not self.peer_sends:
            self._inner.close()
            return
        self._lingers = True
        if self._inner.can_write_eof():  # TLS ends in both directions or in none
            self._inner.write_eof()
        if not self._inner.is_reading():
            self._inner.resume_reading()
        self._loop.call_later(_LINGER_S, self._inner.close)

    def drop(self, size: int) -> None:
        """So many bytes came that nobody will read. A client that only goes on sending is cut off."""
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
