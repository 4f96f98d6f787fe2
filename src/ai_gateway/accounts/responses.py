"""Stored responses, so that conversations can be continued and read again.

Each belongs to the key that made it, and is only visible to it. It is stored for a number of days; if all together are
too large, the oldest ones of the keys with the most are deleted first. A background response has a lease, which its
maker renews. If it expires, the process is gone, or the store was away: whoever notices gives the maker a while to
renew it, which is a negative lease, and only ends the response if that passes too. A cancelled one is ended by its
maker, which has its content so far.
Events of streamed ones are stored with it.
"""

import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ai_gateway.accounts.store.base import Store, Value

LEASE_S: Final = 15
LAST_S: Final = 5
"""The while in which the maker of a response renews an expired lease, once it can."""
CANCELLING: Final = "cancelling"
"""The status between the request to cancel and the end by the maker. Never visible to clients."""
_DAY_S = 86_400
_TIDY_S = 60.0
_MAX_CHAIN = 2_000
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
_CHAIN_SIZE = """WITH RECURSIVE chain (id, previous, size, depth) AS (
        SELECT id, previous, size, 0 FROM responses WHERE id = $1 AND owner = $2 AND until > $3
        UNION ALL
        SELECT earlier.id, earlier.previous, earlier.size, chain.depth + 1 FROM responses earlier JOIN chain
            ON earlier.id = chain.previous WHERE earlier.owner = $2 AND chain.depth < $4
    ) SELECT COALESCE(SUM(size), 0) FROM chain"""
_DELETE = "DELETE FROM responses WHERE id = $1 AND owner = $2"
# An ended response is never changed.
_END = """UPDATE responses SET status = $2, lease = NULL, body = $4, size = LENGTH(input) + $3
        + COALESCE((SELECT SUM(LENGTH(events)) FROM response_events WHERE response = $1), 0)
    WHERE id = $1 AND status IN ('queued', 'in_progress', 'cancelling')"""
_DOUBT = """UPDATE responses SET lease = $3
    WHERE id = $1 AND lease = $2 AND status IN ('queued', 'in_progress', 'cancelling')"""
_CANCEL = """UPDATE responses SET status = 'cancelling'
    WHERE id = $1 AND owner = $2 AND status IN ('queued', 'in_progress')"""
_RENEW = """UPDATE responses SET lease = $2, status = 'in_progress'
    WHERE id = $1 AND status IN ('queued', 'in_progress')"""
_STATE = """SELECT status, lease, first FROM responses LEFT JOIN response_events ON response = id AND first = 0
    WHERE id = $1 AND owner = $2 AND until > $3"""
_ADD_EVENTS = """INSERT INTO response_events (response, first, next, final, events)
    SELECT $1, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), $5 FROM responses
    WHERE id = $1 AND (status IN ('queued', 'in_progress') OR (status = 'cancelling' AND CAST($4 AS BIGINT) = 1))"""
# Includes the final piece after its last event, so that a reader recognises the end.
_EVENTS = """SELECT first, next, final, events FROM response_events
    WHERE response = $1 AND (next > $2 OR final = 1) ORDER BY first LIMIT 1"""
_EXPIRE = "DELETE FROM responses WHERE until <= $1"
_TOTALS = "SELECT SUM(size) FROM responses GROUP BY owner"
# The newest of each owner stay, up to so many bytes.
_DROP_OLDEST = """DELETE FROM responses WHERE id IN (SELECT id FROM
    (SELECT id, SUM(size) OVER (PARTITION BY owner ORDER BY at DESC, id DESC) AS newer FROM responses) AS summed
    WHERE newer > $1)"""


def is_running(status: str) -> bool:
    """Whether a response of this status is still being made, as far as known."""
    return status in {"queued", "in_progress", CANCELLING}


class EventPiece(NamedTuple):
    """Framed events of a response, from number `first` to the one before `next`.

    If `final`, the last of them ends the response.
    """

    first: int
    next: int
    data: bytes
    final: bool = False


