"""The work of `ai-gateway usage` and `costs`."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import typer

from ai_gateway.cli.administration.client import Api
from ai_gateway.cli.administration.lookup import all_keys, all_projects
from ai_gateway.cli.administration.show import as_json, day, lines, note, table
from ai_gateway.observability.printable import printable_text
from gateway_contract.openai_admin import models

_COLUMNS = {"key": "api_key_id", "model": "model", "provider": "provider", "project": "project_id"}
_WITHOUT = {"api_key_id": "(no key)", "project_id": "(no project)"}
_CENT = Decimal("0.01")
type Query = dict[str, str | int | Sequence[str]]


async def show(  # noqa: PLR0913 - what a command was given
    api: Api, by: Sequence[str], start: int, end: int | None, form: str, *, latency: bool = False
) -> None:
    """Print the sums by these dimensions between two instants; with `latency`, the latencies."""
    width = "1d" if "day" in by else "all"
    query: Query = {
        "start_time": start,
        "bucket_width": width,
        "group_by": [_COLUMNS[each] for each in by if each in _COLUMNS],
    }
    if end is not None:
        query["end_time"] = end
    if latency:
        query["latency"] = "true"
    if form == "csv":
        text = await _csv(api, query)
        typer.echo("\r\n".join(map(printable_text, text.split("\r\n"))), nl=False)
        return
    buckets = await sums(api, query)
    if form == "json":
        data = [bucket.model_dump(mode="json", exclude_unset=True) for bucket in buckets if bucket.results]
        as_json({"object": "list", "data": data})
        return
    await _table(api, by, buckets, _COSTS if form == "costs" else [*_MEASURES, *(_TIMES if latency else [])])


async def sums(api: Api, query: Query) -> list[models.RecordedBucket]:
    """Every bucket, page by page."""
    found: list[models.RecordedBucket] = []
    parameters = dict(query)
    while True:
        page = await api.call("summarizeRecordedRequests", models.RecordedUsage, None, **parameters)
        found += page.data
        if page.next_page is None:
            return found
        parameters["page"] = page.next_page


async def _csv(api: Api, query: Query) -> str:
    """All pages with one header. The cursors are those of the JSON pages."""
    text, parameters = "", dict(query)
    while True:
        page = await api.call("summarizeRecordedRequests", models.RecordedUsage, None, **parameters)
        rows = await api.text("summarizeRecordedRequestsAsCsv", **parameters)
        text += rows if not text else rows.partition("\n")[2]
        if page.next_page is None:
            return text
        parameters["page"] = page.next_page


async def _table(
    api: Api, by: Sequence[str], buckets: Sequence[models.RecordedBucket], measures: Sequence[str]
) -> None:
    names = await _names(api) if {"key", "project"} & set(by) else {}
    rows = list(_rows(by, buckets, names, measures))
    if not rows:
        lines("Nothing was used in this time.")
        return
    table((*(each.upper() for each in by), *measures), rows)
    unpriced = sum(result.num_unpriced for bucket in buckets for result in bucket.results)
    if unpriced:
        requests = "1 request has" if unpriced == 1 else f"{unpriced} requests have"
        note(f"{requests} no known price: [prices] in gateway.toml gives one to a model.")


_COSTS = ("REQUESTS", "COST (USD)")
_MEASURES = ("REQUESTS", "ERRORS", "INPUT", "CACHED", "OUTPUT", "COST (USD)", "UNPRICED")
_TIMES = ("P50 (MS)", "P95 (MS)", "FIRST BYTE P50", "P95")


def _rows(
    by: Sequence[str], buckets: Sequence[models.RecordedBucket], names: dict[str, str], measures: Sequence[str]
) -> Iterator[Sequence[str]]:
    for bucket in buckets:
        for result in sorted(bucket.results, key=lambda each: -each.cost_usd):
            of = [_value(each, bucket, result, names) for each in by]
            measures_of_sum = _measures_of(result)
            yield *of, *(measures_of_sum[measure] for measure in measures)


def _measures_of(result: models.RecordedSum) -> dict[str, str]:
    """Every measure of a sum, by column."""
    tokens = result.tokens
    times = (result.total_ms_p50, result.total_ms_p95, result.first_byte_ms_p50, result.first_byte_ms_p95)
    return {
        "REQUESTS": str(result.num_requests),
        "ERRORS": str(result.num_errors),
        "INPUT": str(tokens.input + tokens.input_audio + tokens.input_image),
        "CACHED": str(tokens.cache_read + tokens.cache_write + tokens.cache_write_1h),
        "OUTPUT": str(tokens.output + tokens.reasoning + tokens.output_audio + tokens.output_image),
        "COST (USD)": usd(result.cost_usd),
        "UNPRICED": str(result.num_unpriced),
        **{name: "-" if time is None else str(time) for name, time in zip(_TIMES, times, strict=True)},
    }


def _value(by: str, bucket: models.RecordedBucket, result: models.RecordedSum, names: dict[str, str]) -> str:
    if by == "day":
        return day(bucket.start_time)[:10]
    column = _COLUMNS[by]
    value = getattr(result, column)
    return names.get(value, value) if value else _WITHOUT.get(column, "-")


async def _names(api: Api) -> dict[str, str]:
    """The names of projects and keys by id."""
    projects = await all_projects(api, archived=True)
    keys = await all_keys(api, projects, administrators=False)
    return {
        **{project.id: project.name or project.id for project in projects},
        **{each.key.id: f"{each.owner} ({each.key.id})" for each in keys},
    }


def usd(amount: float) -> str:
    """An amount with at least its cents."""
    exact = Decimal(repr(amount)).normalize()
    return f"{exact.quantize(_CENT) if exact == exact.quantize(_CENT) else exact:f}"
