"""Reads from upstreams in pieces of a bounded size."""

import asyncio
import os
import select
import socket
import struct
import sys
from contextlib import suppress
from typing import Final, override

# Where all connections read to, before the data is copied: the event loop is one thread. Without a buffer of the
# protocol's own, uvloop reads up to 256 KB at once, and a stream whose client is slow holds all of that. Smaller pieces
# would leave holes in the heap: glibc maps those from 128 KB on, and returns them to the system.
BUFFER: Final = memoryview(bytearray(128 * 1024))


class BoundedReads(asyncio.BufferedProtocol):
    """A protocol that gets at most 128 KB at once, at the start of `BUFFER`."""

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return BUFFER


def poll_of(transport: asyncio.Transport) -> select.poll:
    """What says whether its socket has data that the event loop has not read yet."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return poll


# Of Linux's `struct tcp_info` (linux/tcp.h): tcpi_bytes_acked, since 4.2, which counts the SYN as well, and
# tcpi_bytes_sent, since 4.19.
_ACKNOWLEDGED, _SENT, _LEAST = 120, 200, 208


def unacknowledged(transport: asyncio.Transport) -> int:
    """The bytes that were sent and that the other machine has not acknowledged; 0 if that is not known.

    To be called when the other side's FIN has arrived: that acknowledges all that came before, read or not (RFC 9293,
    section 3.10.7.4). A reset (RST) does not.
    """
    if sys.platform != "linux":
        return 0
    with suppress(OSError, AttributeError):
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
            info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if len(info) >= _LEAST:
            (acknowledged,), (sent,) = (struct.unpack_from("=Q", info, at) for at in (_ACKNOWLEDGED, _SENT))
            return max(0, int(sent) + 1 - int(acknowledged))
    return 0
