"""PostgreSQL (15 or newer), for gateways on more than one machine.

Each worker has two connections: one writes, the other reads. Every wait has a timeout: a server that does not answer is
disconnected, and the next use connects again, after a growing pause.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, override
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]

from ai_gateway.accounts.store.base import Change, DuplicateRow, Row, Session, Store, StoreError, Value, by_statement
from ai_gateway.accounts.store.schema import STEPS, VERSION, in_postgres, schema_problem

_TIMEOUT_S = 5.0
_CLOSE_S = 0.5
_MIGRATE_S = 3600.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.1, 2.0
# Transactions of all processes exclude each other. A process that hangs within one loses it. The lock's number is
# arbitrary: advisory locks are by database.
_BEGIN = """BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL statement_timeout = '10s';
    SELECT pg_advisory_xact_lock(4719265108)"""
_LOCK = "SELECT pg_advisory_xact_lock(4719265108)"
_HAS_META = "SELECT to_regclass('meta') IS NOT NULL"
_VERSION = "SELECT value FROM meta WHERE name = 'schema'"
_SET_VERSION = """INSERT INTO meta (name, value) VALUES ('schema', $1)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
# Without partitions, which have the columns of their table.
_COLUMNS = """SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND attnum > 0 AND NOT attisdropped"""
# The memories of one key are few: they are found by index, and scanned for the words.
_FIND_MEMORIES = """SELECT id, project_id, key_id, user_id, created_at, updated_at, content,
    (ts_rank(to_tsvector('simple', folded), replace(plainto_tsquery('simple', $5)::text, '&', '|')::tsquery)
        * 1000000)::BIGINT
    FROM memories WHERE key_id = $1 AND project_id = $2 AND user_id = $3
    AND EXISTS (SELECT FROM json_array_elements_text($4::text::json) AS word WHERE strpos(folded, word) > 0)"""
_ADD_DAY, _DROP_DAY = "SELECT add_day_of_records($1)", "SELECT drop_day_of_records($1)"

type _Connection = Any  # asyncpg has no type hints


class _Link:
    """A connection, opened on demand, for one statement or transaction at a time."""

    def __init__(self, url: str, name: str, timeout_s: float) -> None:
        self._url = url
        self._name = name
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._taken = asyncio.Lock()
        self._pause_s = 0.0
        self._not_before = 0.0
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[_Connection]:
        """The connection, within the time limit of a statement or transaction.

        Raises StoreError for failures, ValueError for values that cannot be stored.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._taken.acquire()
        except TimeoutError:
            raise StoreError(f"{self._name}: busy for {self._timeout_s} s") from None
        try:
            connection = self._connection
            if connection is None or connection.is_closed():
                connection = self._connection = await self._connected()
            async with asyncio.timeout(self._timeout_s):
                yield connection
        except asyncpg.UniqueViolationError as error:
            raise DuplicateRow(f"{self._name}: {error}") from error
        except asyncpg.DataError as error:
            raise ValueError(f"{self._name}: {error}") from error
        except TimeoutError as error:
            self._cut()
            raise StoreError(f"{self._name}: no answer within {self._timeout_s} s") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            self._cut()
            raise StoreError(f"{self._name}: {error}") from error
        except asyncio.CancelledError:
            self._cut()  # its pending answer would be read by the next statement
            raise
        finally:
            self._taken.release()

    async def aclose(self) -> None:
        """Disconnect, and never connect again."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # the server may be unavailable
                await connection.close(timeout=_CLOSE_S)
            connection.terminate()

    def open(self) -> None:
        self._closed = False

    async def _connected(self) -> _Connection:
        if self._closed:
            raise StoreError("the store is closed")
        if time.monotonic() < self._not_before:
            raise StoreError(f"{self._name}: not connected")
        connect_s = min(self._timeout_s, _TIMEOUT_S)
        try:
            async with asyncio.timeout(connect_s):
                connection = await asyncpg.connect(
                    self._url, timeout=connect_s, server_settings={"application_name": "ai-gateway"}
                )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _MAX_PAUSE_S)
            self._not_before = time.monotonic() + self._pause_s
            raise StoreError(f"{self._name}: {error or f'no connection within {connect_s} s'}") from error
        self._pause_s = 0.0
        return connection

    def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


