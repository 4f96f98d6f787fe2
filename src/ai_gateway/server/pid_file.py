"""Which process serves a port: written and locked by the gateway, so that a command can find it and nobody else."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ai_gateway.config.constants import cache_dir


def pid_path(port: int) -> Path | None:
    """Where the gateway on this port leaves its process id; None for a user without a home."""
    place = cache_dir()
    return place / f"gateway-{port}.pid" if place is not None else None


@contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Hold the file while the block runs. Where it cannot be written, signals still work: it is only a convenience."""
    held = _take(path) if path is not None else None
    taker = os.getpid()
    try:
        yield
    finally:
        if held is not None and path is not None and os.getpid() == taker:  # not in a worker that was forked here
            with suppress(OSError):
                path.unlink()
            os.close(held)


def _take(path: Path) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(held, 0)
        os.write(held, str(os.getpid()).encode())
    except OSError:  # another gateway on another address of this port
        os.close(held)
        return None
    return held


def running_pid(path: Path | None) -> int | None:
    """The process that holds the file; None if nobody does, whatever it says."""
    if path is None or not path.is_file():
        return None
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = file.read(20)
            return int(text) if text.isdigit() else None
    return None
