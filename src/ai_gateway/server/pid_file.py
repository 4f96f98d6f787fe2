"""PID files: which process listens where, and the outcomes of its reloads, in files of this user.

The file of an address is locked while its gateway runs. Each worker appends a line for each reload to a second file
beside it. Several machines and containers may share the folder: file names contain the machine's identity, and others'
files are ignored.
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
_ABANDONED_S = 3600.0  # a file that is not locked after so long has no gateway


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
    """The outcome of a reload in one worker: loaded, unless there are problems."""

    problems: list[str]
    takes_a_restart: list[str]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Running:
    """A running gateway: its process, the number of its workers, and the file of its reload outcomes."""

    address: Address
    tls: bool
    pid: int
    workers: int
    reloads: Path


def places() -> list[Path]:
    """Folders for the files; the first writable one is used: a container may have no home, but /tmp.

    With a read-only root there may be none.
    """
    found = [] if (cache := cache_dir()) is None else [cache]
    with suppress(OSError):
        found.append(Path(tempfile.gettempdir()) / f"ai-gateway-{os.getuid()}")
    return found


@contextmanager
def pid_file(address: Address, workers: int, *, tls: bool = False) -> Iterator[Path | None]:
    """Keep the file locked during the block, which gets the path for `record_reload_outcome`.

    Without a writable folder there is no file; reloads by signal still work.
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
    """The prefix of file names of this machine or container."""
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
    except OSError:  # locked by another container of the same name that shares the folder
        os.close(held)
        return None
    return held


def _remove_abandoned(own: Path) -> None:
    """Remove the files of gateways that were killed; containers with a shared folder leave many."""
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
    """The process that has locked the file; None if it is not locked, or belongs to another user."""
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
    """Append the outcome of a reload. Each line is one write, so that those of several workers do not mix.

    Only a start truncates the file: a command may be reading from an offset.
    """
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_APPEND, 0o600)
        try:
            os.write(file, json.dumps(asdict(reload)).encode() + b"\n")
        finally:
            os.close(file)


def reloads_since(path: Path, offset: int) -> list[Reload]:
    """The outcomes behind this offset of the file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return [
                Reload(**json.loads(line)) for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")
            ]
    except FileNotFoundError:
        return []
