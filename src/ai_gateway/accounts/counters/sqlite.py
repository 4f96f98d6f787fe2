"""Counters in one SQLite file that all workers of a machine share: exact over all of them.

What is asked for in one turn of the event loop is one transaction, done where it is asked for, since a thread would
cost more than its 15 us. It never waits inside: while another worker has the file, the loop goes on, and tries again.
Nothing is flushed to the disk: what a power cut takes is counted again from the ledger.
"""

import asyncio
import sqlite3
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast, override

from ai_gateway.accounts.counters.base import (
    Answer,
    Counters,
    CountersError,
    Granted,
    Hold,
    Rolling,
    State,
    fresh,
    reserve,
    settle,
)

_SCHEMA = """CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY, used INTEGER NOT NULL, held INTEGER NOT NULL, last INTEGER, parts BLOB,
    until INTEGER NOT NULL
) WITHOUT ROWID"""
# The calls that hold something, so that none is settled twice: what a killed worker had settled, but not noted in its
# journal, is given back once more by whoever reads that.
_HOLDERS = "CREATE TABLE IF NOT EXISTS holders (call TEXT PRIMARY KEY) WITHOUT ROWID"
_HOLD = "INSERT INTO holders (call) VALUES (?) ON CONFLICT (call) DO NOTHING"
_SETTLE = "DELETE FROM holders WHERE call = ?"
_READ = "SELECT used, held, last, parts, until FROM counters WHERE name = ?"
_WRITE = """INSERT INTO counters (name, used, held, last, parts, until) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET used = excluded.used, held = excluded.held, last = excluded.last,
    parts = excluded.parts"""
_SEED = "INSERT INTO counters (name, used, held, until) VALUES (?, ?, 0, ?) ON CONFLICT (name) DO NOTHING"
_FORGET = "DELETE FROM counters WHERE until > 0 AND until < ?"
_LONGEST_WAIT_S = 0.2
_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.01  # what a pause took longer, the event loop was busy: nobody has tried meanwhile
_TAKEN = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class _States:
    """Counters as one transaction sees them: each is read once, and written once if it was changed."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._read: dict[str, State | None] = {}
        self._changed: dict[str, State] = {}

    def of(self, hold: Hold) -> State | None:
        """The state that a hold is for."""
        name = hold.counter
        if name not in self._read:
            self._read[name] = _state(self.db, hold)
        return self._read[name]

    def change(self, holds: Sequence[Hold]) -> None:
        """Have their states written."""
        for hold in holds:
            state = self.of(hold)
            if state is not None:
                self._changed[hold.counter] = state

    def write(self) -> None:
        """Write those that were changed."""
        for name, state in self._changed.items():
            units = state.units
            last, parts = (units.last, units.parts.tobytes()) if units is not None else (None, None)
            self.db.execute(_WRITE, (name, state.used, state.held, last, parts, state.until))

    def begun(self, counter: str) -> None:
        """It may have been begun by now: one that was not known is read again, and any other was known already."""
        if self._read.get(counter) is None:
            self._read.pop(counter, None)


type _Work = Callable[[_States], object]


class SqliteCounters(Counters):
    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._waiting: list[tuple[_Work, asyncio.Future[object]]] = []
        self._waits_since: float | None = None

    @override
    async def reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        def work(states: _States) -> Answer:
            answer = reserve(holds, states.of, self._clock())
            if isinstance(answer, Granted):
                states.change(holds)
                states.db.execute(_HOLD, (call,))
            return answer

        done = self._done(work)
        try:
            return cast("Answer", await done)
        except asyncio.CancelledError:
            if not done.cancelled() and isinstance(answer := done.result(), Granted):  # nobody learns of it any more
                self._done(partial(_settle_all, call, holds, [0] * len(holds), answer.at))
            raise

    @override
    async def settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> None:
        await self._done(partial(_settle_all, call, holds, amounts, at))

    @override
    async def seed(self, counter: str, used: int, until: int) -> None:
        def work(states: _States) -> None:
            states.db.execute(_FORGET, (int(self._clock()) - 1,))  # windows that are over: a new one has just begun
            states.db.execute(_SEED, (counter, used, until))
            states.begun(counter)

        await self._done(work)

    @override
    async def read(self, counters: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        def work(states: _States) -> Mapping[str, tuple[int, int]]:
            states.write()
            rows = ((name, states.db.execute(_READ, (name,)).fetchone()) for name in counters)
            return {name: (row[0], row[1]) for name, row in rows if row is not None}

        return cast("Mapping[str, tuple[int, int]]", await self._done(work))

    @override
    async def aclose(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _done(self, work: _Work) -> asyncio.Future[object]:
        """Have it done in the next transaction. Its result may be CountersError; who leaves early keeps nobody back."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._waiting.append((work, future))
        if self._waits_since is None:
            self._waits_since = loop.time()
            loop.call_soon(self._run)
        return future

    def _run(self) -> None:
        """Do all that waits, or try again in a moment if others have the file; but not for ever."""
        loop, since = asyncio.get_running_loop(), self._waits_since
        try:
            done = self._transact([work for work, future in self._waiting if not future.done()])
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in _TAKEN:
                if since is not None and loop.time() - since < _LONGEST_WAIT_S:
                    loop.call_later(_PAUSE_S, self._run)
                    return
                self._fail(CountersError(f"SQLite ({self._path}): locked for {_LONGEST_WAIT_S} s"))
            else:
                self._fail(CountersError(f"SQLite ({self._path}): {error}"))
            return
        waiting = self._empty()
        for future, result in zip((future for future in waiting if not future.done()), done, strict=True):
            future.set_result(result)

    def _fail(self, error: CountersError) -> None:
        for future in self._empty():
            if not future.done():
                future.set_exception(error)

    def _empty(self) -> list[asyncio.Future[object]]:
        waiting, self._waiting, self._waits_since = self._waiting, [], None
        return [future for _, future in waiting]

    def _transact(self, works: Sequence[_Work]) -> list[object]:
        db = self._db = self._db or self._connected()
        db.execute("BEGIN IMMEDIATE")
        try:
            states = _States(db)
            results = [work(states) for work in works]
            states.write()
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return results

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            for setting in ("journal_mode = WAL", "synchronous = OFF"):
                db.execute(f"PRAGMA {setting}")
            db.execute(_SCHEMA)
            db.execute(_HOLDERS)
        except BaseException:
            db.close()
            raise
        return db


def _settle_all(call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float, states: _States) -> None:
    if states.db.execute(_SETTLE, (call,)).rowcount == 0:
        return
    for hold, amount in zip(holds, amounts, strict=True):
        state = states.of(hold)
        if state is not None:
            settle(hold, state, amount, at)
    states.change(holds)


def _state(db: sqlite3.Connection, hold: Hold) -> State | None:
    row = db.execute(_READ, (hold.counter,)).fetchone()
    if row is None:
        return fresh(hold)
    used, held, last, parts, until = row
    units = None
    if hold.unit_s:
        units = Rolling(last or 0, array("q", parts) if parts else None)
    return State(used, held, units, until)
