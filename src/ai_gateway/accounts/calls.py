"""Recorded calls from the ledger: newest first, page by page."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_gateway.accounts import ledger_statements as statements
from ai_gateway.accounts.ledger_rows import COLUMNS, DAY, HOUR
from ai_gateway.accounts.records import second_of
from ai_gateway.accounts.store.base import Row, Store, Value

_HOUR_MS = HOUR * 1000
LAST = (2**62, "")
"""The place behind every call."""
type Place = tuple[int, str]
"""The place of a call in order: its start in milliseconds, and its id."""


@dataclass(frozen=True, slots=True)
class CallFilter:
    """A filter of calls; None is any. Times are milliseconds: from `start` on, before `end`."""

    start: int = 0
    end: int = LAST[0]
    model: str | None = None
    provider: str | None = None
    status: int | None = None
    ending: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    request_id: str | None = None

    @property
    def needs_scan(self) -> bool:
        """Whether there is no index for the filter, so that rows have to be scanned."""
        if self.request_id is not None:
            return False
        of_some = self.ending is not None or self.status is not None
        return bool(self.model or self.provider or (of_some and (self.project_id or self.key_id)))


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call by the names of its columns. `details` has its attempts, repairs and dropped fields."""

    columns: Mapping[str, Value]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Its place in order."""
        return int(self.columns["at"] or 0), str(self.columns["id"])


async def find_call(store: Store, identifier: str) -> StoredCall | None:
    """The call with this id. Raises StoreError."""
    second = second_of(identifier)
    if second is None:
        return None
    rows = await store.fetch(statements.PLACE_OF_ID, second * 1000, (second + 1) * 1000, identifier)
    found = await _calls(store, rows)
    return found[0] if found else None


async def page_of_calls(store: Store, wanted: CallFilter, before: Place, limit: int) -> tuple[list[StoredCall], bool]:
    """The newest calls before a place, and whether there are more. Raises StoreError."""
    before = min(before, (wanted.end, ""))
    places: list[Row] = []
    async for start, end in _parts(store, wanted, before):
        places += await _places(store, wanted, start, end, limit + 1 - len(places))
        if len(places) > limit:
            break
    return await _calls(store, places[:limit]), len(places) > limit


async def _parts(store: Store, wanted: CallFilter, before: Place) -> AsyncIterator[tuple[int, Place]]:
    """The time ranges to search, newest first: a single one if there is an index for the filter.

    Otherwise matches may be rare, and a scan takes seconds: the sums show the hours that have matches.
    """
    if not wanted.needs_scan:
        yield wanted.start, before
        return
    ((newest,),) = await store.fetch(statements.NEWEST, wanted.start, before[0])
    if newest is None:
        return
    edge = int(newest) // _HOUR_MS * HOUR
    yield max(wanted.start, edge * 1000), before
    ((pruned_before,),) = await store.fetch(statements.PRUNED_BEFORE)
    oldest = max(wanted.start, int(pruned_before or 0)) // _HOUR_MS * HOUR
    async for day in _having(store, wanted, DAY, oldest // DAY * DAY, edge):
        async for hour in _having(store, wanted, HOUR, max(day, oldest), min(day + DAY, edge)):
            yield max(wanted.start, hour * 1000), ((hour + HOUR) * 1000, "")


async def _having(store: Store, wanted: CallFilter, width: int, start: int, end: int) -> AsyncIterator[int]:
    """The starts of hours or days that have matching calls, by their sums."""
    kinds = int(wanted.ending in {"failed", "broken"}), int(wanted.ending == "lost")
    of = wanted.model, wanted.provider, wanted.project_id, wanted.key_id
    for (found,) in await store.fetch(statements.HAVING_CALLS, width, start, end, *of, *kinds):
        yield int(found or 0)


async def _places(store: Store, wanted: CallFilter, start: int, before: Place, limit: int) -> Sequence[Row]:
    """The places of the newest matching calls in a time range."""
    values: list[Value] = [start, *before, limit]
    values += [wanted.model, wanted.provider, wanted.status, wanted.ending, wanted.project_id]
    if wanted.request_id is not None:
        return await store.fetch(statements.PLACES_OF_REQUEST, *values, wanted.key_id, wanted.request_id)
    if wanted.ending not in {None, "whole"}:
        return await store.fetch(statements.PLACES_OF_ENDING, *values, wanted.key_id)
    if wanted.status not in {None, 200}:
        return await store.fetch(statements.PLACES_OF_STATUS, *values, wanted.key_id)
    if wanted.key_id is not None:
        return await store.fetch(statements.PLACES_OF_KEY, *values, wanted.key_id)
    if wanted.project_id is not None:
        return await store.fetch(statements.PLACES_OF_PROJECT, *values)
    return await store.fetch(statements.PLACES, *values)


async def _calls(store: Store, places: Sequence[Row]) -> list[StoredCall]:
    found: list[StoredCall] = []
    for place in places:
        for row in await store.fetch(statements.RECORD, *place):  # none if it has been pruned meanwhile
            columns = dict(zip(COLUMNS, row, strict=True))
            details = columns.pop("details")
            found.append(StoredCall(columns, json.loads(str(details)) if details is not None else {}))
    return found