class _Session(Session):
    """Statements on a connection."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @override
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        return [tuple(row) for row in await self._connection.fetch(statement, *_texts(values))]

    @override
    async def execute(self, statement: str, *values: Value) -> int:
        status = await self._connection.execute(statement, *_texts(values))  # such as `UPDATE 3`
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    @override
    async def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        await self._connection.executemany(statement, [_texts(row) for row in rows])


class PostgresStore(Store):
    """`url` is `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with libpq's parameters.

    `timeout_s` bounds each statement and transaction.
    """

    def __init__(self, url: str, timeout_s: float = _TIMEOUT_S) -> None:
        self.name = f"PostgreSQL ({_place(url)})"
        self._url = url
        self._writer, self._reader = _Link(url, self.name, timeout_s), _Link(url, self.name, timeout_s)

    @override
    async def open(self) -> None:
        self._writer.open()
        self._reader.open()
        problem = await self.problem()
        if problem is not None:
            raise StoreError(f"{self.name}: {problem}")

    @override
    async def aclose(self) -> None:
        await self._writer.aclose()
        await self._reader.aclose()

    @override
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        async with self._reader.connection() as connection:
            return await _Session(connection).fetch(statement, *values)

    @override
    async def execute(self, statement: str, *values: Value) -> int:
        async with self._writer.connection() as connection:
            return await _Session(connection).execute(statement, *values)

    @override
    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self._writer.connection() as connection:
            await connection.execute(_BEGIN)
            try:
                yield _Session(connection)
            except asyncio.CancelledError:
                raise  # the connection is closed, which undoes it as well
            except BaseException:
                if not connection.is_closed():
                    await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")

    @override
    async def write(self, statement: str, expected: Sequence[Row], changes: Sequence[Change]) -> bool:
        async with self.transaction() as session:
            if await session.fetch(statement) != expected:
                return False
            for change, alike in by_statement(changes):
                await session.execute_many(change, [row for each in alike for row in each.whole_rows()])
        return True

    @override
    async def migrate(self) -> list[int]:
        reached: list[int] = []
        link = _Link(self._url, self.name, _MIGRATE_S)
        try:
            async with link.connection() as connection, connection.transaction():
                await connection.execute(_LOCK)
                for number in range(await _version(connection), VERSION):
                    for statement in in_postgres(STEPS[number]):
                        await connection.execute(str(statement))  # it does not accept subclasses of str
                    await connection.execute(_SET_VERSION, number + 1)
                    reached.append(number + 1)
        finally:
            await link.aclose()
        return reached

    @override
    async def add_day(self, day: int) -> None:
        async with self.transaction() as session:
            await session.fetch(_ADD_DAY, day)

    @override
    async def drop_day(self, before: int) -> int | None:
        async with self.transaction() as session:
            ((day,),) = await session.fetch(_DROP_DAY, before)
        return int(day) if day is not None else None

    @override
    async def find_memories(self, key_id: str, project_id: str, user_id: str, words: Sequence[str]) -> Sequence[Row]:
        return await self.fetch(_FIND_MEMORIES, key_id, project_id, user_id, json.dumps(words), " ".join(words))

    @override
    async def problem(self) -> str | None:
        async with self._reader.connection() as connection:
            version = await _version(connection)
            found = [(row[0], row[1]) for row in await connection.fetch(_COLUMNS)]
        return schema_problem(version, found)


async def _version(connection: _Connection) -> int:
    if not await connection.fetchval(_HAS_META):
        return 0
    return int(await connection.fetchval(_VERSION) or 0)


def _texts(values: Row) -> Row:
    """The values without NUL and lone surrogates, which PostgreSQL refuses and JSON may have."""
    return [_text(value) if isinstance(value, str) else value for value in values]


def _text(value: str) -> str:
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _place(url: str) -> str:
    """The server's address without credentials."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    return f"{hosts or 'local socket'}{parts.path}"
