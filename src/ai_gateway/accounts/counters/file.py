"""Counters that all workers of a machine share through one file: exact over all of them.

Each worker has a copy in memory. To change it, a worker locks the file, reads the lines that others have appended since
its last read, and appends its new values: 3 us of system calls, where a database transaction takes 15 and more. A line
of values is one write(2), so a killed process has counted all of a call or nothing. While another worker has the lock,
the event loop continues, and the worker retries.

Reservations of a dead process are released by another one, once the dead one's journal is settled: a call may have
reserved something and not be in the journal yet. Each process holds a lock on a file of its own while it lives.

Nothing is flushed to disk: a power failure may lose what the kernel has not written yet. If that leaves a damaged
file, money is counted anew from the ledger.
"""

import asyncio
import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from os import SEEK_END, lseek, write
from pathlib import Path
from time import monotonic
from typing import override

import orjson
import structlog

from ai_gateway.accounts.counters.base import SPAN, UNITS, Answer, CountersError, Granted, Hold, Rolling, State
from ai_gateway.accounts.counters.memory import MemoryCounters

_HEADER = b'"ai-gateway counters 2"'
_REPLACED = b"null"
_CHECK_S = 1.0
_MAX_FILE_BYTES = 2**20
_TIMES_ITS_BEGINNING = 4
_MAX_WAIT_S = 0.2
_PAUSE_S = 0.0005
_MAX_PAUSE_S = 0.01  # a longer pause means that the event loop was busy, and did not retry meanwhile
_EXCLUSIVELY = LOCK_EX | LOCK_NB
_log = structlog.get_logger(__name__)


