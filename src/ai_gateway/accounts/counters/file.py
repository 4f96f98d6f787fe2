"""Counters that all workers of a machine share through one file: exact over all of them.

Each worker has a copy in memory. To change it, a worker locks the file, reads the lines that others have appended since
its last read, and appends its new values: 3 us of system calls, where a database transaction takes 15 and more. A line
of values is one write(2), so a killed process has counted all of a call or nothing. While another worker has the lock,
the event loop continues, and the worker retries. A worker that is alone keeps the lock for its next steps, which then
are a write(2) and nothing else; who comes shows itself (`owners`) before it asks for the lock. Until then nobody else
counts, so what ends is written with the next line: the file still has it as held, which is never less than it took.

Reservations of a dead process are released by another one, once the dead one's journal is settled: a call may have
reserved something and not be in the journal yet.

Nothing is flushed to disk: a power failure may lose what the kernel has not written yet. If that leaves a damaged
file, money is counted anew from the ledger.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from os import SEEK_END, lseek
from pathlib import Path
from time import monotonic
from typing import override

import structlog
from orjson import OPT_APPEND_NEWLINE, dumps

from ai_gateway.accounts.counters.base import MONEY, SPAN, UNITS, Answer, CountersError, Granted, Hold
from ai_gateway.accounts.counters.file_lines import HEADER, REPLACED, apply, content_of, snapshot, write_all
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.counters.owners import Owners

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


type _Settled = tuple[str, Sequence[Hold], Sequence[int], float, Sequence[Hold]]
"""The arguments of a settle that the file does not have yet, and the holds whose counters it has changed."""
type _Values = tuple[object, ...]
"""What a line says of a counter, or of a part of a rolling one."""


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
        self._unwritten: list[_Settled] = []

    @override
    def reserve_at_once(self, call: str, holds: Sequence[Hold]) -> Answer | None:
        if self._kept is None and not self._lock():
            return None
        try:
            answer = self._reserve(call, holds)
            if isinstance(answer, Granted):
                owner, amounts = self._holders[call]
                self._append(holds, answer.at, held=((call, owner, amounts),))
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
            if changed is not None and self._kept is not None:
                self._unwritten.append((call, holds, amounts, at, changed))
            elif changed is not None:
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
    async def left_of(self, owner: str) -> Mapping[str, Sequence[Hold]]:
        if not self._lock():
            await self._wait_for_lock()
        self._unlock()
        return {
            call: [Hold(name, amount, 0, money=name.startswith(MONEY)) for name, amount in holds]
            for call, (holder, holds) in self._holders.items()
            if holder == owner
        }

    @override
    async def aclose(self) -> None:
        with suppress(CountersError):
            if self._unwritten and (self._kept is not None or self._lock()):
                self._unlock()
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
        if self._unwritten and self._fd is not None:
            try:
                self._append((), 0.0)
            except CountersError as error:  # written with what is counted next
                _log.error("counters cannot be written", error=str(error))
                self._close()
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
        lines = content_of(fd, self._end, size).split(b"\n")
        if begins and lines.pop(0) != HEADER:
            os.ftruncate(fd, 0)  # a new file, or one of another version
            write_all(fd, HEADER + b"\n")
            self._end = len(HEADER) + 1
            return
        if torn := lines.pop():  # an incomplete line, after a full disk or a killed process
            size -= len(torn)
            os.ftruncate(fd, size)
        self._apply(lines)
        self._end = size
        if begins:
            for call, holds, amounts, at, _ in self._unwritten:
                self._settle(call, holds, amounts, at)

    def _apply(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            try:
                if line == REPLACED:
                    self._is_replaced = True
                else:
                    apply(line, self._states, self._holders)
            except (ValueError, TypeError) as error:
                _log.error("counters are damaged: money is counted anew", path=str(self._path), error=str(error))
                for name in [name for name, state in self._states.items() if state.units is None]:
                    del self._states[name]

    def _append(
        self,
        holds: Sequence[Hold],
        at: float,
        held: Sequence[tuple[object, ...]] = (),
        settled: Sequence[str] = (),
    ) -> None:
        """Write the new values of these counters, and what is not written yet.

        Raises CountersError, and then nothing is written.
        """
        sums: list[_Values] = []
        rolling: list[_Values] = []
        self._add_values(holds, at, sums, rolling)
        if self._unwritten:
            done, late = {hold.counter for hold in holds if not hold.unit_s}, [*settled]
            for call, _, _, then, changed in self._unwritten:
                late.append(call)
                if new := [hold for hold in changed if hold.counter not in done]:
                    done.update([hold.counter for hold in new if not hold.unit_s])
                    self._add_values(new, then, sums, rolling)
            settled = late
        line = dumps((sums, rolling, held, settled), None, OPT_APPEND_NEWLINE)
        fd = self._fd
        assert fd is not None  # noqa: S101 - it is locked
        try:
            write_all(fd, line)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(fd, self._end)
            raise self._unavailable(str(error)) from error
        self._unwritten.clear()
        self._end = end = self._end + len(line)
        if end > self._replace_at:
            try:
                self._replace_file()
            except OSError:  # retried later: the present file is used further
                self._replace_at += self._max_size

    def _add_values(self, holds: Sequence[Hold], at: float, sums: list[_Values], rolling: list[_Values]) -> None:
        """Add the present values of these counters, with the parts of that time of rolling ones."""
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
            last = units.last
            unit = last if units.begins <= at < units.ends else int(at // hold.unit_s)
            state.until = until = (last + UNITS + 2) * hold.unit_s
            if 0 <= last - unit <= UNITS:  # the unit has not expired
                rolling.append((name, until, last, unit, units.parts[unit % SPAN]))

    def _replace_file(self) -> None:
        """Replace the file by a new one with a snapshot, already locked when others open it. Raises OSError."""
        self._remove_expired()
        content = snapshot(self._states, self._holders)
        path = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            flock(fd, _EXCLUSIVELY)
            write_all(fd, content)
            if self._fd is not None:
                write_all(self._fd, REPLACED + b"\n")
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
