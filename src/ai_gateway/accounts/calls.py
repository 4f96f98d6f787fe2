"""Single calls, as the ledger has them: the newest first, page by page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_gateway.accounts import ledger_statements as statements
from ai_gateway.accounts.ledger_rows import COLUMNS
from ai_gateway.accounts.records import second_of
from ai_gateway.accounts.store.base import Row, Store, Value

LAST = (2**62, "")
"""The place behind every call."""
type Place = tuple[int, str]
"""Where a call stands in time: when it began, in milliseconds, and its id."""


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls; None is any. Times are milliseconds: from `start` on, before `end`."""

    start: int = 0
    end: int = LAST[0]
    model: str | None = None
    provider: str | None = None
    status: int | None = None
    ending: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call by the names of its columns. `details` has what is told of its attempts, repairs and dropped fields."""

    columns: Mapping[str, Value]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where it stands."""
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
    at, identifier = min(before, (wanted.end, ""))
    values: list[Value] = [wanted.start, at, identifier, limit + 1]
    values_of: list[Value] = [wanted.model, wanted.provider, wanted.status, wanted.ending, wanted.project_id]
    if wanted.request_id is not None:
        rows = await store.fetch(statements.PLACES_OF_REQUEST, *values, *values_of, wanted.key_id, wanted.request_id)
    elif wanted.key_id is not None:
        rows = await store.fetch(statements.PLACES_OF_KEY, *values, *values_of, wanted.key_id)
    elif wanted.project_id is not None:
        rows = await store.fetch(statements.PLACES_OF_PROJECT, *values, *values_of)
    else:
        rows = await store.fetch(statements.PLACES, *values, *values_of)
    return await _calls(store, rows[:limit]), len(rows) > limit


async def _calls(store: Store, places: Sequence[Row]) -> list[StoredCall]:
    found: list[StoredCall] = []
    for place in places:
        for row in await store.fetch(statements.RECORD, *place):  # none if it has been pruned meanwhile
            columns = dict(zip(COLUMNS, row, strict=True))
            details = columns.pop("details")
            found.append(StoredCall(columns, json.loads(str(details)) if details is not None else {}))
    return found
