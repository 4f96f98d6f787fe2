"""The embedded store: one SQLite file, shared by any number of processes on one machine.

Statements run one after the other in a thread, since commits wait for the disk.
"""

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, override

from ai_gateway.accounts.store.base import AlreadyThere, Change, Row, Session, Store, StoreError, Value, by_statement
from ai_gateway.accounts.store.schema import COLUMNS, STEPS, VERSION, in_sqlite, schema_problem

_BUSY_TIMEOUT_S = 5.0
_ALREADY_THERE = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE})
_PLACEHOLDER = re.compile(r"\$(\d+)")
_INSERTION = re.compile(r"(INSERT INTO \w+ \([^()]*\)\s+VALUES )(\([?, \n]*\))")
_MOST_VALUES = 17_500  # in one statement: a batch of records; SQLite's own limit is 32,766, unless a build lowers it
_AT_ONCE = (100, 25, 5)  # rows with shared values; a rest is inserted as rows without
_MOST_KINDS = 8  # of rows with shared values in a batch: else there are many statements of few rows each
_TRIGRAM = 3
_FIND_MEMORIES = """SELECT id, project_id, key_id, user_id, created_at, updated_at, content,
    CAST(-bm25(memories_index) * 1000000 AS INTEGER)
    FROM memories_index JOIN memories ON number = memories_index.rowid
    WHERE memories_index MATCH $4 AND key_id = $1 AND project_id = $2 AND user_id = $3"""
# The trigram index does not find words of less than three characters, which are frequent in Chinese and Japanese.
_FIND_MEMORIES_BY_SHORT_WORDS = """SELECT id, project_id, key_id, user_id, created_at, updated_at, content, 0
    FROM memories WHERE key_id = $1 AND project_id = $2 AND user_id = $3
    AND EXISTS (SELECT 1 FROM json_each($4) AS word WHERE instr(folded, word.value) > 0)"""
_NAMES = tuple(f"v{number}" for number in range(1, 100))

type _Values = Row | Mapping[str, Value]
type _Job = tuple[Callable[[sqlite3.Connection], Any] | None, asyncio.Future[Any]]  # without work, to close it


@cache
def _translated(statement: str) -> tuple[str, Callable[[Row], _Values]]:
    """A statement with SQLite's placeholders in place of `$1`, and a function for its values.

    Placeholders are named if one is used twice or out of order; unnamed ones take half the time.
    """
    numbers = [int(number) for number in _PLACEHOLDER.findall(statement)]
    if numbers == list(range(1, len(numbers) + 1)):
        return _PLACEHOLDER.sub("?", statement), _in_order
    return _PLACEHOLDER.sub(r":v\1", statement), _named


