"""Records as rows of the ledger, and the sums that are added for them by hour and day."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import add
from typing import Any

import orjson

from ai_gateway.accounts.latency import BOUNDS_MS
from ai_gateway.accounts.records import MAX_COST, MAX_TOKENS, AttemptRecord, Record
from ai_gateway.accounts.store.base import Row
from ai_gateway.contract.tokens import Tokens

HOUR, DAY = 3600, 86_400
WIDTHS = (HOUR, DAY)
"""The widths of sums, in seconds."""
TOKENS = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "input_image", "reasoning"),
    *("output_audio", "output_image"),
)
"""The classes of tokens, in the order of the columns."""
COLUMNS = (
    *("at", "id", "request_id", "ended_at", "first_byte_ms", "total_bucket", "input", "output", "cost", "first_bucket"),
    *(*TOKENS[2:], "details", "searches", "search_cost"),
    *("project_id", "key_id", "wire", "operation", "model", "stream", "provider", "upstream_model", "service_tier"),
    *("ending", "basis", "status", "code", "price"),
)
"""First the columns that differ from call to call, last those that many calls of a batch have in common."""
_HOUR_MS = HOUR * 1000
_TEXT_ONLY = Tokens()[2:]
# Values of the columns that have their default in nearly all records, and of `cost` and `first_bucket` before them.
_NOTHING_ELSE = (*_TEXT_ONLY[:-1], None, 0, 0)
_FREE_AND_WHOLE = (None, None, *_NOTHING_ELSE)
_NO_DETAILS = (), (), 0, (), ()
_AT, _TOTAL, _COST, _FIRST = map(COLUMNS.index, ("at", "total_bucket", "cost", "first_bucket"))
_SEARCHES, _SEARCH_COST = map(COLUMNS.index, ("searches", "search_cost"))
_TOKENS = tuple(map(COLUMNS.index, TOKENS))


class RecordGroup:
    """Records of one hour, by its start in seconds. `shared` has their common values, those of the last columns."""

    __slots__ = ("_columns", "hour", "rows", "shared", "summed_by")

    def __init__(self, hour: int, rows: Sequence[Row], shared: Sequence[Any]) -> None:
        self.hour, self.rows, self.shared = hour, rows, shared
        project_id, key_id, _, operation, model, _, provider, upstream_model, tier = shared[-14:-5]
        self.summed_by = project_id, key_id or "", model, upstream_model, provider, operation, tier or ""
        self._columns = list(zip(*rows, strict=True))

    def column(self, number: int) -> Sequence[Any]:
        """All values of a column."""
        own = self._columns
        return own[number] if number < len(own) else (self.shared[number - len(own)],) * len(self.rows)

    def total(self, number: int) -> int:
        """The sum of its values."""
        own = self._columns
        return sum(own[number]) if number < len(own) else self.shared[number - len(own)] * len(self.rows)


def group_records(records: Iterable[Record]) -> Sequence[RecordGroup]:
    """The records as rows of the ledger."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for record in records:
        # Unpacked and packed in one step: reading each value by its name takes ten times as long.
        # fmt: off
        (
            start, tokens, ended_at, first_ms, provider, upstream_model, tier, end, basis, status, code, cost, price,
            repairs, dropped, search_cost, _, attempts,
        ) = record
        (
            at, identifier, request_id, project_id, key_id, wire, operation, model, stream, _, _, _, _, _, _, _, number,
        ) = start
        (
            input_, output, cached, written, written_1h, audio_in, image_in, reasoning, audio_out, image_out, searches,
        ) = tokens
        # fmt: on
        total = first = None
        if end == "whole":  # see `latency`
            total = bisect_left(BOUNDS_MS, ended_at - at)
            if stream and first_ms is not None:
                first = bisect_left(BOUNDS_MS, first_ms)
        left_out: tuple[int | None, ...] = ()
        if (
            (cached or written or written_1h or audio_in or image_in or reasoning or audio_out or image_out or searches)
            or (attempts or repairs or dropped or search_cost or number)
            or (input_ + output > MAX_TOKENS or (cost is not None and cost > MAX_COST))
        ):
            row = _whole_row(record, total, first)
        elif cost is None and first is None:
            row, left_out = (at, identifier, request_id, ended_at, first_ms, total, input_, output), _FREE_AND_WHOLE
        else:
            row = (at, identifier, request_id, ended_at, first_ms, total, input_, output, cost, first)
            left_out = _NOTHING_ELSE
        # fmt: off
        of = (
            at // _HOUR_MS, left_out, project_id, key_id, wire, operation, model, stream, provider, upstream_model,
            tier, end, basis, status, code, price,
        )
        # fmt: on
        rows = found.get(of)
        if rows is None:
            found[of] = [row]
        else:
            rows.append(row)
    return [RecordGroup(hour * HOUR, rows, (*left_out, *shared)) for (hour, left_out, *shared), rows in found.items()]