class RunState(NamedTuple):
    """The state of a response without its content. `has_events`: its events are stored."""

    status: str
    lease: int | None
    has_events: bool

    @property
    def runs(self) -> bool:
        """Whether it is still being made, as far as is known."""
        return is_running(self.status)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A stored response. `input` has its own input items and `body` the response, both as JSON."""

    id: str
    status: str
    lease: int | None
    previous: str | None
    input: str
    body: str

    @property
    def runs(self) -> bool:
        """Whether it is still being made, as far as is known."""
        return is_running(self.status)


class StoredResponses:
    """The responses of a store, not cached. Every method raises StoreError."""

    def __init__(self, store: Callable[[], Store], keep_days: int, max_size: int) -> None:
        self._store = store
        self._keep_s = keep_days * _DAY_S
        self._max_size = max_size
        self._tidied = 0.0
        self._added = 0

    async def put(  # noqa: PLR0913 - what is kept of a response
        self, response_id: str, owner: str, *, previous: str | None, status: str, items: str, body: str
    ) -> None:
        """Store a new response. A running one gets a lease."""
        now, size = int(time.time()), len(items) + len(body)
        lease = now + LEASE_S if is_running(status) else None
        at, until = time.time_ns() // 1_000_000, now + self._keep_s  # in milliseconds, to order them
        values: tuple[Value, ...] = (response_id, owner, at, until, previous, status, lease, size, items)
        await self._store().execute(_PUT, *values, body)
        self._added += size
        if self._added > self._max_size // 16 or time.monotonic() - self._tidied > _TIDY_S:
            await self._tidy(now)

    async def get(self, response_id: str, owner: str) -> StoredResponse | None:
        """The owner's response with this id."""
        rows = await self._store().fetch(_GET, response_id, owner, int(time.time()))
        return _read(rows[0]) if rows else None

    async def chain_size(self, response_id: str, owner: str) -> int:
        """The approximate bytes of this response and its predecessors."""
        rows = await self._store().fetch(_CHAIN_SIZE, response_id, owner, int(time.time()), _MAX_CHAIN)
        return int(rows[0][0] or 0)

    async def chain(self, response_id: str, owner: str) -> list[StoredResponse]:
        """This response after its predecessors, up to the first missing one."""
        now = int(time.time())
        rows = await self._store().fetch(_CHAIN, response_id, owner, now, _MAX_CHAIN)
        return [_read(row) for row in rows]

    async def delete(self, response_id: str, owner: str) -> bool:
        """Delete a response. Returns whether it existed."""
        return await self._store().execute(_DELETE, response_id, owner) > 0

    async def end(
        self, response_id: str, status: str, body: str, last: EventPiece | None = None, lease: int | None = None
    ) -> bool:
        """Store the end of a running response, and its last events. Returns whether it had not ended before.

        With an expired `lease`, it is only ended if its maker has not renewed that.
        """
        if last is None and lease is None:
            return await self._store().execute(_END, response_id, status, len(body), body) > 0
        async with self._store().transaction() as session:
            if lease is not None and not await session.execute(_DOUBT, response_id, lease, lease):
                return False
            if last is not None and not await session.execute(_ADD_EVENTS, *_row(response_id, last)):
                return False
            return await session.execute(_END, response_id, status, len(body), body) > 0

    async def cancel(self, response_id: str, owner: str) -> bool:
        """Request the cancellation of a running response. Returns whether it was running."""
        return await self._store().execute(_CANCEL, response_id, owner) > 0

    async def add_events(self, response_id: str, piece: EventPiece) -> bool:
        """Store further events of a running response. Returns whether it may continue."""
        return await self._store().execute(_ADD_EVENTS, *_row(response_id, piece)) > 0

    async def events(self, response_id: str, since: int) -> EventPiece | None:
        """A stored piece of a response's events, from this number on; or its last piece."""
        rows = await self._store().fetch(_EVENTS, response_id, since)
        if not rows:
            return None
        first, following, final, events = rows[0]
        return EventPiece(int(first or 0), int(following or 0), zlib.decompress(b64decode(str(events))), final == 1)

    async def state(self, response_id: str, owner: str) -> RunState | None:
        """The state of the owner's response with this id."""
        rows = await self._store().fetch(_STATE, response_id, owner, int(time.time()))
        if not rows:
            return None
        status, lease, first = rows[0]
        return RunState(str(status), int(lease) if lease is not None else None, first is not None)

    async def doubt(self, response_id: str, lease: int) -> None:
        """Give the maker a while to renew this lease, which has expired."""
        await self._store().execute(_DOUBT, response_id, lease, -(int(time.time()) + LAST_S))

    async def renew(self, response_id: str) -> bool:
        """Renew the lease of a running response. Returns whether it may continue."""
        return await self._store().execute(_RENEW, response_id, int(time.time()) + LEASE_S) > 0

    async def _tidy(self, now: int) -> None:
        """Delete expired responses and, above the size limit, the oldest ones of the owners with the most."""
        self._tidied, self._added = time.monotonic(), 0
        store = self._store()
        await store.execute(_EXPIRE, now)
        held = [int(total or 0) for (total,) in await store.fetch(_TOTALS)]
        if sum(held) > self._max_size:
            await store.execute(_DROP_OLDEST, _share(held, self._max_size))


def _share(held: Sequence[int], most: int) -> int:
    """The most that an owner may keep so that all keep no more than this: owners of less lose nothing to others."""
    for owners, each in zip(range(len(held), 0, -1), sorted(held), strict=True):
        if each * owners >= most:
            return most // owners
        most -= each
    return most


def _row(response_id: str, piece: EventPiece) -> tuple[Value, ...]:
    packed = b64encode(zlib.compress(piece.data, 1)).decode()  # consecutive events are nearly equal
    return response_id, piece.first, piece.next, int(piece.final), packed


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