class FileCounters(MemoryCounters):
    """A file begins with a snapshot of all counters. A file larger than `max_size` is replaced by a new one.

    Every `check_s` it is checked that the open file still is the one at the path.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        *,
        owner: str | None = None,
        max_size: int = _MAX_FILE_BYTES,
        check_s: float = _CHECK_S,
    ) -> None:
        super().__init__(clock, owner=owner or secrets.token_hex(8))
        self._path = path
        self._owners = path.with_name(f"{path.name}-owners")
        self._own_lock: int | None = None  # the lock that shows others that this process lives
        self._check_s = check_s
        self._max_size = self._replace_at = max_size
        self._fd: int | None = None
        self._end = 0  # the bytes read so far
        self._is_replaced = False  # whether the file ends with the line that says that it was replaced
        self._check_at = 0.0

    @override
    async def reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        if not self._lock():
            await self._wait_for_lock()
        try:
            if self._own_lock is None:
                self._lock_own_file()
            answer = self._reserve(call, holds)
            if isinstance(answer, Granted):
                self._append(holds, answer.at, held=call)
        except BaseException:
            self._close()
            raise
        self._unlock()
        return answer

    @override
    async def settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> None:
        if not self._lock():
            await self._wait_for_lock()
        try:
            changed = self._settle(call, holds, amounts, at)
            if changed is not None:
                self._append(changed, at, settled=(call,))
        except BaseException:
            self._close()
            raise
        self._unlock()

    @override
    async def seed(self, counter: str, used: int, until: int) -> None:
        if not self._lock():
            await self._wait_for_lock()
        try:
            self._seed(counter, used, until)
            self._append((Hold(counter, 0, 0, money=True),), 0.0)
        except BaseException:
            self._close()
            raise
        self._unlock()

    @override
    async def read(self, counters: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        if not self._lock():
            await self._wait_for_lock()
        self._unlock()
        return await super().read(counters)

    @override
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        if not self._lock():
            await self._wait_for_lock()
        try:
            owners = {owner for owner, _ in self._holders.values()} - {self._owner}
            dead = {owner for owner in owners if self._is_dead(owner) and is_finished(owner)}
            calls = [call for call, (owner, _) in self._holders.items() if owner in dead]
            if calls:
                self._release_dead(calls)
                _log.warning("what dead processes held and never began is given back", calls=len(calls))
        except OSError as error:
            self._close()
            raise self._unavailable(str(error)) from error
        except BaseException:
            self._close()
            raise
        self._unlock()

    @override
    async def aclose(self) -> None:
        self._close()
        own_lock, self._own_lock = self._own_lock, None
        if own_lock is not None:
            with suppress(OSError):
                (self._owners / self._owner).unlink()
            os.close(own_lock)

    # -- owners: which processes are alive --

    def _lock_own_file(self) -> None:
        """Lock this process's own file. Called under the counters' lock, like the check. Raises CountersError."""
        former = self._own_lock
        try:
            self._owners.mkdir(mode=0o700, exist_ok=True)
            self._own_lock = os.open(self._owners / self._owner, os.O_RDWR | os.O_CREAT, 0o600)
            flock(self._own_lock, _EXCLUSIVELY)
        except OSError as error:
            raise self._unavailable(str(error)) from error
        if former is not None:
            os.close(former)

    def _is_dead(self, owner: str) -> bool:
        path = self._owners / owner
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

    def _release_dead(self, calls: Sequence[str]) -> None:
        changed: dict[str, Hold] = {}
        for call in calls:
            for name, amount in self._holders.pop(call)[1]:
                state = self._states.get(name)
                if state is not None:
                    state.held = max(0, state.held - amount)
                    changed[name] = Hold(name, 0, 0)
        self._append(list(changed.values()), 0.0, settled=calls)

    # -- the lock --

    def _lock(self) -> bool:
        """Lock the file and read all new lines. Returns False if another process has the lock. Raises CountersError."""
        try:
            while True:
                fd = self._fd
                if fd is None:
                    fd = self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
                flock(fd, _EXCLUSIVELY)
                # Not by fstat: reading a file's times makes the next write update them exactly, at twice its cost.
                size = lseek(fd, 0, SEEK_END)
                if size != self._end or not size:
                    self._catch_up(fd, size)
                if (not self._is_replaced and monotonic() < self._check_at) or self._is_current(fd):
                    return True
                self._close()
        except BlockingIOError:
            return False
        except OSError as error:
            self._close()
            raise self._unavailable(str(error)) from error

    async def _wait_for_lock(self) -> None:
        """Retry until the time limit."""
        loop = asyncio.get_running_loop()
        waited = 0.0
        while waited < _MAX_WAIT_S:
            began = loop.time()
            await asyncio.sleep(_PAUSE_S)
            if self._lock():
                return
            waited += min(loop.time() - began, _MAX_PAUSE_S)
        raise self._unavailable(f"locked for {_MAX_WAIT_S} s")

    def _is_current(self, fd: int) -> bool:
        """Whether the open file is the one at the path. Replaces a file that is marked as replaced, or was removed."""
        self._check_at = monotonic() + self._check_s
        if self._own_lock is not None and not (self._owners / self._owner).exists():  # removed from outside
            with suppress(CountersError):
                self._lock_own_file()
        try:
            if not os.path.samestat(os.fstat(fd), self._path.stat()):
                return False
        except FileNotFoundError:
            self._is_replaced = True
        if self._is_replaced:
            self._is_replaced = False
            with suppress(OSError):  # then the present file is used further
                self._replace_file()
        return True

    def _unlock(self) -> None:
        if self._fd is not None:
            flock(self._fd, LOCK_UN)

    def _close(self) -> None:
        """Close the file, which releases its lock, and drop the copy: it is read again from the start."""
        fd, self._fd, self._end, self._is_replaced = self._fd, None, 0, False
        self._clear()
        if fd is not None:
            os.close(fd)

    def _unavailable(self, reason: str) -> CountersError:
        return CountersError(f"{self._path}: {reason}")

    # -- content of the file --

    def _catch_up(self, fd: int, size: int) -> None:
        """Read the lines that others have appended. Raises OSError."""
        if size < self._end:  # truncated from outside
            self._end = 0
            self._clear()
        begins = self._end == 0
        lines = _content(fd, self._end, size).split(b"\n")
        if begins and lines.pop(0) != _HEADER:
            os.ftruncate(fd, 0)  # a new file, or one of another version
            _write(fd, _HEADER + b"\n")
            self._end = len(_HEADER) + 1
            return
        if torn := lines.pop():  # an incomplete line, after a full disk or a killed process
            size -= len(torn)
            os.ftruncate(fd, size)
        for line in lines:
            try:
                if line == _REPLACED:
                    self._is_replaced = True
                else:
                    self._apply(line)
            except (ValueError, TypeError) as error:
                _log.error("counters are damaged: money is counted anew", path=str(self._path), error=str(error))
                self._forget_sums()
        self._end = size

    def _apply(self, line: bytes) -> None:
        """Apply a line to the copy in memory."""
        sums, rolling, held, settled = orjson.loads(line)
        states = self._states
        for name, used, kept, until in sums:
            states[name] = State(used, kept, None, until)
        for name, until, last, *parts in rolling:
            state = states.get(name)
            if state is None:
                state = states[name] = State(units=Rolling())
            state.until = until
            units = state.units
            if units is not None:
                units.advance(last)
                for unit, amount in zip(parts[::2], parts[1::2], strict=True):
                    units.add(unit, amount - units.at(unit))
        for call, owner, holds in held:
            self._holders[call] = owner, holds
        for call in settled:
            self._holders.pop(call, None)

    def _append(self, holds: Sequence[Hold], at: float, held: str | None = None, settled: Sequence[str] = ()) -> None:
        """Write the new values of these counters. Raises CountersError, and then nothing is written."""
        sums: list[tuple[object, ...]] = []
        rolling: list[tuple[object, ...]] = []
        states = self._states
        for hold in holds:
            name = hold.counter
            state = states.get(name)
            if state is None:
                continue
            units = state.units
            if units is None:
                sums.append((name, state.used, state.held, state.until))
                continue
            unit_s = hold.unit_s
            unit, last = int(at // unit_s), units.last
            state.until = (last + UNITS + 2) * unit_s
            if 0 <= last - unit <= UNITS:  # the unit has not expired
                rolling.append((name, state.until, last, unit, units.parts[unit % SPAN]))
        held_by = ((held, *self._holders[held]),) if held is not None else ()
        line = orjson.dumps((sums, rolling, held_by, settled), None, orjson.OPT_APPEND_NEWLINE)
        fd = self._fd
        assert fd is not None  # noqa: S101 - it is locked
        try:
            _write(fd, line)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(fd, self._end)
            raise self._unavailable(str(error)) from error
        self._end += len(line)
        if self._end > self._replace_at:
            try:
                self._replace_file()
            except OSError:  # retried later: the present file is used further
                self._replace_at += self._max_size

    def _replace_file(self) -> None:
        """Replace the file by a new one with a snapshot, already locked when others open it. Raises OSError."""
        self._remove_expired()
        content = _HEADER + b"\n" + orjson.dumps((*self._snapshot(), self._snapshot_of_holders(), ())) + b"\n"
        path = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            flock(fd, _EXCLUSIVELY)
            _write(fd, content)
            if self._fd is not None:
                _write(self._fd, _REPLACED + b"\n")
            path.rename(self._path)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                path.unlink()
            raise
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._end, self._is_replaced = fd, len(content), False
        self._replace_at = max(self._max_size, _TIMES_ITS_BEGINNING * self._end)

    def _snapshot(self) -> tuple[Sequence[object], Sequence[object]]:
        sums: list[object] = []
        rolling: list[object] = []
        for name, state in self._states.items():
            if state.units is None:
                sums.append((name, state.used, state.held, state.until))
            else:
                rolling.append((name, state.until, state.units.last, *_flat(state.units)))
        return sums, rolling

    def _snapshot_of_holders(self) -> Sequence[object]:
        return [(call, *holder) for call, holder in self._holders.items()]

    def _forget_sums(self) -> None:
        for name in [name for name, state in self._states.items() if state.units is None]:
            del self._states[name]


def _flat(units: Rolling) -> Iterator[int]:
    for unit in range(units.last - UNITS, units.last + 1):
        if amount := units.at(unit):
            yield unit
            yield amount


def _write(fd: int, content: bytes) -> None:
    """Raises OSError also if only a part could be written."""
    if write(fd, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _content(fd: int, start: int, end: int) -> bytes:
    """The bytes of the file in this range. Raises OSError."""
    parts = []
    while start < end and (part := os.pread(fd, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)
