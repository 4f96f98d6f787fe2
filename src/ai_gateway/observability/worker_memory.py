"""Shared memory in which each worker publishes its metrics and configuration."""

import os
import tempfile
import zlib
from struct import Struct

_HEAD = Struct(">II")  # length and checksum of what follows
_TRIES = 5


class WorkerMemory:
    """One slot for each worker, in memory that is inherited by workers forked later.

    A slot outlives its worker, so that the replacement continues from it: with the counts, so that no counter ever
    decreases, or with the last applied configuration.
    """

    def __init__(self, workers: int, name: str = "metrics") -> None:
        self._places = [_memory(name) for _ in range(workers)]
        self._last: dict[int, bytes] = {}

    def write(self, place: int, raw: bytes) -> None:
        """Replace the content of a worker's slot."""
        os.pwrite(self._places[place], _HEAD.pack(len(raw), zlib.crc32(raw)) + raw, 0)

    def read(self, place: int) -> bytes | None:
        """The content of a worker's slot; None if empty."""
        for _ in range(_TRIES):  # the worker may be writing
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
        """The content of every slot."""
        found = (self.read(place) for place in range(len(self._places)))
        return [raw for raw in found if raw is not None]


def _memory(name: str) -> int:
    """A descriptor of anonymous memory, which is freed with the last process that uses it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(f"ai-gateway-{name}")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
