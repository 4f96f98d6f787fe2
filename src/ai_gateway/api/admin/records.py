"""Recorded requests, and their sums with costs: as JSON, or as CSV for spreadsheets."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast, override

import orjson

from ai_gateway.accounts.calls import LAST, CallFilter, Place, StoredCall, find_call, page_of_calls
from ai_gateway.accounts.latency import Latency, quantile_ms
from ai_gateway.accounts.ledger_rows import TOKENS
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.api.admin.base import store_unavailable
from ai_gateway.api.admin.buckets import cursor, decimal, page_of, part_of_time, place_of, usd
from ai_gateway.api.admin.usage import Filters, Summaries
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Content, Item
from ai_gateway.contract.tokens import Tokens
from ai_gateway.errors import InvalidRequest, NotFound
from ai_gateway.observability.printable import cell_text
from gateway_contract.openai_admin import models

type _Table = Content[Literal["text/csv"]]
_MEDIA: Literal["text/csv"] = "text/csv"
_REFUSED = re.compile(r"q=0(?:\.0*)?")
_CALL_COLUMNS = (
    *("id", "request_id", "started_at", "ended_at", "first_byte_ms", "project_id", "api_key_id", "wire", "operation"),
    *("model", "stream", "provider", "upstream_model", "service_tier", "end", "basis", "status", "code"),
    *(f"{name}_tokens" for name in TOKENS),
    *("web_searches", "cost_usd", "price", "attempts", "repairs", "dropped_parameters"),
)
_SUM_COLUMNS = (
    *("num_requests", "num_errors", "num_lost", "num_estimated", "num_unpriced"),
    *(f"{name}_tokens" for name in TOKENS),
    "web_searches",
    "cost_usd",
)
_QUANTILES = ("total_ms_p50", "total_ms_p95", "first_byte_ms_p50", "first_byte_ms_p95")


class Records(Summaries):
    @override
    async def list_recorded_requests(
        self, call: Call, query: models.ListRecordedRequestsQuery
    ) -> Item[models.RecordedRequestList] | _Table:
        calls, next_page = await self._calls(query)
        if _wants_csv(call):
            return _table(_CALL_COLUMNS, map(_row, calls))
        data = [shown_call(each) for each in calls]
        more = next_page is not None
        raw = orjson.dumps({"object": "list", "data": data, "has_more": more, "next_page": next_page})
        return Item(models.RecordedRequestList.model_validate_json(raw), raw)

    @override
    async def list_recorded_requests_as_csv(self, call: Call, query: models.ListRecordedRequestsAsCsvQuery) -> _Table:
        calls, _ = await self._calls(query)
        return _table(_CALL_COLUMNS, map(_row, calls))

    @override
    async def retrieve_recorded_request(self, call: Call, record_id: str) -> Item[models.RecordedRequest]:
        try:
            found = await find_call(self.directory.store, record_id)
        except StoreError as error:
            raise store_unavailable(error) from error
        if found is None:
            raise NotFound(f"No request found with id '{record_id}': it may have been too long ago.")
        raw = orjson.dumps(shown_call(found))
        return Item(models.RecordedRequest.model_validate_json(raw), raw)

    @override
    async def summarize_recorded_requests(
        self, call: Call, query: models.SummarizeRecordedRequestsQuery
    ) -> Item[models.RecordedUsage] | _Table:
        if _wants_csv(call):
            return await self._sums_as_csv(query)
        part = part_of_time(query.start_time, query.end_time, query.bucket_width, query.limit, query.page)
        by = list(dict.fromkeys(query.group_by or ()))
        found, part = await self.sums(part, by, _filters(query))
        took = await self.latencies(part, by, _filters(query)) if query.latency else [{} for _ in found]
        results = [
            [
                {
                    "object": "gateway.usage",
                    **dict(zip(by, values, strict=True)),
                    "num_requests": each.requests,
                    "num_errors": each.errors,
                    "num_lost": each.lost,
                    "num_estimated": each.estimated,
                    "num_unpriced": each.unpriced,
                    "tokens": dict(zip(TOKENS, _counts(each.tokens), strict=True)),
                    "web_searches": each.tokens.searches,
                    "cost_usd": usd(each.cost),
                    "search_cost_usd": usd(each.search_cost),
                    **(_quantiles(times.get(values)) if query.latency else {}),
                }
                for values, each in grouped.items()
            ]
            for (_, grouped), times in zip(found, took, strict=True)
        ]
        raw = page_of([bucket for bucket, _ in found], results, part)
        more = part.next_page is not None
        # Parsing it into models would take as long as writing it.
        page = models.RecordedUsage.model_construct(object="page", data=[], has_more=more, next_page=part.next_page)
        return Item(page, raw)

    @override
    async def summarize_recorded_requests_as_csv(
        self, call: Call, query: models.SummarizeRecordedRequestsAsCsvQuery
    ) -> _Table:
        return await self._sums_as_csv(query)

    async def _calls(
        self, query: models.ListRecordedRequestsQuery | models.ListRecordedRequestsAsCsvQuery
    ) -> tuple[list[StoredCall], str | None]:
        """A page, and the cursor of the next one."""
        wanted = CallFilter(
            (query.start_time or 0) * 1000,
            LAST[0] if query.end_time is None else query.end_time * 1000,
            query.model,
            query.provider,
            query.status,
            query.end,
            query.project_id,
            query.api_key_id,
            query.request_id,
        )
        before = _place(query.page) if query.page else LAST
        try:
            calls, more = await page_of_calls(self.directory.store, wanted, before, query.limit)
        except StoreError as error:
            raise store_unavailable(error) from error
        after = calls[-1].place if calls else before
        return calls, cursor(*after) if more and calls else None

    async def _sums_as_csv(
        self, query: models.SummarizeRecordedRequestsQuery | models.SummarizeRecordedRequestsAsCsvQuery
    ) -> _Table:
        part = part_of_time(query.start_time, query.end_time, query.bucket_width, query.limit, query.page)
        by = list(dict.fromkeys(query.group_by or ()))
        found, part = await self.sums(part, by, _filters(query), most=None)  # a table has no cursor
        took = await self.latencies(part, by, _filters(query)) if query.latency else [{} for _ in found]
        rows = (
            (
                *(_time(bucket.start * 1000), _time(bucket.end * 1000), *values, each.requests, each.errors, each.lost),
                *(each.estimated, each.unpriced, *_counts(each.tokens), each.tokens.searches, decimal(each.cost)),
                *(_quantiles(times.get(values)).values() if query.latency else ()),
            )
            for (bucket, grouped), times in zip(found, took, strict=True)
            for values, each in grouped.items()
        )
        return _table(("start", "end", *by, *_SUM_COLUMNS, *(_QUANTILES if query.latency else ())), rows)


def _filters(query: models.SummarizeRecordedRequestsQuery | models.SummarizeRecordedRequestsAsCsvQuery) -> Filters:
    return Filters(query.project_ids, keys=query.api_key_ids, models=query.models or (), providers=query.providers)


def _place(page: str) -> Place:
    match place_of(page):
        case [int(at), str(identifier)] if 0 <= at <= LAST[0]:
            return at, identifier
    raise InvalidRequest("Invalid 'page': give the 'next_page' of a page of the same query.", param="page")


def shown_call(found: StoredCall) -> dict[str, object]:
    """A call in the contract's form; amounts are exact digits, as orjson fragments."""
    columns = found.columns
    return {
        "object": "gateway.request",
        "id": columns["id"],
        "request_id": columns["request_id"],
        "started_at_ms": columns["at"],
        "ended_at_ms": columns["ended_at"],
        "first_byte_ms": columns["first_byte_ms"],
        "project_id": columns["project_id"],
        "api_key_id": columns["key_id"],
        "wire": columns["wire"],
        "operation": columns["operation"],
        "model": columns["model"],
        "stream": bool(columns["stream"]),
        "provider": columns["provider"],
        "upstream_model": columns["upstream_model"],
        "service_tier": columns["service_tier"],
        "end": columns["ending"],
        "basis": columns["basis"],
        "status": columns["status"],
        "code": columns["code"],
        "tokens": {name: columns[name] for name in TOKENS},
        "web_searches": columns["searches"],
        "cost_usd": usd(cast("int | None", columns["cost"])),
        "search_cost_usd": usd(cast("int", columns["search_cost"])),
        "price": columns["price"],
        "attempts": [_attempt(each) for each in found.details.get("attempts", ())],
        "repairs": found.details.get("repairs", []),
        "dropped_parameters": found.details.get("dropped", []),
        "round": found.details.get("round"),
        "tools": [_tool(each) for each in found.details.get("tools", ())],
    }


