"""The tables of a bench: every figure beside the bare relay's, and beside the budget where there is one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from scripts.bench.measure import OpenStreams, Sample, Skipped, Start
from scripts.bench.session import Results

GATEWAY, UNCHECKED, RELAY, UPSTREAM = "gateway", "unchecked", "relay", "upstream"


@dataclass(frozen=True, slots=True)
class Budget:
    """A figure that the gateway has to keep to, and what it aims at."""

    name: str
    must: float
    aim: float

    def verdict(self, value: float) -> str:
        """`ok`, or `over`; and whether the aim is reached as well."""
        if value > self.must:
            return "over"
        return "ok, aim met" if value <= self.aim else "ok"

    def cell(self, value: float) -> str:
        """What the budget column of a table says."""
        return f"{self.name} {value:.4g} <= {self.must:g}, aim {self.aim:g}: {self.verdict(value)}"


REQUEST_CPU = Budget("CPU us/request", 300, 150)
EVENT_CPU = Budget("CPU us/event", 20, 10)
CONFORMANCE = Budget("conformance %", 25, 15)
ADDED_P50 = Budget("added p50 ms", 1, 0.4)
P99 = Budget("p99 ms", 20, 10)
IDLE_RSS = Budget("idle MB", 100, 75)
STREAMS_RSS = Budget("MB with streams", 200, 150)
COLD_START = Budget("cold start s", 2, 1)


def lines(results: Results) -> Iterator[str]:
    """Everything to print after a run."""
    yield from _load_table("Whole replies (JSON)", _of(results, "json"))
    yield ""
    yield from _load_table("Streams of 50 events", _of(results, "stream"))
    yield ""
    yield from _start_table(results.starts)
    yield ""
    yield from _streams_table(results.streams)
    if errors := results.errors():
        yield "\nFAILED requests:"
        yield from (f"  {count} x {where}" for where, count in errors.items())


def as_json(results: Results) -> dict[str, object]:
    """The same figures for a machine."""
    return {
        "cells": [asdict(cell) for cell in results.cells],
        "starts": [asdict(start) for start in results.starts],
        "streams": [asdict(held) for held in results.streams],
        "budget": [
            {"figure": budget.name, "value": value, "must": budget.must, "aim": budget.aim, "at": place}
            for budget, value, place in _judged(results)
        ],
        "errors": results.errors(),
    }


def _judged(results: Results) -> Iterator[tuple[Budget, float, str]]:
    for kind in ("json", "stream"):
        cells = _of(results, kind)
        for cell in cells:
            for budget, value in _budgets(cells, cell):
                yield budget, value, f"{kind}, c={cell.concurrency}"
    for start in results.starts:
        if start.target == GATEWAY:
            yield COLD_START, start.cold_s, "start"
            yield IDLE_RSS, start.rss_answered_mb, "start"
    for held in results.streams:
        if isinstance(held, OpenStreams) and held.target == GATEWAY:
            yield STREAMS_RSS, held.rss_mb, f"{held.streams} streams"


def _budgets(cells: Iterable[Sample], cell: Sample) -> Iterator[tuple[Budget, float]]:
    """What this cell has to keep to; most cells are only to look at."""
    if cell.target != GATEWAY:
        return
    direct, unchecked = _same(cells, cell, UPSTREAM), _same(cells, cell, UNCHECKED)
    if cell.concurrency == 16 and unchecked.cpu_us_per_request:
        yield CONFORMANCE, round(100 * (cell.cpu_us_per_request / unchecked.cpu_us_per_request - 1), 1)
    if cell.kind == "stream" and cell.concurrency == 16 and cell.cpu_us_per_event is not None:
        yield EVENT_CPU, cell.cpu_us_per_event
    if cell.kind == "json" and cell.concurrency == 1:
        yield ADDED_P50, cell.p50_ms - direct.p50_ms
    if cell.kind == "json" and cell.concurrency == 16:
        yield REQUEST_CPU, cell.cpu_us_per_request
    if cell.kind == "json" and cell.concurrency == 64:
        yield P99, cell.p99_ms


def _of(results: Results, kind: str) -> list[Sample]:
    return [cell for cell in results.cells if cell.kind == kind]


def _same(cells: Iterable[Sample], cell: Sample, target: str) -> Sample:
    return next(other for other in cells if other.target == target and other.concurrency == cell.concurrency)


_LOAD_HEAD = (
    "c",
    "target",
    "CPU us",
    "x relay",
    "us/event",
    "req/s",
    "p50 ms",
    "p99 ms",
    "+p50",
    "+p99",
    "first ms",
    "budget",
)


def _load_table(title: str, cells: list[Sample]) -> Iterator[str]:
    yield f"{title}: medians; CPU of the target's process for each request; + is what it adds to the direct upstream"
    yield from _table(_LOAD_HEAD, [_load_row(cells, cell) for cell in cells])


def _load_row(cells: list[Sample], cell: Sample) -> list[str]:
    direct, relay = _same(cells, cell, UPSTREAM), _same(cells, cell, RELAY)
    added = cell.target != UPSTREAM
    return [
        str(cell.concurrency),
        cell.target,
        f"{cell.cpu_us_per_request:.0f}",
        _ratio(cell.cpu_us_per_request, relay.cpu_us_per_request) if added else "",
        f"{cell.cpu_us_per_event:.1f}" if cell.cpu_us_per_event is not None else "",
        f"{cell.rps:.0f}",
        f"{cell.p50_ms:.2f}",
        f"{cell.p99_ms:.2f}",
        f"{cell.p50_ms - direct.p50_ms:.2f}" if added else "",
        f"{cell.p99_ms - direct.p99_ms:.2f}" if added else "",
        f"{cell.first_p50_ms:.2f}" if cell.kind == "stream" else "",
        "; ".join(budget.cell(value) for budget, value in _budgets(cells, cell)),
    ]


def _start_table(starts: list[Start]) -> Iterator[str]:
    yield "Start and memory: spawn to first answered request; resident MB once listening, and after one request"
    relay = next(start for start in starts if start.target == RELAY)
    rows = []
    for start in starts:
        kept = f"{COLD_START.cell(start.cold_s)}; {IDLE_RSS.cell(start.rss_answered_mb)}"
        rows.append(
            [
                start.target,
                f"{start.cold_s:.2f}",
                f"{start.rss_started_mb:.0f}",
                f"{start.rss_answered_mb:.0f}",
                _ratio(start.rss_answered_mb, relay.rss_answered_mb),
                kept if start.target == GATEWAY else "",
            ]
        )
    yield from _table(("target", "start s", "MB idle", "MB answered", "x relay", "budget"), rows)


def _streams_table(streams: Sequence[OpenStreams | Skipped]) -> Iterator[str]:
    yield "Open streams, an event each 200 ms in each of them: resident MB, and CPU for each event"
    held = [found for found in streams if isinstance(found, OpenStreams)]
    if len(held) < len(streams):
        yield from (f"  skipped: {reason}" for reason in sorted({s.reason for s in streams if isinstance(s, Skipped)}))
        return
    relay = next(found for found in held if found.target == RELAY)
    rows = [
        [
            found.target,
            str(found.streams),
            f"{found.rss_mb:.0f}",
            f"{found.cpu_us_per_event:.1f}",
            _ratio(found.cpu_us_per_event, relay.cpu_us_per_event),
            STREAMS_RSS.cell(found.rss_mb) if found.target == GATEWAY else "",
        ]
        for found in held
    ]
    yield from _table(("target", "streams", "MB", "us/event", "x relay", "budget"), rows)


def _ratio(value: float, yardstick: float) -> str:
    """Nothing where the yardstick is too short a run for the system's clock ticks."""
    return f"{value / yardstick:.2f}" if yardstick else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be; an empty column is left out."""
    kept = [index for index in range(len(head)) if any(row[index] for row in rows)]
    table = [[line[index] for index in kept] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(kept))]
    for line in table:
        texts = (_aligned(text, width) for text, width in zip(line, widths, strict=True))
        yield "  " + "  ".join(texts).rstrip()


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if text[:1].isdigit() or text[:1] == "-" else text.ljust(width)
