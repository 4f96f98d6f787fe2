"""The thread in which all statements for a SQLite file run, and the file itself."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

from ai_gateway.accounts.store.base import DuplicateRow, StoreError

BUSY_TIMEOUT_S = 5.0
_AGAIN_S = 0.01
_ALREADY_THERE = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE})

type _Job = tuple[Callable[[sqlite3.Connection], Any] | None, asyncio.Future[Any]]  # without work, to close it


class DatabaseFile:
    """The database's file. SQLite would continue with a removed one, which no other process sees."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._first: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise sqlite3.OperationalError if the path has another file now, or none."""
        there = self._there()
        if self._first is None:
            self._first = there
        elif there != self._first:
            raise sqlite3.OperationalError("the file was removed or replaced: restart the gateway")

    def _there(self) -> tuple[int, int] | None:
        """The numbers by which SQLite identifies a file (os_unix.c, `fileHasMoved`); None without a file."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino


class StoreThread:
    """A connection to the file, and its thread.

    A thread of its own and a plain queue take a fifth of the instructions of an executor.
    """

    def __init__(self, file: DatabaseFile) -> None:
        self._file = file
        self._path = file.path
        self._queue: SimpleQueue[_Job] | None = None
        self._thread: Thread | None = None
        self._db: sqlite3.Connection | None = None

    async def __call__[Result](self, work: Callable[[sqlite3.Connection], Result], *, surely: bool = False) -> Result:
        """Run this in the thread. Raises StoreError or ValueError; cancelling the caller does not interrupt it.

        If the caller is cancelled before the start, it is skipped, unless `surely` is set.
        """
        try:
            submitted = self.submit(partial(self._in_its_file, work))
            return await (asyncio.shield(submitted) if surely else submitted)
        except sqlite3.IntegrityError as error:
            refused = DuplicateRow if error.sqlite_errorcode in _ALREADY_THERE else ValueError
            raise refused(f"SQLite ({self._path}): {error}") from error
        except sqlite3.Error as error:
            raise StoreError(f"SQLite ({self._path}): {error}") from error

    def submit[Result](self, work: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """Run this after all that was submitted before. Raises StoreError; the future may raise SQLite's error."""
        if self._queue is None:
            raise StoreError("the store is closed")
        if self._thread is None:
            self._thread = Thread(target=self._serve, args=(self._queue,), name="store", daemon=True)
            self._thread.start()
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put((work, done))
        return done

    def open(self) -> None:
        """Accept statements from now on."""
        self._queue = SimpleQueue()

    async def aclose(self) -> None:
        """Run what was submitted, and disconnect."""
        thread, queue = self._thread, self._queue
        self._thread = self._queue = None
        if thread is not None and queue is not None:
            closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.put((None, closed))
            await closed
            thread.join()

    def _serve(self, queue: "SimpleQueue[_Job]") -> None:
        while True:
            work, done = queue.get()
            if work is None:
                self._disconnect()
                _pass_result(done, _succeed, None)
                return
            if not done.cancelled():
                try:
                    result = work(self._connected())
                except BaseException as error:
                    _pass_result(done, _fail, error)
                else:
                    _pass_result(done, _succeed, result)
                    del result
            del work, done  # release what they refer to, before waiting for the next one

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            self._file.check()  # or SQLite would create a new one
            # Autocommit: transactions begin and end by our own statements, not by the module's rules.
            db = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            try:
                _write_ahead(db)
                # This may lose the last commits in a power failure, which the journals still have, and none if the
                # process dies.
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA foreign_keys = ON")
            except sqlite3.Error:
                db.close()
                raise
            self._db = db
        return self._db

    def _in_its_file[Result](self, work: Callable[[sqlite3.Connection], Result], db: sqlite3.Connection) -> Result:
        self._file.check()
        return work(db)

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _write_ahead(db: sqlite3.Connection) -> None:
    """Use a write-ahead log, with which readers do not wait for writers.

    A new file is locked for that, and of several who begin at once SQLite refuses all but one without waiting, since
    they would wait for each other (sqlite3_busy_handler).
    """
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _pass_result(done: asyncio.Future[Any], how: Callable[[asyncio.Future[Any], Any], None], what: object) -> None:
    """Pass a job's result to the event loop, from its thread."""
    with suppress(RuntimeError):  # the loop is closed: no task waits for it
        done.get_loop().call_soon_threadsafe(how, done, what)


def _succeed(done: asyncio.Future[Any], result: object) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