@cache
def _of_many(statement: str, most_values: int) -> Sequence[tuple[int, str]]:
    """The same for inserting several rows at once, with their number, largest first. Empty for other statements.

    The thread releases and reacquires the GIL for each statement, which takes several times as long as inserting a row
    while the event loop is busy.
    """
    text, made = _translated(statement)
    insertion = _INSERTION.fullmatch(text)
    if insertion is None or made is not _in_order:
        return ()
    most = most_values // text.count("?")
    return [
        (rows, insertion[1] + ", ".join([insertion[2]] * rows))
        for rows in (most, most // 4, most // 20, most // 100)
        if rows
    ]


@cache
def _of_alike(statement: str, shared: int) -> Sequence[tuple[int, str]]:
    """The same for rows without the last values, so many, which come once and before those of the rows.

    To hand a value over takes longer than to store it.
    """
    text, made = _translated(statement)
    insertion = _INSERTION.fullmatch(text)
    if insertion is None or made is not _in_order:
        return ()
    row = ", ".join("?" * (text.count("?") - shared))
    begin = [insertion[1].removesuffix("VALUES "), "SELECT *", ", ?" * shared, " FROM (VALUES "]
    return [(rows, "".join([*begin, ", ".join([f"({row})"] * rows), ")"])) for rows in _AT_ONCE]


def _in_order(values: Row) -> Row:
    return values


def _named(values: Row) -> Mapping[str, Value]:
    return dict(zip(_NAMES, values, strict=False))


class _File:
    """The database's file. SQLite would go on with one that was removed, which nobody else sees."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._first: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise sqlite3.OperationalError if another file, or none, has the name now."""
        there = self._there()
        if self._first is None:
            self._first = there
        elif there != self._first:
            raise sqlite3.OperationalError("somebody removed or replaced the file: restart the gateway")

    def _there(self) -> tuple[int, int] | None:
        """What SQLite tells files apart by (os_unix.c, `fileHasMoved`); None without one, as in memory."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino


class _Runner:
    """The connection and its thread.

    A thread of its own and a plain queue take a fifth of the instructions of an executor.
    """

    def __init__(self, file: _File) -> None:
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
            refused = AlreadyThere if error.sqlite_errorcode in _ALREADY_THERE else ValueError
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
        self._queue = SimpleQueue()

    async def aclose(self) -> None:
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
                _tell(done, _succeed, None)
                return
            if not done.cancelled():
                try:
                    result = work(self._connected())
                except BaseException as error:
                    _tell(done, _fail, error)
                else:
                    _tell(done, _succeed, result)
                    del result
            del work, done  # what they refer to must not live until the next one comes

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            self._file.check()  # or SQLite would make another one
            # Autocommit: transactions begin and end by our own statements, not by the module's rules.
            db = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            # With a write-ahead log readers do not wait for writers. NORMAL may lose the last commits in a power
            # failure, which the journals still have, and none if the process dies.
            for setting in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                db.execute(f"PRAGMA {setting}")
            self._db = db
        return self._db

    def _in_its_file[Result](self, work: Callable[[sqlite3.Connection], Result], db: sqlite3.Connection) -> Result:
        self._file.check()
        return work(db)

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _tell(done: asyncio.Future[Any], how: Callable[[asyncio.Future[Any], Any], None], what: object) -> None:
    """Hand over what has become of a job, from its thread."""
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        done.get_loop().call_soon_threadsafe(how, done, what)


def _succeed(done: asyncio.Future[Any], result: object) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


class _Session(Session):
    """Statements on a connection, in its thread."""

    def __init__(self, run: _Runner) -> None:
        self._run = run

    @override
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        text, made = _translated(statement)
        return await self._run(lambda db: db.execute(text, made(values)).fetchall())

    @override
    async def execute(self, statement: str, *values: Value) -> int:
        text, made = _translated(statement)
        return await self._run(lambda db: db.execute(text, made(values)).rowcount)

    @override
    async def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        text, made = _translated(statement)
        await self._run(lambda db: db.executemany(text, map(made, rows)))


class SqliteStore(Store):
    """`path` None is an in-memory database of this process.

    Reads outside of a transaction never see uncommitted data: they have a connection of their own or, in memory, where
    there is only one, wait.
    """

    def __init__(self, path: Path | None) -> None:
        file = _File(str(path) if path is not None else ":memory:")
        self._writer = _Runner(file)
        self._reader = _Runner(file) if path is not None else None
        self.name = f"SQLite ({path})" if path is not None else "memory"
        self._writing = asyncio.Lock()
        self._seen: tuple[int, int] | None = None
        self._problem: str | None = None

    @override
    async def open(self) -> None:
        self._writer.open()
        if self._reader is not None:
            self._reader.open()
        await self.migrate()

    @override
    async def aclose(self) -> None:
        await self._writer.aclose()
        if self._reader is not None:
            await self._reader.aclose()

    @override
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        if self._reader is not None:
            return await _Session(self._reader).fetch(statement, *values)
        async with self._writing:
            return await _Session(self._writer).fetch(statement, *values)

    @override
    async def execute(self, statement: str, *values: Value) -> int:
        async with self._writing:
            return await _Session(self._writer).execute(statement, *values)

    @override
    async def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        async with self.transaction() as session:
            await session.execute_many(statement, rows)

    @override
    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self._writing:
            try:
                # If the caller is cancelled while this waits for the lock of another process, the thread still gets the
                # lock: so it has to be rolled back as well.
                await self._writer(_begin)
                yield _Session(self._writer)
            except BaseException:
                with suppress(StoreError):  # closed meanwhile, which undoes it as well
                    # Not awaited: the thread does it before any later work.
                    self._writer.submit(_roll_back)
                raise
            await self._writer(_commit, surely=True)

    @override
    async def write(self, statement: str, expected: Sequence[Row], changes: Sequence[Change]) -> bool:
        async with self._writing:
            return await self._writer(partial(_write, statement, expected, changes))

    @override
    async def migrate(self) -> list[int]:
        return await self._writer(_migrate)

    @override
    async def add_day(self, day: int) -> None:
        pass

    @override
    async def drop_day(self, before: int) -> int | None:
        return None

    @override
    async def find_memories(self, key_id: str, project_id: str, user_id: str, words: Sequence[str]) -> Sequence[Row]:
        if any(len(word) < _TRIGRAM for word in words):
            return await self.fetch(_FIND_MEMORIES_BY_SHORT_WORDS, key_id, project_id, user_id, json.dumps(words))
        quoted = " OR ".join(f'"{word.replace('"', '""')}"' for word in words)
        return await self.fetch(_FIND_MEMORIES, key_id, project_id, user_id, quoted)

    @override
    async def problem(self) -> str | None:
        def look(db: sqlite3.Connection) -> str | None:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (changes,) = db.execute("PRAGMA schema_version").fetchone()
            if (version, changes) != self._seen:  # checking every column takes a hundred times as long
                self._problem = schema_problem(version, db.execute(COLUMNS).fetchall())
                self._seen = version, changes
            return self._problem

        return await (self._reader or self._writer)(look)


def _begin(db: sqlite3.Connection) -> None:
    _roll_back(db)  # an earlier transaction that could not be rolled back
    db.execute("BEGIN IMMEDIATE")


def _commit(db: sqlite3.Connection) -> None:
    """Commit, or roll back: after a failed commit the transaction may still be open."""
    try:
        db.execute("COMMIT")
    except sqlite3.Error:
        _roll_back(db)
        raise


def _roll_back(db: sqlite3.Connection) -> None:
    """Roll back an open transaction, if any: with a full disk, SQLite rolls back by itself."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def _write(statement: str, expected: Sequence[Row], changes: Sequence[Change], db: sqlite3.Connection) -> bool:
    _begin(db)
    try:
        text, _ = _translated(statement)
        if db.execute(text).fetchall() != expected:
            _roll_back(db)
            return False
        for change, alike in by_statement(changes):
            _execute_alike(db, change, alike)
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise
    return True


def _execute_alike(db: sqlite3.Connection, statement: str, changes: Sequence[Change]) -> None:
    rest: list[Row] = []
    enough = sum(len(change.rows) for change in changes) / _MOST_KINDS
    for change in changes:
        start, rows, shared = 0, change.rows, change.shared
        if shared and len(rows) >= enough:
            for at_once, many in _of_alike(statement, len(shared)):
                while len(rows) - start >= at_once:
                    db.execute(many, [*shared, *chain.from_iterable(rows[start : start + at_once])])
                    start += at_once
        rest += change.whole_rows()[start:]
    _execute_many(db, statement, rest)


def _execute_many(db: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    start = 0
    for at_once, many in _of_many(statement, min(_MOST_VALUES, db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))):
        while len(rows) - start >= at_once:
            db.execute(many, list(chain.from_iterable(rows[start : start + at_once])))
            start += at_once
    text, made = _translated(statement)
    db.executemany(text, map(made, rows[start:]))


def _migrate(db: sqlite3.Connection) -> list[int]:
    """The version is in the file's header (`user_version`), so that a step and its version are one transaction."""
    reached: list[int] = []
    _begin(db)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        for number in range(version, VERSION):
            for statement in in_sqlite(STEPS[number]):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")
            reached.append(number + 1)
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise
    return reached
