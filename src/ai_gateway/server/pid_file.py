"""Which process serves a port, and what came of its reloads: in files that a command finds, and nobody else.

The file of a port is locked for as long as its gateway runs. Beside it is a second one, to which each worker appends a
line for each reload.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ai_gateway.config.constants import cache_dir

_MOST_KEPT = 256 * 1024


@dataclass(frozen=True, slots=True)
class Reload:
    """What one worker made of a reload: taken over, unless there are problems."""

    problems: list[str]
    takes_a_restart: list[str]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs: its process, how many workers it has, and the file of what came of its reloads."""

    port: int
    pid: int
    workers: int
    reloads: Path


def places() -> list[Path]:
    """Where gateways leave their files, the first that can be written counts: a container has no home, but /tmp.

    One whose root is read-only has not even that.
    """
    found = [] if (cache := cache_dir()) is None else [cache]
    with suppress(OSError):
        found.append(Path(tempfile.gettempdir()) / f"ai-gateway-{os.getuid()}")
    return found


@contextmanager
def pid_file(port: int, workers: int) -> Iterator[Path | None]:
    """Hold the file while the block runs, which gets the file for `record_reload_outcome`.

    Where none can be written, signals still work: it is only a convenience.
    """
    path, held = next(((place, fd) for place in places() if (fd := _take(place, port, workers)) is not None), (None, 0))
    taker = os.getpid()
    try:
        yield None if path is None else _reloads(path, port)
    finally:
        if path is not None and os.getpid() == taker:  # not in a worker that was forked here
            for file in (path / f"gateway-{port}.pid", _reloads(path, port)):
                with suppress(OSError):
                    file.unlink()
            os.close(held)


def _take(place: Path, port: int, workers: int) -> int | None:
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(place / f"gateway-{port}.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(held, 0)
        os.write(held, f"{os.getpid()} {workers}".encode())
        _reloads(place, port).unlink(missing_ok=True)
    except OSError:  # another gateway on another address of this port
        os.close(held)
        return None
    return held


def _reloads(place: Path, port: int) -> Path:
    return place / f"gateway-{port}.reloads"


def running() -> list[Running]:
    """Every gateway of this user that runs on this machine, or in this container."""
    found = [_running(path) for place in places() for path in sorted(place.glob("gateway-*.pid"))]
    return [gateway for gateway in found if gateway is not None]


def _running(path: Path) -> Running | None:
    """The process that holds the file; None if nobody does, whatever it says, or if it is somebody else's file."""
    with suppress(OSError, ValueError), path.open("r+b") as file:
        if os.fstat(file.fileno()).st_uid != os.getuid():
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid, workers = map(int, file.read(40).split())
            port = int(path.stem.removeprefix("gateway-"))
            return Running(port, pid, workers, _reloads(path.parent, port))
    return None


def record_reload_outcome(path: Path, reload: Reload) -> None:
    """Append what came of a reload. One line is one write, so that those of several workers do not mix."""
    with suppress(OSError):
        kept = path.stat().st_size if path.exists() else 0
        mode = os.O_APPEND if kept < _MOST_KEPT else os.O_TRUNC
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | mode, 0o600)
        try:
            os.write(file, json.dumps(asdict(reload)).encode() + b"\n")
        finally:
            os.close(file)


def reloads_since(path: Path, offset: int) -> list[Reload]:
    """The reloads that were noted after the file had this size."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return [
                Reload(**json.loads(line)) for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")
            ]
    except FileNotFoundError:
        return []
