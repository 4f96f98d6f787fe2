"""Worker processes behind one listening socket: started, supervised, replaced and stopped together.

They are forked from a process that has built the application and started nothing: no event loop, no connection, and no
thread but the one that writes its log, which ends before each fork. So they share its memory, and a replacement starts
from the same state.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import structlog
from uvicorn.config import STARTUP_FAILURE

from ai_gateway.server.startup_signals import STOPS, expect_signals, take_pending_reload, terminal_is_gone

_SIGNALS = (*STOPS, signal.SIGHUP)
_POLL_S = 0.05
# A worker that dies sooner than this after its start will probably do so again: the pause before a restart doubles.
_SOON_S = 10.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
# Seconds that workers get beyond the grace time before they are killed.
_SLACK_S = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker knows about itself.

    `number` counts from 0; a replacement has the number of its predecessor. `parent` becomes readable when the
    supervisor ends for any reason. `reload_requested` is the monotonic time of the last reload request; 0 for none.
    """

    first: bool
    parent: int | None = None
    reload_requested: float = 0.0
    number: int = 0


class Supervisor:
    """Keeps `count` processes running until a stop signal; `run` returns the exit code.

    A worker that dies is replaced. When the supervisor itself dies, even by SIGKILL, every worker reads the end of a
    pipe and stops cleanly.
    """

    def __init__(self, count: int, work: Callable[[WorkerContext], None], sock: socket.socket, grace_s: float) -> None:
        self._count = count
        self._work = work
        self._sock = sock
        self._grace_s = grace_s
        self._started: dict[int, float] = {}
        self._numbers: dict[int, int] = {}
        self._due: list[float] = []
        self._soon = 0
        self._code = 0
        self._reload_requested = time.monotonic() if take_pending_reload() else 0.0
        self._interrupted = False
        self._kill_at: float | None = None
        self._signals: list[int] = []
        self._parent, self._life = os.pipe()

    def run(self) -> int:
        """Start all workers, and return when all have ended."""
        with self._listening():
            for number in range(self._count):
                self._start(first=number == 0)
            while self._started or self._due:
                time.sleep(_POLL_S)
                self._handle_signals()
                self._reap()
                self._replace()
                if self._kill_at is not None and time.monotonic() > self._kill_at:
                    self._send(signal.SIGKILL)
        return self._code

    @contextmanager
    def _listening(self) -> Iterator[None]:
        before = {sig: signal.signal(sig, self._record_signal) for sig in _SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def _record_signal(self, sig: int, _: FrameType | None) -> None:
        """Only record the signal: it may arrive at any point, a fork included."""
        self._signals.append(sig)

    def _handle_signals(self) -> None:
        while self._signals:
            sig = self._signals.pop(0)
            if sig == signal.SIGHUP and not terminal_is_gone():
                self._reload_requested = time.monotonic()
                self._send(signal.SIGHUP)
                continue
            # A second Ctrl-C stops at once. Workers get SIGQUIT for it, since the terminal may not have sent them the
            # first one.
            at_once = sig == signal.SIGQUIT or (self._interrupted and sig == signal.SIGINT)
            self._interrupted |= sig == signal.SIGINT
            self._stop(signal.SIGQUIT if at_once else signal.SIGTERM)

    def _stop(self, sig: signal.Signals) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace_s + _SLACK_S
            self._due.clear()
            self._sock.close()  # or the kernel would queue connections that are never accepted
        self._send(sig)

    def _send(self, sig: signal.Signals) -> None:
        for pid in self._started:
            with suppress(ProcessLookupError):  # it has ended, and is reaped next
                os.kill(pid, sig)

    def _start(self, *, first: bool = False) -> None:
        number = min(set(range(self._count)).difference(self._numbers.values()))
        # Between the fork and the worker's own handlers, a signal would be lost in ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if not pid:
            os.close(self._life)
            expect_signals()
        else:
            self._started[pid] = time.monotonic()
            self._numbers[pid] = number
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if not pid:
            self._work(WorkerContext(first, self._parent, self._reload_requested, number))
            sys.exit(0)

    def _reap(self) -> None:
        for pid, started in list(self._started.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._started[pid], self._numbers[pid]
                if self._kill_at is None:
                    self._schedule_replacement(os.waitstatus_to_exitcode(status), time.monotonic() - started)

    def _schedule_replacement(self, code: int, lived_s: float) -> None:
        if code == STARTUP_FAILURE:  # it would fail again for the same reason, which is logged
            self._code = code
            self._stop(signal.SIGTERM)
            return
        self._soon = self._soon + 1 if lived_s < _SOON_S else 0
        pause = min(_FIRST_PAUSE_S * 2**self._soon, _LONGEST_PAUSE_S)
        _log.error("a worker ended", exit_code=code, lived_s=round(lived_s, 1), next_in_s=pause)
        self._due.append(time.monotonic() + pause)

    def _replace(self) -> None:
        now = time.monotonic()
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            self._start()
