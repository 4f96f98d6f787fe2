"""Which process listens where, and what came of its reloads: in files that a command finds, and nobody else.

The file of an address is locked for as long as its gateway runs. Beside it is a second one, to which each worker
appends a line for each reload. Several machines and containers may share the folder: the names of the files are of one
of them each, and only its own are looked at.
"""

import fcntl
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import override

from ai_gateway.config.constants import cache_dir

_LONGEST = 8 * 1024
_ABANDONED_S = 3600.0  # long after a file is made, its gateway has locked it


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gateway listens: on a host's port, or on a Unix socket, whose port is 0 and whose path is the host."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(sock: socket.socket) -> Address:
    """Where this socket is bound."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Address(str(Path(name).absolute()), 0)
    return Address(str(name[0]), int(name[1]))


@dataclass(frozen=True, slots=True)
class Reload:
    """What one worker made of a reload: taken over, unless there are problems."""

    problems: list[str]
    takes_a_restart: list[str]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs: its process, how many workers it has, and the file of what came of its reloads."""

    address: Address
    tls: bool
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
def pid_file(address: Address, workers: int, *, tls: bool = False) -> Iterator[Path | None]:
    """Hold the file while the block runs, which gets the file for `record_reload_outcome`.

    Where none can be written, signals still work: it is only a convenience.
    """
    name = f"{_prefix()}{sha256(str(address).encode()).hexdigest()[:12]}.pid"
    content = json.dumps({"pid": os.getpid(), "workers": workers, "tls": tls, **asdict(address)}).encode()
    paths = (place / name for place in places())
    path, held = next(((path, fd) for path in paths if (fd := _take(path, content)) is not None), (None, 0))
    taker = os.getpid()
    try:
        yield None if path is None else _reloads(path)
    finally:
        if path is not None and os.getpid() == taker:  # not in a worker that was forked here
            for file in (path, _reloads(path)):
                with suppress(OSError):
                    file.unlink()
            os.close(held)


def _prefix() -> str:
    """What the names of this machine's, or container's, files begin with."""
    return f"gateway-{sha256(socket.gethostname().encode()).hexdigest()[:12]}-"


def _take(path: Path, content: bytes) -> int | None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(held, 0)
        os.write(held, content)
        _reloads(path).unlink(missing_ok=True)
        _remove_abandoned(path)
    except OSError:  # another container with this one's name, which shares the folder
        os.close(held)
        return None
    return held


def _remove_abandoned(own: Path) -> None:
    """Remove the files of gateways that were killed: each container that has shared the folder had another name."""
    for path in own.parent.glob("gateway-*.pid"):
        if path != own and time.time() - path.stat().st_mtime > _ABANDONED_S and not _is_held(path):
            for file in (path, _reloads(path)):
                file.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _reloads(path: Path) -> Path:
    return path.with_suffix(".reloads")


def running() -> list[Running]:
    """Every gateway of this user that runs on this machine, or in this container."""
    found = [_running(path) for place in places() for path in sorted(place.glob(f"{_prefix()}*.pid"))]
    return [gateway for gateway in found if gateway is not None]


def _running(path: Path) -> Running | None:
    """The process that holds the file; None if nobody does, whatever it says, or if it is somebody else's file."""
    with suppress(OSError, ValueError, KeyError), path.open("r+b") as file:
        if os.fstat(file.fileno()).st_uid != os.getuid():
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            found = json.loads(file.read(_LONGEST))
            address = Address(found["host"], found["port"])
            return Running(address, found["tls"], found["pid"], found["workers"], _reloads(path))
    return None


def record_reload_outcome(path: Path, reload: Reload) -> None:
    """Append what came of a reload. One line is one write, so that those of several workers do not mix.

    A start begins a new file. Until then nothing is taken out of it: a command may be reading from where it ended.
    """
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_APPEND, 0o600)
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