def _whole_row(record: Record, total: int | None, first: int | None) -> Row:
    """All columns except those that are always shared."""
    start, tokens, cost = record.start, record.tokens, record.cost
    if sum(tokens) > MAX_TOKENS:
        tokens = Tokens(*[min(count, MAX_TOKENS) for count in tokens])
    read, made, *more, searches = tokens
    details = _details(record) if record.attempts or record.repairs or record.dropped or start.round else None
    return (
        *(start.at, start.id, start.request_id, record.ended_at, record.first_byte_ms, total, read, made),
        *(cost if cost is None else min(cost, MAX_COST), first, *more),
        *(details, searches, min(record.search_cost, MAX_COST)),
    )


def sums_of(groups: Iterable[RecordGroup]) -> Sequence[Row]:
    """The sums to add for each hour and day, always in the same order, so that concurrent writers cannot deadlock."""
    sums: dict[tuple[Any, ...], Sequence[int]] = {}
    for group in groups:
        counts = _counts(group)
        for width in WIDTHS:
            place = (width, group.hour // width * width, *group.summed_by)
            known = sums.get(place)
            sums[place] = counts if known is None else [*map(add, known, counts)]
    return [(*place, *counts) for place, counts in sorted(sums.items())]


def durations_of(groups: Iterable[RecordGroup]) -> Iterator[Row]:
    """Hour, grouping values, the two classes of durations, and their count: see `latency`."""
    for group in groups:
        classes = Counter(zip(group.column(_TOTAL), group.column(_FIRST), strict=True))
        for (total, first), count in classes.items():
            if total is not None:
                yield group.hour, *group.summed_by, total, first, count


def keys_used(groups: Iterable[RecordGroup]) -> Sequence[Row]:
    """Each key, and the start of its last call."""
    last: dict[str, int] = {}
    for group in groups:
        key_id = group.shared[-13]
        if key_id is not None:
            last[key_id] = max(last.get(key_id, 0), *group.column(_AT))
    return sorted(last.items())


def _counts(group: RecordGroup) -> list[int]:
    count, column = len(group.rows), group.column
    ending, basis = group.shared[-5:-3]
    costs = column(_COST)
    return [
        count,
        count if ending in {"failed", "broken"} else 0,
        count if ending == "lost" else 0,
        count if basis == "estimated" else 0,
        costs.count(None),
        *[group.total(number) for number in _TOKENS],
        group.total(_SEARCHES),
        count - column(_SEARCHES).count(0),
        group.total(_SEARCH_COST),
        sum(filter(None, costs)),
    ]


def _details(record: Record) -> str:
    """The values that are never summed or searched, without empty ones."""
    details: dict[str, object] = {}
    if record.attempts:
        details["attempts"] = [dict(_attempt(each)) for each in record.attempts]
    if record.repairs:
        details["repairs"] = record.repairs
    if record.dropped:
        details["dropped"] = record.dropped
    if record.start.round:
        details["round"] = record.start.round
        details["tools"] = record.tools
    return orjson.dumps(details).decode()


def _attempt(attempt: AttemptRecord) -> Iterator[tuple[str, object]]:
    for name in ("provider", "model", "started_at", "ended_at", "status", "code"):
        if (value := getattr(attempt, name)) is not None:
            yield name, value
    if attempt.tokens is not None:
        counts = zip(TOKENS, attempt.tokens[:-1], strict=True)
        yield "tokens", {name: min(count, MAX_TOKENS) for name, count in counts if count}
        if attempt.tokens.searches:
            yield "searches", min(attempt.tokens.searches, MAX_TOKENS)
    if attempt.cost is not None:
        yield "cost", min(attempt.cost, MAX_COST)
