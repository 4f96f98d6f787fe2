"""Responses that are kept for their callers, so that a conversation can go on from one and be read again.

Each belongs to the key that made it: nobody else finds it. It is kept for a number of days, and the oldest go first
when all of them together are too large. One that runs in the background has a lease, which whoever runs it renews: if
it runs out, the process is gone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ai_gateway.accounts.store.base import Store, Value

LEASE_S: Final = 15
_DAY_S = 86_400
_TIDY_S = 60.0
_LONGEST_CHAIN = 2_000
_PUT = """INSERT INTO responses (id, owner, at, until, previous, status, lease, size, input, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""
_GET = """SELECT id, status, lease, previous, input, body FROM responses
    WHERE id = $1 AND owner = $2 AND until > $3"""
_CHAIN = """WITH RECURSIVE chain (id, previous, depth) AS (
        SELECT id, previous, 0 FROM responses WHERE id = $1 AND owner = $2 AND until > $3
        UNION ALL
        SELECT earlier.id, earlier.previous, chain.depth + 1 FROM responses earlier JOIN chain
            ON earlier.id = chain.previous WHERE earlier.owner = $2 AND chain.depth < $4
    ) SELECT kept.id, kept.status, kept.lease, kept.previous, kept.input, kept.body
    FROM chain JOIN responses kept ON kept.id = chain.id ORDER BY chain.depth DESC"""
_DELETE = "DELETE FROM responses WHERE id = $1 AND owner = $2"
# What is over stays as it ended, whoever comes later.
_END = """UPDATE responses SET status = $2, lease = NULL, size = $3, body = $4
    WHERE id = $1 AND status IN ('queued', 'in_progress')"""
_RENEW = """UPDATE responses SET lease = $2, status = 'in_progress'
    WHERE id = $1 AND status IN ('queued', 'in_progress')"""
_EXPIRE = "DELETE FROM responses WHERE until <= $1"
_TOTAL = "SELECT COALESCE(SUM(size), 0), COUNT(*) FROM responses"
_DROP_OLDEST = "DELETE FROM responses WHERE id IN (SELECT id FROM responses ORDER BY at, id LIMIT $1)"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it is stored. `input` has its own items and `body` all of it, both as JSON."""

    id: str
    status: str
    lease: int | None
    previous: str | None
    input: str
    body: str

    @property
    def runs(self) -> bool:
        """Whether it is still being made, as far as is known."""
        return self.status in {"queued", "in_progress"}


class StoredResponses:
    """The responses of a store, which is asked for each time. Every method raises StoreError."""

    def __init__(self, store: Callable[[], Store], keep_days: int, max_size: int) -> None:
        self._store = store
        self._keep_s = keep_days * _DAY_S
        self._max_size = max_size
        self._tidied = 0.0
        self._added = 0

    async def put(  # noqa: PLR0913 - what is kept of a response
        self, response_id: str, owner: str, *, previous: str | None, status: str, items: str, body: str
    ) -> None:
        """Keep a new one. One that runs has a lease from now on."""
        now, size = int(time.time()), len(items) + len(body)
        lease = now + LEASE_S if status in {"queued", "in_progress"} else None
        values: tuple[Value, ...] = (response_id, owner, now, now + self._keep_s, previous, status, lease, size, items)
        await self._store().execute(_PUT, *values, body)
        self._added += size
        if self._added > self._max_size // 16 or time.monotonic() - self._tidied > _TIDY_S:
            await self._tidy(now)

    async def get(self, response_id: str, owner: str) -> StoredResponse | None:
        """The owner's response with this id."""
        rows = await self._store().fetch(_GET, response_id, owner, int(time.time()))
        return _read(rows[0]) if rows else None

    async def chain(self, response_id: str, owner: str) -> list[StoredResponse]:
        """This response behind all those that led to it; empty if one of them is not there."""
        now = int(time.time())
        rows = await self._store().fetch(_CHAIN, response_id, owner, now, _LONGEST_CHAIN)
        found = [_read(row) for row in rows]
        return found if found and found[0].previous is None else []

    async def delete(self, response_id: str, owner: str) -> bool:
        """Whether there was one."""
        return await self._store().execute(_DELETE, response_id, owner) > 0

    async def end(self, response_id: str, status: str, body: str) -> bool:
        """What became of one that ran. Whether that was open until now."""
        return await self._store().execute(_END, response_id, status, len(body), body) > 0

    async def renew(self, response_id: str) -> bool:
        """Go on with one that runs. Whether it may."""
        return await self._store().execute(_RENEW, response_id, int(time.time()) + LEASE_S) > 0

    async def _tidy(self, now: int) -> None:
        """Delete what has been kept long enough, and the oldest of too much."""
        self._tidied, self._added = time.monotonic(), 0
        store = self._store()
        await store.execute(_EXPIRE, now)
        while True:
            ((total, count),) = await store.fetch(_TOTAL)
            over = int(total or 0) - self._max_size
            if over <= 0 or not await store.execute(_DROP_OLDEST, max(1, int(count or 0) * over // int(total or 1))):
                return


def _read(row: Sequence[Value]) -> StoredResponse:
    identifier, status, lease, previous, items, body = row
    return StoredResponse(
        str(identifier),
        str(status),
        int(lease) if lease is not None else None,
        str(previous) if previous is not None else None,
        str(items),
        str(body),
    )
