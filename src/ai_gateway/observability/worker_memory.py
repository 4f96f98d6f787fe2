"""What the workers of one gateway have to say, where each of them can read it."""

import os
import tempfile
import zlib
from struct import Struct

_HEAD = Struct(">II")  # length and checksum of what follows
_TRIES = 5


class WorkerMemory:
    """A place for each worker, in memory that all inherit which are forked after this is made.

    What a worker has written stays when it ends, and its replacement goes on from there: with what was counted, so
    that no counter ever falls, or with the configuration that was taken last.
    """

    def __init__(self, workers: int, name: str = "metrics") -> None:
        self._places = [_memory(name) for _ in range(workers)]
        self._last: dict[int, bytes] = {}

    def write(self, place: int, raw: bytes) -> None:
        """Replace what this worker has written before."""
        os.pwrite(self._places[place], _HEAD.pack(len(raw), zlib.crc32(raw)) + raw, 0)

    def read(self, place: int) -> bytes | None:
        """What the worker has written last, None if that is nothing."""
        for _ in range(_TRIES):  # it may be writing
            raw = os.pread(self._places[place], os.fstat(self._places[place]).st_size, 0)
            if len(raw) < _HEAD.size:
                return None
            length, checksum = _HEAD.unpack_from(raw)
            body = raw[_HEAD.size : _HEAD.size + length]
            if zlib.crc32(body) == checksum:
                self._last[place] = body
                return body
        return self._last.get(place)

    def read_all(self) -> list[bytes]:
        """What every worker has written last."""
        found = (self.read(place) for place in range(len(self._places)))
        return [raw for raw in found if raw is not None]


def _memory(name: str) -> int:
    """A descriptor of memory that is gone with the last process that has it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(f"ai-gateway-{name}")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
