"""Counters that all workers of a machine share through one file: exact over all of them.

Each worker has a copy in memory. To change it, a worker locks the file, reads the lines that others have appended since
its last read, and appends its new values: 3 us of system calls, where a database transaction takes 15 and more. A line
of values is one write(2), so a killed process has counted all of a call or nothing. While another worker has the lock,
the event loop continues, and the worker retries. A worker that is alone keeps the lock for its next steps, which then
are a write(2) and nothing else; who comes shows itself (`owners`) before it asks for the lock.

Reservations of a dead process are released by another one, once the dead one's journal is settled: a call may have
reserved something and not be in the journal yet.

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
from ai_gateway.accounts.counters.owners import Owners

_HEADER = b'"ai-gateway counters 2"'
_REPLACED = b"null"
_CHECK_S = 1.0
_MAX_FILE_BYTES = 2**20
_TIMES_ITS_BEGINNING = 4
_MAX_WAIT_S = 0.2
_FIRST_WAIT_S = 1.0
_PAUSE_S = 0.0005
_MAX_PAUSE_S = 0.01  # a longer pause means that the event loop was busy, and did not retry meanwhile
# A process that counts alone keeps the lock for so long, and looks so often whether it still is alone.
_KEPT_S = 0.02
_LOOK_S = 0.05
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
        self._owners = Owners(path.with_name(f"{path.name}-owners"), self._owner)
        self._check_s = check_s
        self._max_size = self._replace_at = max_size
        self._fd: int | None = None
        self._end = 0  # the bytes read so far
        self._is_replaced = False  # whether the file ends with the line that says that it was replaced
        self._check_at = 0.0
        self._is_alone = False
        self._kept: asyncio.TimerHandle | None = None  # set while the lock is kept from one step to the next

    @override
    def reserve_at_once(self, call: str, holds: Sequence[Hold]) -> Answer | None:
        if self._kept is None and not self._lock():
            return None
        try:
            answer = self._reserve(call, holds)
            if isinstance(answer, Granted):
                self._append(holds, answer.at, held=((call, *self._holders[call]),))
        except BaseException:
            self._close()
            raise
        if self._kept is None:
            self._keep_lock()
        return answer

    @override
    async def reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        answer = self.reserve_at_once(call, holds)
        while answer is None:
            await self._wait_for_lock()
            answer = self.reserve_at_once(call, holds)  # it has the lock, and nothing else has run since
        return answer

    @override
    def settle_at_once(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> bool:
        if self._kept is None and not self._lock():
            return False
        try:
            changed = self._settle(call, holds, amounts, at)
            if changed is not None:
                self._append(changed, at, settled=(call,))
        except BaseException:
            self._close()
            raise
        if self._kept is None:
            self._keep_lock()
        return True

    @override
    async def settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> None:
        while not self.settle_at_once(call, holds, amounts, at):
            await self._wait_for_lock()

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
            dead = {owner for owner in owners if self._owners.is_dead(owner) and is_finished(owner)}
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

    def _release_dead(self, calls: Sequence[str]) -> None:
        changed: dict[str, Hold] = {}
        for call in calls:
            for name, amount in self._holders.pop(call)[1]:
                state = self._states.get(name)
                if state is not None:
                    state.held = max(0, state.held - amount)
                    changed[name] = Hold(name, 0, 0)
        self._append(list(changed.values()), 0.0, settled=calls)

    @override
    async def aclose(self) -> None:
        self._close()
        self._owners.close()

    # -- the lock --

    def _lock(self) -> bool:
        """Lock the file and read all new lines. Returns False if another process has the lock. Raises CountersError."""
        try:
            while True:
                fd = self._fd
                if fd is None:
                    if not self._owners.includes_this:  # before it asks for the lock, which another may keep
                        self._owners.show()
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
        """Retry until the time limit. The first time, another process may have to learn that it is not alone."""
        loop = asyncio.get_running_loop()
        waited, most = 0.0, _MAX_WAIT_S if self._end else _FIRST_WAIT_S
        while waited < most:
            began = loop.time()
            await asyncio.sleep(_PAUSE_S)
            if self._lock():
                return
            waited += min(loop.time() - began, _MAX_PAUSE_S)
        raise self._unavailable(f"locked for {most} s")

    def _is_current(self, fd: int) -> bool:
        """Whether the open file is the one at the path. Replaces a file that is marked as replaced, or was removed."""
        self._is_alone = False
        with suppress(OSError):
            self._is_alone = self._owners.are_dead()
        self._check_at = monotonic() + (min(_LOOK_S, self._check_s) if self._is_alone else self._check_s)
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

    def _keep_lock(self) -> None:
        """Keep the lock for the steps to come soon, or unlock the file if others may want it."""
        if self._is_alone:
            self._kept = asyncio.get_running_loop().call_later(_KEPT_S, self._unlock)
        else:
            self._unlock()

    def _unlock(self) -> None:
        if self._kept is not None:
            self._kept.cancel()
            self._kept = None
        if self._fd is not None:
            flock(self._fd, LOCK_UN)

    def _close(self) -> None:
        """Close the file, which releases its lock, and drop the copy: it is read again from the start."""
        if self._kept is not None:
            self._kept.cancel()
            self._kept = None
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
                for name in [name for name, state in self._states.items() if state.units is None]:
                    del self._states[name]
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

    def _append(
        self,
        holds: Sequence[Hold],
        at: float,
        held: Sequence[tuple[object, ...]] = (),
        settled: Sequence[str] = (),
    ) -> None:
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
            unit_s, last = hold.unit_s, units.last
            unit = int(at // unit_s)
            state.until = until = (last + UNITS + 2) * unit_s
            if 0 <= last - unit <= UNITS:  # the unit has not expired
                rolling.append((name, until, last, unit, units.parts[unit % SPAN]))
        line = orjson.dumps((sums, rolling, held, settled), None, orjson.OPT_APPEND_NEWLINE)
        fd = self._fd
        assert fd is not None  # noqa: S101 - it is locked
        try:
            _write(fd, line)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(fd, self._end)
            raise self._unavailable(str(error)) from error
        self._end = end = self._end + len(line)
        if end > self._replace_at:
            try:
                self._replace_file()
            except OSError:  # retried later: the present file is used further
                self._replace_at += self._max_size

    def _replace_file(self) -> None:
        """Replace the file by a new one with a snapshot, already locked when others open it. Raises OSError."""
        self._remove_expired()
        holders = [(call, *holder) for call, holder in self._holders.items()]
        content = _HEADER + b"\n" + orjson.dumps((*self._snapshot(), holders, ())) + b"\n"
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
