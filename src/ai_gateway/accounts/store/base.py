"""What a database has to offer for everything that is stored: statements, and transactions that exclude each other.

Statements are constants with `$1`, `$2` ... for their values, in the SQL that both engines speak. A statement is never
made of parts at run time: a test looks for that.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

type Value = str | int | None
type Row = Sequence[Value]
type Change = tuple[str, Sequence[Row]]
"""A statement, and the rows of values that it is run for."""


class StoreError(Exception):
    """The store cannot be used now: it is away, locked, full or damaged. Its text is for the operator."""


class AlreadyThere(ValueError):
    """There is a row with that key."""


class Session(Protocol):
    """Runs statements. Every method raises StoreError."""

    @abstractmethod
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        """The rows that a statement gives."""

    @abstractmethod
    async def execute(self, statement: str, *values: Value) -> int:
        """Run a statement. Returns the number of rows that it changed."""

    @abstractmethod
    async def execute_many(self, statement: str, rows: Iterable[Row]) -> None:
        """Run a statement once for each row of values. Raises AlreadyThere as well."""


class Store(Session, Protocol):
    """A database. `name` says which one, without what a log must not have."""

    name: str

    @abstractmethod
    async def open(self) -> None:
        """Connect, and bring the schema up to date where that is automatic."""

    @abstractmethod
    async def aclose(self) -> None:
        """Disconnect."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """All or nothing, and one at a time over every process that uses the database."""

    @abstractmethod
    async def write(self, statement: str, expected: Sequence[Row], changes: Sequence[Change]) -> bool:
        """All of these changes in one transaction, if the statement gives what is expected. Returns whether it did.

        It is a transaction that waits for nothing in between. Raises StoreError or AlreadyThere: then it was undone.
        """

    @abstractmethod
    async def migrate(self) -> list[int]:
        """Bring the schema up to date. Returns the versions that were reached."""

    @abstractmethod
    async def add_day(self, day: int) -> None:
        """Make a place of its own for the records of a day, which begins then, in milliseconds; if there are such."""

    @abstractmethod
    async def drop_day(self, before: int) -> int | None:
        """Drop the place of the oldest day, with its records, if it ends by then. Returns that day, or None."""

    @abstractmethod
    async def find_memories(self, key_id: str, project_id: str, user_id: str, words: Sequence[str]) -> Sequence[Row]:
        """The memories of one owner that contain one of the words, with how relevant the engine finds them.

        Words are folded, without blanks, and at least one. Rows are `accounts.memories.Memory` and a number.
        """

    @abstractmethod
    async def problem(self) -> str | None:
        """Why the schema that is there cannot be used; None if it can."""
