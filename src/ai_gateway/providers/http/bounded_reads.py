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


# Of Linux's `struct tcp_info` (linux/tcp.h): tcpi_bytes_acked, since 4.2, which counts the SYN as well;
# tcpi_notsent_bytes; and since 4.19 tcpi_bytes_sent, in which what was sent again counts twice, and tcpi_bytes_retrans.
_ACKNOWLEDGED, _UNSENT, _SENT, _SENT_AGAIN, _LEAST = 120, 144, 200, 208, 216


def unacknowledged(transport: asyncio.Transport, given: int) -> int:
    """The bytes that the other machine has not acknowledged, of all that the transport was `given`; 0 if not known.

    With TLS what was sent is longer than that, so there it is what the kernel was given.

    To be called when the other side's FIN has arrived: that acknowledges all that came before, read or not (RFC 9293,
    section 3.10.7.4). A reset (RST) does not.
    """
    if sys.platform != "linux":
        return 0
    with suppress(OSError, AttributeError):
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
            info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        is_encrypted = transport.get_extra_info("ssl_object") is not None
        return max(0, (kernel_given(info) if is_encrypted else given) - acknowledged_in(info))
    return 0


def acknowledged_in(info: bytes) -> int:
    """The bytes of data that the other machine has acknowledged. Raises OSError where that is not told."""
    if len(info) < _LEAST:
        raise OSError("an older kernel")
    (acknowledged,) = struct.unpack_from("=Q", info, _ACKNOWLEDGED)
    return int(acknowledged) - 1


def kernel_given(info: bytes) -> int:
    """The bytes of data that the kernel was given, sent or not."""
    (sent,), (again,) = (struct.unpack_from("=Q", info, at) for at in (_SENT, _SENT_AGAIN))
    (unsent,) = struct.unpack_from("=I", info, _UNSENT)
    return int(sent) - int(again) + int(unsent)
