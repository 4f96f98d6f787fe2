"""Records as rows of the ledger, and the sums of rows that are added to those of their hours and days."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import add, itemgetter
from typing import Any

import orjson

from ai_gateway.accounts.latency import classes_of
from ai_gateway.accounts.records import MOST_COST, MOST_TOKENS, AttemptRecord, Record
from ai_gateway.accounts.store.base import Row
from ai_gateway.contract.call import Tokens

HOUR, DAY = 3600, 86_400
WIDTHS = (HOUR, DAY)
"""Of how many seconds there are sums."""
TOKENS = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "input_image", "reasoning"),
    *("output_audio", "output_image"),
)
"""The classes of tokens, in the order of the columns."""
COLUMNS = (
    *("at", "id", "request_id", "project_id", "key_id", "wire", "operation", "model", "stream", "ended_at"),
    *("first_byte_ms", "provider", "upstream_model", "service_tier", "ending", "basis", "status", "code", "cost"),
    *("price", *TOKENS, "details", "searches", "search_cost", "total_bucket", "first_bucket"),
)
_HOUR_MS = HOUR * 1000
_summed_by = itemgetter(
    *map(COLUMNS.index, ("project_id", "key_id", "model", "upstream_model", "provider", "operation", "service_tier"))
)
_AT, _KEY, _ENDING, _BASIS, _COST = map(COLUMNS.index, ("at", "key_id", "ending", "basis", "cost"))
_SEARCHES, _SEARCH_COST, _TOTAL, _FIRST = map(
    COLUMNS.index, ("searches", "search_cost", "total_bucket", "first_bucket")
)
_FIRST_TOKENS = COLUMNS.index(TOKENS[0])

_at, _classes = itemgetter(_AT), itemgetter(_TOTAL, _FIRST)

type _Row = Sequence[Any]
type Hour = tuple[int, tuple[str, ...]]


def row_of(record: Record) -> Row:
    """The values of its columns."""
    # Taken apart and put together at once: to get each value by its name would take as long as ten of these.
    # fmt: off
    (
        start, tokens, ended_at, first_ms, provider, upstream_model, tier, end, basis, status, code, cost, price,
        repairs, dropped, search_cost, _, attempts,
    ) = record
    # fmt: on
    at, identifier, request_id, project_id, key_id, wire, operation, model, stream = start[:9]
    if sum(tokens) > MOST_TOKENS:
        tokens = Tokens(*[min(count, MOST_TOKENS) for count in tokens])
    read, made, cache_read, cache_write, long, audio, image, reasoning, made_audio, made_image, searches = tokens
    details = _details(record) if attempts or repairs or dropped or start.round else None
    total, first = classes_of(end, ended_at - at, first_ms if stream else None)
    cost = cost if cost is None or cost < MOST_COST else MOST_COST
    search_cost = search_cost if search_cost < MOST_COST else MOST_COST
    # fmt: off - in the order of the columns
    return (
        at,
        identifier,
        request_id,
        project_id,
        key_id,
        wire,
        operation,
        model,
        stream,
        ended_at,
        first_ms,
        provider,
        upstream_model,
        tier,
        end,
        basis,
        status,
        code,
        cost,
        price,
        read,
        made,
        cache_read,
        cache_write,
        long,
        audio,
        image,
        reasoning,
        made_audio,
        made_image,
        details,
        searches,
        search_cost,
        total,
        first,
    )
    # fmt: on


def by_hour(rows: Sequence[_Row]) -> Mapping[Hour, Sequence[_Row]]:
    """Those that are summed up together: when their hour begins in seconds, and what they are summed up by."""
    found: defaultdict[tuple[Any, ...], list[_Row]] = defaultdict(list)
    if not rows:
        return {}
    columns = list(zip(*rows, strict=True))  # by columns, since that takes no step of the interpreter for each value
    hours = [at // _HOUR_MS for at in columns[_AT]]
    for place, row in zip(zip(hours, *_summed_by(columns), strict=True), rows, strict=True):
        found[place].append(row)
    return {
        (hour * HOUR, tuple([value or "" for value in values])): members for (hour, *values), members in found.items()
    }


def sums_of(hours: Mapping[Hour, Sequence[_Row]]) -> Sequence[Row]:
    """What to add to the sums of each hour and day. In one order for all who add, or they would wait for each other."""
    sums: dict[tuple[Any, ...], Sequence[int]] = {}
    for (start, values), members in hours.items():
        counts = _counts(members)
        for width in WIDTHS:
            place = (width, start // width * width, *values)
            known = sums.get(place)
            sums[place] = counts if known is None else [*map(add, known, counts)]
    return [(*place, *counts) for place, counts in sorted(sums.items())]


def durations_of(hours: Mapping[Hour, Sequence[_Row]]) -> Iterator[Row]:
    """Each hour, what it is summed up by, two classes of durations, and how often they are there: see `latency`."""
    for (start, values), members in hours.items():
        for (total, first), count in Counter(map(_classes, members)).items():
            if total is not None:
                yield start, *values, total, first, count


def keys_used(hours: Mapping[Hour, Sequence[_Row]]) -> Sequence[Row]:
    """Each key, and when its last call began."""
    last: dict[str, int] = {}
    for members in hours.values():
        key, at = members[0][_KEY], max(map(_at, members))
        if key is not None and last.get(key, at) <= at:
            last[key] = at
    return sorted(last.items())


def _counts(rows: Sequence[_Row]) -> list[int]:
    columns = list(zip(*rows, strict=True))
    endings, costs = columns[_ENDING], columns[_COST]
    return [
        len(rows),
        endings.count("failed") + endings.count("broken"),
        endings.count("lost"),
        columns[_BASIS].count("estimated"),
        costs.count(None),
        *map(sum, columns[_FIRST_TOKENS : _FIRST_TOKENS + len(TOKENS)]),
        sum(searches := columns[_SEARCHES]),
        len(searches) - searches.count(0),
        sum(columns[_SEARCH_COST]),
        sum(filter(None, costs)),
    ]


def _details(record: Record) -> str:
    """What is never summed up, nor looked for: without what is nothing."""
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
        yield "tokens", {name: min(count, MOST_TOKENS) for name, count in counts if count}
        if attempt.tokens.searches:
            yield "searches", min(attempt.tokens.searches, MOST_TOKENS)
    if attempt.cost is not None:
        yield "cost", min(attempt.cost, MOST_COST)
