"""Processes of the gateway, forked from one that has imported it: imports are nearly all of the second a start takes.

What is forked then runs `python -m ai_gateway` as it is: arguments, environment, working directory and exit code are
those of a process of its own. What it cannot show is what comes before the first line of the program, what Python
reads when it starts, and what it frees when it ends; tests of these start a process.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import coverage

_MOST = 256 * 1024
_STATUS = struct.Struct("i")


# -- in the tests' process --


class Forked:
    """A process that was forked, with what the tests use of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], pid: int, status: int) -> None:
        self.args = list(arguments)
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one. Raises subprocess.TimeoutExpired."""
        if (code := self._ended(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and _readable(self._status, timeout):
            status = os.read(self._status, _STATUS.size)
            os.close(self._status)
            assert status, f"the fork server ended before {self.args}"
            self.returncode = os.waitstatus_to_exitcode(_STATUS.unpack(status)[0])
        return self.returncode


def _readable(fd: int, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether a process with this environment may be forked: not if Python itself reads something in it."""
    return sys.platform == "linux" and not any(name.startswith("PYTHON") for name in env)


def fork(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path, stdout: int, stderr: int, *, stdin: int | None = None
) -> Forked:
    """`python -m ai_gateway ARGUMENTS` in a process that is forked, without input unless there is a file of it."""
    sys.audit("fork_server.fork", arguments)
    with open(os.devnull, "rb") as nothing:
        streams = [nothing.fileno() if stdin is None else stdin, stdout, stderr]
        return _server().fork(arguments, env, cwd, streams)


class _Server:
    """The process that forks. It ends, and all that it has forked with it, when this process does."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            environment = {"PATH": os.environ["PATH"], "HOME": os.devnull}
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        atexit.register(self._close)

    def _close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._process.wait()

    def fork(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, streams: list[int]) -> Forked:
        status, theirs = os.pipe()
        try:
            request = json.dumps({"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)})
            socket.send_fds(self._socket, [request.encode()], [*streams, theirs])
        finally:
            os.close(theirs)
        answer = self._socket.recv(_STATUS.size)
        assert answer, "the fork server has ended"
        return Forked(arguments, _STATUS.unpack(answer)[0], status)


@cache
def _server() -> _Server:
    return _Server()


# -- in the process that forks --


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork whatever is asked for. Returns what to run in each child, and None in the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the tests, which then close `control`
    running: dict[int, tuple[int, int]] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd in running:
                poll.unregister(fd)
                _report(fd, *running.pop(fd))
                continue
            request, fds, _, _ = socket.recv_fds(control, _MOST, 4)
            if not request:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                return None
            if (pid := os.fork()) == 0:
                _become(control, fds)
                wanted: dict[str, Any] = json.loads(request)
                return wanted
            control.send(_STATUS.pack(pid))
            ended = os.pidfd_open(pid)
            poll.register(ended, select.POLLIN)
            running[ended] = (pid, fds.pop())
            for stream in fds:
                os.close(stream)


def _report(ended: int, pid: int, pipe: int) -> None:
    """Write into its pipe how a process has ended."""
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know
        os.write(pipe, _STATUS.pack(os.waitpid(pid, 0)[1]))
    os.close(ended)
    os.close(pipe)


def _become(control: socket.socket, fds: list[int]) -> None:
    """Have nothing of the process that forked: neither its signals nor its descriptors."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, fd in zip((0, 1, 2), fds, strict=False):
        os.dup2(fd, number)
    control.detach()
    os.closerange(3, 65_536)


def _run(arguments: list[str], env: dict[str, str], cwd: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["-m", *arguments]
    sys.path[0] = cwd  # as with -m
    if any(name.startswith("COVERAGE_") for name in env):
        coverage.process_startup()
    code: object = 0
    try:
        runpy.run_module("ai_gateway", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    if not isinstance(code, int):
        sys.exit(str(code))
    _end(code)


def _end(code: int) -> None:
    """As a process of `multiprocessing` ends: to free what is shared, it would be copied first; that took a fifth."""
    threading._shutdown()  # type: ignore[attr-defined] # it joins threads; there is no public name for it
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
            stream.flush()
    os._exit(code)


def _main() -> None:
    import ai_gateway.cli.starting  # noqa: F401 - what takes a second
    from ai_gateway.providers.config.plugins import known_rows

    known_rows()  # what is installed is looked for once
    gc.collect()
    gc.freeze()  # what is shared stays shared if no collector writes into it
    if (wanted := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        _run(**wanted)


if __name__ == "__main__":
    _main()