def _attempt(stored: Mapping[str, Any]) -> dict[str, object]:
    tokens = stored.get("tokens")
    return {
        "provider": stored["provider"],
        "model": stored["model"],
        "started_at_ms": stored["started_at"],
        "ended_at_ms": stored["ended_at"],
        "status": stored.get("status"),
        "code": stored.get("code"),
        "tokens": {name: tokens.get(name, 0) for name in TOKENS} if tokens is not None else None,
        "web_searches": stored.get("searches", 0),
        "cost_usd": usd(stored.get("cost")),
    }


def _tool(stored: Sequence[Any]) -> dict[str, object]:
    name, started, ended, failed, cost = stored
    return {
        "type": f"gateway:{name}" if name else None,
        "started_at_ms": started,
        "ended_at_ms": ended,
        "failed": failed,
        "cost_usd": usd(cost),
    }


def _row(found: StoredCall) -> Sequence[object]:
    columns, details = found.columns, found.details
    cost = cast("int | None", columns["cost"])
    return (
        *(columns["id"], columns["request_id"], _time(int(columns["at"] or 0)), _time(int(columns["ended_at"] or 0))),
        *(columns[name] for name in ("first_byte_ms", "project_id", "key_id", "wire", "operation", "model")),
        bool(columns["stream"]),
        *(columns[name] for name in ("provider", "upstream_model", "service_tier", "ending", "basis", "status")),
        columns["code"],
        *(columns[name] for name in (*TOKENS, "searches")),
        decimal(cost) if cost is not None else None,
        columns["price"],
        " ".join(f"{each['provider']}/{each['model']}" for each in details.get("attempts", ())),
        " ".join(details.get("repairs", ())),
        " ".join(details.get("dropped", ())),
    )


def _quantiles(latency: Latency | None) -> Mapping[str, int | None]:
    """Median and high quantiles of the latency."""
    counted = (latency.total, latency.first) if latency is not None else ((0,), (0,))
    return dict(zip(_QUANTILES, (quantile_ms(counts, part) for counts in counted for part in (0.5, 0.95)), strict=True))


def _counts(tokens: Tokens) -> Iterable[int]:
    return (getattr(tokens, name) for name in TOKENS)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _wants_csv(call: Call) -> bool:
    """Whether the Accept header names CSV and not JSON; what has the quality 0 is not accepted (RFC 9110, 12.4.2)."""
    named = set()
    for each in call.headers.get("accept", "").lower().split(","):
        media, *parameters = [part.strip() for part in each.split(";")]
        if not any(_REFUSED.fullmatch(parameter) for parameter in parameters):
            named.add(media)
    return _MEDIA in named and "application/json" not in named


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> _Table:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return Content(_MEDIA, text.getvalue().encode("utf-8", "replace"))


def _harmless(cell: object) -> object:
    """Prevent formulas (OWASP, "CSV Injection"): a model's name, for example, is chosen by callers."""
    return cell_text(cell) if isinstance(cell, str) else cell
