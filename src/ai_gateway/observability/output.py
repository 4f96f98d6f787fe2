"""Lines to a descriptor of this process, by a thread: whoever has one to write neither waits nor fails.

The other end may be full, slow, or gone. Then lines are kept up to a bound, and dropped and counted beyond it.
"""

import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

MOST_BYTES = 4 * 1024 * 1024
# After each write the thread sleeps so long, and what comes meanwhile leaves together. A line that comes alone leaves
# at once; where there are many, waking up for each would cost more than writing it.
_GATHER_S = 0.005
_BUSY_S = 0.01
_PAUSE_S = 0.5


class Output:
    """Standard output or error. The thread is started by the first line, and anew in a process that is forked.

    It ends before a fork: with a second thread around, a process must not be forked (CPython warns of it since 3.12).

    `on_recovery` gets the number of lines that were dropped once lines can be written again.
    """

    def __init__(self, fd: int, on_recovery: Callable[[int], None] | None = None, most_bytes: int = MOST_BYTES) -> None:
        self._fd = fd
        self._on_recovery = on_recovery
        self._most_bytes = most_bytes
        self.dropped = 0
        """Lines that were lost so far."""
        self._begin()
        os.register_at_fork(before=self._pause, after_in_parent=self._resume, after_in_child=self._begin)

    def _begin(self) -> None:
        """Nothing of another process is written twice, and no lock of its threads is waited for."""
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._told = self.dropped
        # Re-entrant: the collector may run anywhere, and what it finds may have something to log.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._sleeps = self._is_awaited = self._writes = self._pauses = False
        self._thread: threading.Thread | None = None

    def _pause(self) -> None:
        """Let the thread write what it has, and end; one that has nobody to write to is not waited for."""
        with self._changed:
            thread, self._pauses = self._thread, True
            self._sleeps = False
            self._changed.notify_all()
        if thread is not None:
            thread.join(_PAUSE_S)

    def _resume(self) -> None:
        with self._changed:
            self._pauses = False
            if self._thread is not None and not self._thread.is_alive():
                self._thread = None
            if self._lines and self._thread is None:
                self._start()

    def add(self, line: bytes) -> None:
        """Have this line written, with those that come right behind it. Its end is the caller's."""
        # No lock, which would cost more than all of this: a deque takes lines of several threads, and a size that two
        # of them have changed at once is right again when the lines are taken.
        size = self._size + len(line)
        if size > self._most_bytes:
            self._lose(1)
            return
        self._size = size
        self._lines.append(line)
        if self._sleeps:
            self._wake()
        elif self._thread is None:
            self._begin_thread()

    def drain(self, within_s: float) -> None:
        """Wait until all is written, but no longer than this."""
        with self._changed:
            self._is_awaited = True
            self._changed.wait_for(lambda: not (self._lines or self._writes) or self._thread is None, within_s)
            self._is_awaited = False

    def _wake(self) -> None:
        with self._changed:
            self._sleeps = False
            self._changed.notify_all()

    def _begin_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"writer of {self._fd}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter ends, or the system has no thread left: the next line tries again
            self._thread = None

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for who can act on them
        while lines := self._taken():
            for piece, count in _pieces(lines):
                try:
                    _write(self._fd, piece)
                except (OSError, ValueError):  # full, closed, or nobody reads it
                    self._lose(count)
                else:
                    self._recover()
            time.sleep(_GATHER_S if len(lines) == 1 else _BUSY_S)

    def _taken(self) -> list[bytes]:
        with self._changed:
            self._writes = False
            if self._is_awaited:
                self._changed.notify_all()
            self._sleeps = True  # before a look at the lines: whoever adds one looks at this behind it
            while not self._lines:
                if self._pauses:
                    self._sleeps = False
                    return []
                self._changed.wait()
                self._sleeps = True
            self._sleeps, self._writes = False, True
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            self._size = 0
        return lines

    def _lose(self, count: int) -> None:
        with self._changed:
            self.dropped += count

    def _recover(self) -> None:
        with self._changed:
            lost, self._told = self.dropped - self._told, self.dropped
        if lost and self._on_recovery is not None:
            with suppress(Exception):  # it may log, but the thread must live
                self._on_recovery(lost)


def _pieces(lines: Iterable[bytes]) -> list[tuple[bytes, int]]:
    """Whole lines in pieces that a pipe takes in one, with their number: workers' must not run into each other's."""
    pieces: list[tuple[bytes, int]] = []
    piece: list[bytes] = []
    left = most = select.PIPE_BUF
    for line in lines:
        left -= len(line)
        if left < 0 and piece:
            pieces.append((b"".join(piece), len(piece)))
            piece, left = [], most - len(line)
        piece.append(line)
    return [*pieces, (b"".join(piece), len(piece))]


def _write(fd: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:  # somebody who shares it has made it so
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
