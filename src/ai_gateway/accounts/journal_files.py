"""The files of journals: segments in a directory for each worker, which is locked while the worker lives."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ai_gateway.accounts.journal_format import HEAD, HEADER, LineReader
from ai_gateway.accounts.records import Record

_LOCK = "lock"
_BEING_MADE = ".new-"
_SUFFIX = ".journal"
_CHUNK = 128 * 1024


@dataclass(frozen=True, slots=True)
class LockedDirectory:
    """A directory that is locked by this process."""

    path: Path
    _lock: int

    @classmethod
    def make(cls, root: Path, owner: str = "") -> Self:
        """A new directory for this owner. Raises OSError."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{owner}-{secrets.token_hex(8)}"
        path = root / f"{_BEING_MADE}{name}"
        path.mkdir(mode=0o700)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(path.rename(root / name), lock)  # others never see it without its lock
        except OSError:
            os.close(lock)
            raise

    @classmethod
    def claim(cls, path: Path) -> Self | None:
        """Claim the directory of a dead owner; None if the owner lives, or another process has claimed it."""
        try:
            lock = os.open(path / _LOCK, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return cls(path, lock)

    @property
    def is_there(self) -> bool:
        """Whether it still exists and was not replaced."""
        try:
            return os.path.samestat(os.fstat(self._lock), os.stat(self.path / _LOCK))
        except OSError:
            return False

    @property
    def owner(self) -> str:
        """The owning process."""
        return self.path.name.partition("-")[0]

    @property
    def is_last(self) -> bool:
        """Whether its owner has no other directory here."""
        beside = (path for path in directories(self.path.parent) if path != self.path)
        return not any(path.name.startswith(f"{self.owner}-") for path in beside)

    def segments(self) -> list[Path]:
        """The segment files, oldest first."""
        return sorted(self.path.glob(f"*{_SUFFIX}"))

    def close(self, *, remove: bool) -> None:
        """Unlock it, or remove it with its content."""
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def directories(root: Path) -> list[Path]:
    """The directories of all workers, dead or alive."""
    with suppress(OSError):
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return []


def has_journals(root: Path, owner: str) -> bool:
    """Whether this owner, which may be dead, has a directory."""
    return any(path.name.startswith(f"{owner}-") for path in directories(root))


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `size` is the written length, `shipped` the position up to which the ledger has it."""

    path: Path
    fd: int
    size: int
    shipped: int = 0
    _reader: LineReader | None = field(default=None, repr=False)

    @classmethod
    def make(cls, path: Path, number: int, lines: Iterable[bytes]) -> Self:
        """A new segment that begins with these lines. Raises OSError."""
        path /= f"{number:08}{_SUFFIX}"
        content = HEADER + b"".join(lines)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        segment = cls(path, fd, 0)
        try:
            while segment.size < len(content):  # a full disk writes a part, and then fails
                segment.size += os.write(fd, content[segment.size :])
        except OSError:
            segment.remove()
            raise
        return segment

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing segment. Raises OSError."""
        fd = os.open(path, os.O_RDONLY)
        return cls(path, fd, os.fstat(fd).st_size)

    @property
    def reader(self) -> LineReader:
        """The reader for its lines, by its header. Raises ValueError for an invalid header."""
        if self._reader is None:
            head = next(self.lines(0), (b"", 0))[0]
            self._reader = LineReader(head if head[:1] == HEAD else HEADER)
        return self._reader

    def lines(self, offset: int) -> Iterator[tuple[bytes, int]]:
        """Each complete line from the offset on, with the offset after it. Raises OSError."""
        length = _CHUNK
        while offset < self.size:
            chunk = os.pread(self.fd, min(length, self.size - offset), offset)
            whole = chunk.rfind(b"\n") + 1
            if not whole:
                if len(chunk) < length:
                    return
                length *= 2
            for line in chunk[:whole].split(b"\n")[:-1]:
                offset += len(line) + 1
                yield line, offset

    def read(self, most: int, record_of: Callable[[bytes], Record | None]) -> tuple[list[Record], int]:
        """The next records that are not shipped, and the position after them. Raises OSError."""
        records: list[Record] = []
        end = self.shipped
        for line, behind in self.lines(self.shipped):
            record = record_of(line)
            end = behind
            if record is not None:
                records.append(record)
                if len(records) == most:
                    break
        return records, end

    def remove(self) -> None:
        """Delete the file."""
        self.close()
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Close the file without deleting it."""
        os.close(self.fd)
