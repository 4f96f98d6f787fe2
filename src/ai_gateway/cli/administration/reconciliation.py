"""Reconciliation: a provider's exported usage compared with the ledger, by day and model."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer

from ai_gateway.cli.administration.client import Api, Refusal
from ai_gateway.cli.administration.show import as_json, lines, table, text_of
from ai_gateway.cli.administration.usage import sums

_DAY = 86_400
_MEASURES = ("requests", "input", "output", "cost")
# Column names in exports: OpenAI's first, then those of other providers' consoles.
_NAMES: Mapping[str, Sequence[str]] = {
    "day": ("start_time", "start_time_iso", "date", "day", "timestamp", "usage_date"),
    "model": ("model", "line_item", "snapshot_id", "model_name"),
    "requests": ("num_model_requests", "n_requests", "requests", "request_count"),
    "input": ("input_tokens", "n_context_tokens_total", "prompt_tokens"),
    "output": ("output_tokens", "n_generated_tokens_total", "completion_tokens"),
    "cost": ("amount_value", "amount", "cost", "cost_usd"),
}
# Exports may have the name of a model's snapshot.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")

# What reading a file raises that is something else.
_NO_EXPORT = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError, csv.Error)

type Place = tuple[date, str]


@dataclass(slots=True)
class Count:
    """The usage of a model on a day. None is unknown."""

    measures: dict[str, Decimal] = field(default_factory=dict)

    def add(self, name: str, value: Decimal) -> None:
        self.measures[name] = self.measures.get(name, Decimal(0)) + value


async def reconcile(api: Api, file: Path, provider: str | None, tolerance: float, *, json: bool) -> None:
    """Print the differences between export and ledger; exit code 1 if there are any."""
    theirs = read_export(file)
    if not theirs:
        raise Refusal(f"{file}: there is no usage in it.", 2)
    days = [day for day, _ in theirs]
    ours = await _ours(api, min(days), max(days), provider)
    rows = list(differences(theirs, ours, tolerance))
    if json:
        as_json({"object": "list", "data": [_plain(row) for row in rows]})
    elif rows:
        table(("DAY", "MODEL", "WHAT", "THEIRS", "OURS", "DIFFERENCE"), [row.shown() for row in rows])
    else:
        lines(f"No difference in {len(theirs)} sums of {len(set(days))} days.")
    if rows:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that differs."""

    day: date
    model: str
    what: str
    theirs: Decimal
    ours: Decimal

    def shown(self) -> tuple[str, ...]:
        """The difference as text."""
        numbers = (self.theirs, self.ours, self.ours - self.theirs)
        return self.day.isoformat(), self.model, self.what, *(f"{each.normalize():f}" for each in numbers)


def differences(theirs: Mapping[Place, Count], ours: Mapping[Place, Count], tolerance: float) -> Iterator[Difference]:
    """Differences of more than so many percent, in the fields of the export. A missing day is 0."""
    measured = {name for count in theirs.values() for name in count.measures}
    matched = _matched(theirs, ours)
    for day, model in sorted(theirs.keys() | matched.keys()):
        there = theirs.get((day, model), Count()).measures
        here = matched.get((day, model), Count()).measures
        for name in (each for each in _MEASURES if each in measured):
            one, other = there.get(name, Decimal(0)), here.get(name, Decimal(0))
            if abs(one - other) > max(one, other) * Decimal(repr(tolerance)) / 100:
                yield Difference(day, model, name, one, other)


def _matched(theirs: Mapping[Place, Count], ours: Mapping[Place, Count]) -> dict[Place, Count]:
    """Our counts, under the export's names of the same models."""
    snapshots = {_SNAPSHOT.sub("", model): model for _, model in sorted(theirs)}
    known = {model for _, model in theirs}
    found: dict[Place, Count] = {}
    for (day, model), count in ours.items():
        name = model if model in known else snapshots.get(model, model)
        into = found.setdefault((day, name), Count())
        for measure, value in count.measures.items():
            into.add(measure, value)
    return found


