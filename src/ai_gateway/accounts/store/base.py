"""The interface of stores: statements, and exclusive transactions.

Statements are constants with `$1`, `$2` ... for their values, in SQL that both engines support. A statement is never
composed at run time, which a test checks.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol, override

type Value = str | int | None
type Row = Sequence[Value]


class Change(NamedTuple):
    """A statement, and the rows of values to run it for. Each row is followed by the `shared` values."""

    statement: str
    rows: Sequence[Row]
    shared: Row = ()

    def whole_rows(self) -> Sequence[Row]:
        """The rows with the shared values."""
        shared = self.shared
        return [(*row, *shared) for row in self.rows] if shared else self.rows


def by_statement(changes: Iterable[Change]) -> Iterator[tuple[str, list[Change]]]:
    """Changes one after the other that are made by the same statement."""
    for statement, each in groupby(changes, itemgetter(0)):
        yield statement, list(each)


class StoreError(Exception):
    """The store is unavailable, locked, full or damaged. The message is for the operator."""


class DuplicateRow(ValueError):
    """A row with that key exists."""


class Session(Protocol):
    """Runs statements. Every method raises StoreError."""

    @abstractmethod
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        """The rows of a query."""

    @abstractmethod
    async def execute(self, statement: str, *values: Value) -> int:
        """Run a statement. Returns the number of changed rows."""

    @abstractmethod
    async def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        """Run a statement once for each row of values. Raises DuplicateRow as well."""


class Store(Session, Protocol):
    """A database. `name` identifies it without credentials."""

    name: str

    @abstractmethod
    async def open(self) -> None:
        """Connect, and migrate the schema if that is automatic."""

    @abstractmethod
    async def aclose(self) -> None:
        """Disconnect."""

    @override
    async def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        async with self.transaction() as session:
            await session.execute_many(statement, rows)

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """An atomic transaction, exclusive over all processes that use the database."""

    @abstractmethod
    async def write(self, statement: str, expected: Sequence[Row], changes: Sequence[Change]) -> bool:
        """Apply the changes in one transaction, if the query's result is as expected. Returns whether it was.

        The transaction has no round trips in between. Raises StoreError or DuplicateRow after undoing it.
        """

    @abstractmethod
    async def migrate(self) -> list[int]:
        """Migrate the schema. Returns the new versions."""

    @abstractmethod
    async def add_day(self, day: int) -> None:
        """Create the partition, if the engine has any, for the records of a day, given by its start in milliseconds."""

    @abstractmethod
    async def drop_day(self, before: int) -> int | None:
        """Drop the partition of the oldest day, if it ends by then. Returns that day, or None."""

    @abstractmethod
    async def find_memories(self, key_id: str, project_id: str, user_id: str, words: Sequence[str]) -> Sequence[Row]:
        """The memories of one owner with one of the words, with their relevance.

        Words are case-folded, without blanks, at least one. Rows are `accounts.memories.Memory` and a number.
        """

    @abstractmethod
    async def problem(self) -> str | None:
        """Why the present schema cannot be used; None if it can."""
