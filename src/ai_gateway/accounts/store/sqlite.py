"""The embedded store: one SQLite file, shared by any number of processes on one machine.

Statements run one after the other in a thread, since commits wait for the disk.
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import override

from ai_gateway.accounts.store.base import Change, Row, Session, Store, StoreError, Value, by_statement
from ai_gateway.accounts.store.schema import COLUMNS, STEPS, VERSION, in_sqlite, schema_problem
from ai_gateway.accounts.store.sqlite_thread import BUSY_TIMEOUT_S, DatabaseFile, StoreThread

_PLACEHOLDER = re.compile(r"\$(\d+)")
_INSERTION = re.compile(r"(INSERT INTO \w+ \([^()]*\)\s+VALUES )(\([?, \n]*\))")
_MAX_VALUES = 17_500  # in one statement: a batch of records; SQLite's own limit is 32,766, unless a build lowers it
_AT_ONCE = (100, 25, 5)  # rows with shared values; a rest is inserted as rows without
_MAX_KINDS = 8  # of rows with shared values in a batch: else there are many statements of few rows each
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


class _Session(Session):
    """Statements on a connection, in its thread."""

    def __init__(self, run: StoreThread) -> None:
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
        file = DatabaseFile(str(path) if path is not None else ":memory:")
        self._writer = StoreThread(file)
        self._reader = StoreThread(file) if path is not None else None
        self.name = f"SQLite ({path})" if path is not None else "memory"
        self._taken = asyncio.Lock()
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

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """The writer's turn. Raises StoreError if it does not come in time.

        While another process has locked the file, each writer waits for it in turn: without a limit, the last of a
        hundred would fail after a hundred times as long.
        """
        try:
            async with asyncio.timeout(BUSY_TIMEOUT_S):
                await self._taken.acquire()
        except TimeoutError:
            raise StoreError(f"{self.name}: busy for {BUSY_TIMEOUT_S:g} s") from None
        try:
            yield
        finally:
            self._taken.release()

    @override
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        if self._reader is not None:
            return await _Session(self._reader).fetch(statement, *values)
        async with self._writing():
            return await _Session(self._writer).fetch(statement, *values)

    @override
    async def execute(self, statement: str, *values: Value) -> int:
        async with self._writing():
            return await _Session(self._writer).execute(statement, *values)

    @override
    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self._writing():
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
        async with self._writing():
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
    enough = sum(len(change.rows) for change in changes) / _MAX_KINDS
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
    for at_once, many in _of_many(statement, min(_MAX_VALUES, db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))):
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