def read_export(file: Path) -> dict[Place, Count]:
    """The counts in the file by day and model. Raises Refusal."""
    text = text_of(file)
    try:
        rows = list(_json_rows(text) if text.lstrip()[:1] in {"{", "["} else csv.DictReader(io.StringIO(text)))
        found: dict[Place, Count] = {}
        for row in rows:
            if (place := _place(row)) is not None:
                count = found.setdefault(place, Count())
                for name in _MEASURES:
                    if (value := _number(_named(row, name))) is not None:
                        count.add(name, value)
    except _NO_EXPORT as error:
        raise Refusal(f"{file}: this is no export of usage or costs that can be read: {error}", 2) from error
    return found


def _json_rows(text: str) -> Iterator[Mapping[str, Any]]:
    """The results of JSON pages, also one page a line, with the times of their buckets."""
    try:
        pages = json.loads(text, parse_float=Decimal)
    except ValueError:
        pages = [json.loads(line, parse_float=Decimal) for line in text.splitlines() if line.strip()]
    for page in pages if isinstance(pages, list) else [pages]:
        for bucket in page.get("data", [page]):
            for result in bucket.get("results", ()):
                yield {"start_time": bucket["start_time"], **result}


def _place(row: Mapping[str, Any]) -> Place | None:
    day, model = _named(row, "day"), _named(row, "model")
    if day in {None, ""}:
        raise ValueError(f"no column for the day: one of {', '.join(_NAMES['day'])}")
    if model in {None, ""}:
        return None  # a sum over all models, or a cost of something else
    # OpenAI's line items are such as `gpt-4o-2024-08-06, input`, and ours `openai/gpt-4o`.
    return _day(day), str(model).split(",")[0].strip()


def _named(row: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401 - a cell of a file
    return (
        next((row[name] for name in _NAMES[what] if row.get(name) not in {None, ""}), None)
        if what != "cost"
        else _cost(row)
    )


def _cost(row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a cell of a file
    for name in _NAMES["cost"]:
        value = row.get(name)
        if isinstance(value, Mapping):
            value = value.get("value")
        if value not in {None, ""}:
            return value
    return None


def _day(value: Any) -> date:  # noqa: ANN401 - a cell of a file
    if isinstance(value, int) or str(value).isdigit():
        return datetime.fromtimestamp(int(value), UTC).date()
    return date.fromisoformat(str(value)[:10])


def _number(value: object) -> Decimal | None:
    if value is None:
        return None
    found = Decimal(str(value))
    if not found.is_finite():
        raise ValueError(f"{value!r} is no number")
    return found


async def _ours(api: Api, first: date, last: date, provider: str | None) -> dict[Place, Count]:
    start = int(datetime.combine(first, datetime.min.time(), UTC).timestamp())
    end = int(datetime.combine(last, datetime.min.time(), UTC).timestamp()) + _DAY
    query: dict[str, str | int | Sequence[str]] = {
        "start_time": start,
        "end_time": end,
        "bucket_width": "1d",
        "group_by": ["model"],
    }
    if provider is not None:
        query["providers"] = [provider]
    found: dict[Place, Count] = {}
    for bucket in await sums(api, query):
        for result in bucket.results:
            tokens, count = result.tokens, Count()
            cached = tokens.cache_read + tokens.cache_write + tokens.cache_write_1h
            count.add("requests", Decimal(result.num_requests))
            count.add("input", Decimal(tokens.input + cached + tokens.input_audio + tokens.input_image))
            output = tokens.output + tokens.reasoning + tokens.output_audio + tokens.output_image
            count.add("output", Decimal(output))
            count.add("cost", Decimal(repr(result.cost_usd)))
            found[datetime.fromtimestamp(bucket.start_time, UTC).date(), result.model or "-"] = count
    return found


def _plain(row: Difference) -> dict[str, object]:
    return {
        "day": row.day.isoformat(),
        "model": row.model,
        "what": row.what,
        "theirs": str(row.theirs),
        "ours": str(row.ours),
        "difference": str(row.ours - row.theirs),
    }
