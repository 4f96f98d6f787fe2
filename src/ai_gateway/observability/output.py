"""Lines to a descriptor of this process, written by a thread, so that writers neither block nor fail.

If the reader is slow or gone, lines are kept up to a limit, and dropped and counted beyond it.
"""

import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

MAX_BYTES = 4 * 1024 * 1024
# After each write the thread sleeps for this long, to collect more lines. A single line is written at once; with many
# lines, waking the thread for each would cost more than writing it.
_GATHER_S = 0.005
_BUSY_S = 0.01
_PAUSE_S = 0.5


class Output:
    """Standard output or error. The thread is started by the first line, also in a forked process.

    It is stopped before a fork: forking with a second thread is unsafe (CPython warns of it since 3.12).

    `on_recovery` gets the number of dropped lines once lines can be written again.
    """

    def __init__(self, fd: int, on_recovery: Callable[[int], None] | None = None, max_bytes: int = MAX_BYTES) -> None:
        self._fd = fd
        self._on_recovery = on_recovery
        self._max_bytes = max_bytes
        self.dropped = 0
        """The number of dropped lines so far."""
        self._begin()
        os.register_at_fork(before=self._pause, after_in_parent=self._resume, after_in_child=self._begin)

    def _begin(self) -> None:
        """Start with no lines and new locks, so that a forked process writes no line of its parent again."""
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._reported = self.dropped
        # Re-entrant: the garbage collector may run at any point, and finalizers may log.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._sleeps = self._is_awaited = self._writes = self._pauses = self._torn = False
        self._thread: threading.Thread | None = None

    def _pause(self) -> None:
        """Let the thread write pending lines and end, without waiting if its reader does not read."""
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
        """Queue a line, which includes its line end."""
        # Without a lock, which would cost more than all else here: appending to a deque is atomic, and a size that two
        # threads change at once is corrected when the lines are taken.
        size = self._size + len(line)
        if size > self._max_bytes:
            self._drop(1)
            return
        self._size = size
        self._lines.append(line)
        if self._sleeps:
            self._wake()
        elif self._thread is None:
            self._begin_thread()

    def drain(self, within_s: float) -> None:
        """Wait until all lines are written, for at most this long."""
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
        except RuntimeError:  # the interpreter is shutting down, or no thread is left: the next line tries again
            self._thread = None

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
        while lines := self._taken():
            for piece, count in _pieces(lines):
                whole = b"\n" + piece if self._torn else piece
                left = _write(self._fd, whole)
                if left == 0:
                    self._torn = False
                    self._recover()
                    continue
                if left < len(whole):  # a disk became full: the next line must not go on with this one
                    self._torn = not whole[:-left].endswith(b"\n")
                self._drop(count)
            time.sleep(_GATHER_S if len(lines) == 1 else _BUSY_S)

    def _taken(self) -> list[bytes]:
        with self._changed:
            self._writes = False
            if self._is_awaited:
                self._changed.notify_all()
            self._sleeps = True  # set before checking for lines: `add` reads it after adding one
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

    def _drop(self, count: int) -> None:
        with self._changed:
            self.dropped += count

    def _recover(self) -> None:
        with self._changed:
            lost, self._reported = self.dropped - self._reported, self.dropped
        if lost and self._on_recovery is not None:
            with suppress(Exception):  # it may log, and the thread must keep running
                self._on_recovery(lost)


def _pieces(lines: Iterable[bytes]) -> list[tuple[bytes, int]]:
    """Whole lines in pieces that a pipe takes atomically, with their number: lines of workers must not be mixed."""
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


def _write(fd: int, piece: bytes) -> int:
    """Write it; returns how much is left if the descriptor is full, closed, or without a reader."""
    left = memoryview(piece)
    with suppress(OSError, ValueError):
        while left:
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:  # another process that shares the descriptor has made it non-blocking
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll()
    return len(left)
