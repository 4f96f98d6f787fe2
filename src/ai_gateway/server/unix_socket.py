"""A Unix socket, for a proxy on the same machine: file permissions decide who may connect."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ai_gateway.config.problems import SettingsError

_OTHERS = 0o117  # only owner and group may connect


def bind_unix(path: Path) -> socket.socket:
    """A socket at this path; replaces one without a listener. Raises SettingsError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(_OTHERS)
    try:
        _clear(path)
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise SettingsError([f"SERVICE_SOCKET: cannot listen on '{path}': {error.strerror or error}"]) from None
    finally:
        os.umask(before)
    return sock


def _clear(path: Path) -> None:
    """Remove the socket file of a killed gateway. Raises OSError for any other file."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError("something else is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError("another process listens there")


@contextmanager
def socket_file(sock: socket.socket) -> Iterator[None]:
    """Remove the file of a Unix socket at the end, unless another process has replaced it."""
    if sock.family != socket.AF_UNIX:
        yield
        return
    path, taker = Path(sock.getsockname()), os.getpid()
    ours = path.stat()
    try:
        yield
    finally:
        with suppress(OSError):
            if os.getpid() == taker and os.path.samestat(ours, path.stat()):
                path.unlink()
