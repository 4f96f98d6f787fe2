"""Reads from upstreams in pieces of a bounded size."""

import asyncio
import select
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
