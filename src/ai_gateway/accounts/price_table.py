"""The table of prices in the package, which `make prices` writes: see docs/accounts.md, "Prices"."""

from bisect import bisect_right
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypedDict

import orjson

from ai_gateway.accounts.price import Price, rates_of

PATH = Path(__file__).with_name("prices.jsonl")
_DAY = 86_400
_MINUTE = 60


class Row(TypedDict, total=False):
    """The price of a model from a date on. Rates are whole numbers of 1e-12 USD for `per` tokens (default 1).

    `above` has rates for requests with more input tokens than a threshold, `tiers` those of other service tiers, and
    `hours` those between two minutes of each day (UTC).
    """

    since: str
    per: int
    rates: dict[str, int]
    above: list[tuple[int, dict[str, int]]]
    tiers: dict[str, "Row"]
    hours: list[tuple[int, int, "Row"]]


class Dated(NamedTuple):
    """A price, or None, and the time range in which it is valid, in seconds since the epoch."""

    since: float
    until: float
    price: Price | None


ALWAYS = float("-inf"), float("inf")


class PriceTable:
    """Exact ids of models by provider, in lower case: a line of JSON each, `["openai/gpt-5", rows]`.

    A string in place of the rows is the id of another entry. Lines are searched in the file's bytes and parsed one at a
    time: parsing all would take 2 MB and some milliseconds.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.basis: str = orjson.loads(raw[: raw.index(b"\n")])["basis"]

    @classmethod
    def shipped(cls) -> "PriceTable":
        """The table in the package."""
        return cls(PATH.read_bytes())

    def entries(self) -> dict[str, str | list[Row]]:
        """All entries by id."""
        return dict(orjson.loads(line) for line in self._raw.splitlines()[1:])

    def find(self, provider: str, model: str, at: float) -> Dated:
        """The price of a model at a time; valid for a day at most, after which another may begin."""
        rows = self._rows(f"{provider}/{model}")
        if isinstance(rows, str):
            rows = self._rows(rows)
        if not isinstance(rows, list):
            return Dated(*ALWAYS, None)
        midnight = at // _DAY * _DAY
        today = datetime.fromtimestamp(midnight, UTC).date().isoformat()
        row = next(row for row in reversed(rows) if row.get("since", "") <= today)
        since, until = midnight, midnight + _DAY
        if hours := row.get("hours"):
            edges = sorted({since, until, *(midnight + edge * _MINUTE for hour in hours for edge in hour[:2])})
            after = bisect_right(edges, at)
            since, until = edges[after - 1], edges[after]
            row = next((other for start, end, other in hours if start <= (at - midnight) / _MINUTE < end), row)
        return Dated(since, until, price_of(provider, model, self.basis, row))

    def _rows(self, name: str) -> str | list[Row] | None:
        if not name.isascii():
            return None
        start = self._raw.find(b"\n[%b," % orjson.dumps(name)) + 1
        if not start:
            return None
        rows: str | list[Row] = orjson.loads(self._raw[start : self._raw.index(b"\n", start)])[1]
        return rows


def price_of(provider: str, model: str, basis: str, row: Row) -> Price:
    """The price of a row."""
    return Price(
        provider,
        model,
        basis,
        rates_of(row["rates"]),
        row.get("per", 1),
        tuple((start, rates_of(rates)) for start, rates in row.get("above", ())),
        {name: price_of(provider, model, basis, tier) for name, tier in row.get("tiers", {}).items()},
    )
