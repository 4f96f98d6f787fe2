"""Which of the processes that count together are alive: each holds a lock on a file of its own while it lives."""

import os
from contextlib import suppress
from errno import EBUSY
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

_EXCLUSIVELY = LOCK_EX | LOCK_NB
_MAX_TRIES = 100


class Owners:
    """`path` is the directory of these files, and `own` the name of this process's. Every method raises OSError."""

    def __init__(self, path: Path, own: str) -> None:
        self._path = path
        self._own = own
        self._lock: int | None = None

    @property
    def includes_this(self) -> bool:
        """Whether others can see that this process lives, unless they have removed its file."""
        return self._lock is not None

    def show(self) -> None:
        """Show others that this process lives."""
        path, former = self._path / self._own, self._lock
        self._path.mkdir(mode=0o700, exist_ok=True)
        for _ in range(_MAX_TRIES):
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if _is_locked_at(path, lock):
                break
            os.close(lock)
        else:
            raise OSError(EBUSY, os.strerror(EBUSY), str(path))
        self._lock = lock
        if former is not None:
            os.close(former)

    def close(self) -> None:
        """Show that this process counts no more."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                (self._path / self._own).unlink()
            os.close(lock)

    def is_dead(self, owner: str) -> bool:
        """Whether this process has ended. Removes what it has left here."""
        path = self._path / owner
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            flock(lock, _EXCLUSIVELY)
            path.unlink()
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def are_dead(self) -> bool:
        """Whether no other process lives. Shows this one again if its file was removed from outside."""
        names = set(os.listdir(self._path)) if self._path.exists() else set()
        if self._own not in names:
            self.show()
        return all(self.is_dead(name) for name in names - {self._own})


def _is_locked_at(path: Path, lock: int) -> bool:
    """Lock this file if it still is the one at the path. Another process may just have taken it for a dead one's."""
    try:
        flock(lock, _EXCLUSIVELY)
        return os.path.samestat(os.fstat(lock), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
