"""Memories: texts that models save for a key and search later, bounded, and separate for each key."""

import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ai_gateway.accounts.directory import new_id
from ai_gateway.accounts.store.base import Row, Session, Store

_MAX_WORDS = 16
_MAX_WORD_LENGTH = 100
_ADD = """INSERT INTO memories (id, project_id, key_id, user_id, created_at, updated_at, size, content, folded)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""
_REPLACE = """UPDATE memories SET updated_at = $5, size = $6, content = $7, folded = $8
    WHERE id = $1 AND key_id = $2 AND project_id = $3 AND user_id = $4"""
_ONE = """SELECT id, project_id, key_id, user_id, created_at, updated_at, content FROM memories
    WHERE id = $1 AND key_id = $2 AND project_id = $3 AND user_id = $4"""
_NEWEST = """SELECT id, project_id, key_id, user_id, created_at, updated_at, content FROM memories
    WHERE key_id = $1 AND project_id = $2 AND user_id = $3 ORDER BY updated_at DESC, id DESC LIMIT $4"""
_DELETE = "DELETE FROM memories WHERE id = $1 AND key_id = $2 AND project_id = $3 AND user_id = $4"
# For all end users of a key together, since callers can invent users.
_TAKEN = "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM memories WHERE key_id = $1 AND project_id = $2"
_PAGE = """SELECT id, project_id, key_id, user_id, created_at, updated_at, content FROM memories
    WHERE ($1 = '' OR key_id = $1) AND ($2 = '' OR project_id = $2) AND ($3 = '' OR user_id = $3) AND id > $4
    ORDER BY id LIMIT $5"""
_DELETE_ALL = """DELETE FROM memories
    WHERE ($1 = '' OR key_id = $1) AND ($2 = '' OR project_id = $2) AND ($3 = '' OR user_id = $3)"""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of memories. `key_id` is empty for callers without a key, `user_id` for no end user."""

    key_id: str
    project_id: str
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The owners that an administrator selects. Empty is any."""

    key_id: str = ""
    project_id: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory. Times are milliseconds since the epoch."""

    id: str
    project_id: str
    key_id: str
    user_id: str
    created_at: int
    updated_at: int
    content: str


@dataclass(frozen=True, slots=True)
class Quota:
    """How many memories a key may have, and how many bytes each and all of them."""

    entries: int = 1_000
    size: int = 2**20
    entry_size: int = 8 * 2**10


class QuotaReached(ValueError):
    """The quota is used up. The message is for the model."""


class Memories:
    """The memories in a store. Every method raises StoreError."""

    def __init__(self, store: Store, quota: Quota) -> None:
        self._store = store
        self._quota = quota

    async def save(self, owner: Owner, content: str, replaced: str | None = None) -> Memory | None:
        """Save a text, as a new memory or replacing another. Returns None if there is none to replace.

        Raises QuotaReached.
        """
        content = _storable(content)
        size = len(content.encode())
        if size > self._quota.entry_size:
            raise QuotaReached(f"It is too long: a memory has at most {self._quota.entry_size} bytes, this is {size}.")
        now = time.time_ns() // 1_000_000
        async with self._store.transaction() as session:
            former = await _one(session, owner, replaced) if replaced is not None else None
            if replaced is not None and former is None:
                return None
            await self._check_quota(session, owner, size, former)
            if former is not None:
                await session.execute(_REPLACE, former.id, *_values(owner), now, size, content, _folded(content))
                return Memory(former.id, *_place(owner), former.created_at, now, content)
            identifier = new_id("mem")
            await session.execute(_ADD, identifier, *_place(owner), now, now, size, content, _folded(content))
        return Memory(identifier, *_place(owner), now, now, content)

    async def _check_quota(self, session: Session, owner: Owner, size: int, former: Memory | None) -> None:
        ((count, taken),) = await session.fetch(_TAKEN, owner.key_id, owner.project_id)
        others = int(count or 0) - (former is not None)
        in_all = int(taken or 0) - (len(former.content.encode()) if former is not None else 0) + size
        if others >= self._quota.entries:
            raise QuotaReached(f"There are {others} memories, which is as many as may be: delete some first.")
        if in_all > self._quota.size:
            raise QuotaReached(f"All memories together may have {self._quota.size} bytes: delete some first.")

    async def search(self, owner: Owner, query: str, limit: int) -> list[Memory]:
        """The memories with a word of the query, most relevant first; the newest ones if it has no word."""
        words = _words(query)
        if not words:
            return await self.newest(owner, limit)
        found = [(_memory(row), int(row[7] or 0)) for row in await self._store.find_memories(*_values(owner), words)]
        found.sort(key=lambda each: (-_contained(each[0], words), -each[1], -each[0].updated_at, each[0].id))
        return [memory for memory, _ in found[:limit]]

    async def newest(self, owner: Owner, limit: int) -> list[Memory]:
        """The newest memories."""
        return [_memory(row) for row in await self._store.fetch(_NEWEST, *_values(owner), limit)]

    async def delete(self, owner: Owner, identifier: str) -> bool:
        """Delete one memory. Returns whether it existed."""
        return await self._store.execute(_DELETE, _storable(identifier), *_values(owner)) > 0


async def page_of_memories(store: Store, subject: Subject, after: str, limit: int) -> tuple[list[Memory], bool]:
    """Memories of a subject in order of creation, after an id, and whether there are more. Raises StoreError."""
    rows = await store.fetch(_PAGE, subject.key_id, subject.project_id, subject.user_id, after, limit + 1)
    return [_memory(row) for row in rows[:limit]], 0 < limit < len(rows)


async def delete_memories(session: Session, subject: Subject) -> int:
    """Delete all memories of a subject. Returns how many there were. Raises StoreError."""
    return await session.execute(_DELETE_ALL, subject.key_id, subject.project_id, subject.user_id)


async def _one(session: Session, owner: Owner, identifier: str) -> Memory | None:
    rows = await session.fetch(_ONE, _storable(identifier), *_values(owner))
    return _memory(rows[0]) if rows else None


def _values(owner: Owner) -> tuple[str, str, str]:
    return owner.key_id, owner.project_id, owner.user_id


def _place(owner: Owner) -> tuple[str, str, str]:
    return owner.project_id, owner.key_id, owner.user_id


def _memory(row: Row) -> Memory:
    identifier, project_id, key_id, user_id, created_at, updated_at, content = row[:7]
    texts = cast("tuple[str, str, str, str]", (identifier, project_id, key_id, user_id))
    return Memory(*texts, int(created_at or 0), int(updated_at or 0), str(content))


def _storable(text: str) -> str:
    """The text without NUL and lone surrogates, which databases refuse and JSON may have."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _words(query: str) -> Sequence[str]:
    words = dict.fromkeys(word[:_MAX_WORD_LENGTH] for word in _folded(_storable(query)).split())
    return list(words)[:_MAX_WORDS]


def _contained(memory: Memory, words: Sequence[str]) -> int:
    folded = _folded(memory.content)
    return sum(word in folded for word in words)
