"""The tables of a bench: every figure beside nginx and the bare relay, and the gateway's beside its budget."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from scripts.bench.baseline import MARGIN, Baseline, check
from scripts.bench.budget import BUDGETS
from scripts.bench.cells import CELLS, NGINX, RELAY, Cell, cell
from scripts.bench.measure import Sample
from scripts.bench.results import Results


def lines(results: Results) -> Iterator[str]:
    """Everything to print after a run."""
    for each in CELLS:
        yield from _cell_table(each, results)
    yield from _start_table(results)
    yield from _memory_table(results)
    yield from _streams_table(results)
    yield from _garbage_lines(results)
    yield from _instructions_table(results)
    yield from _budget_table(results)
    yield from (f"skipped: {each.reason}" for each in results.skipped)
    for title, errors in (("FAILED requests:", results.errors()), ("Peers' own failures:", results.peers_errors())):
        if errors:
            yield title
            yield from (f"  {count} x {where}" for where, count in errors.items())


def comparison_lines(results: Results, before: Baseline) -> Iterator[str]:
    """A run beside the baseline."""
    yield f"Beside the baseline: beyond {MARGIN} x of it in three of four rounds is a regression"
    if not before.taken_here:
        yield "It was taken on another kind of machine or interpreter: only what is portable is compared."
    head = ("figure", "baseline", "now", "x baseline", "")
    yield from _table(
        head,
        [
            [
                each.now.figure,
                f"{each.before.value:.2f}",
                f"{each.now.value:.2f}",
                f"{each.change:.2f}",
                "REGRESSED" if each.regressed else "ok",
            ]
            for each in check(results, before)
        ],
    )


def as_json(results: Results) -> dict[str, object]:
    """The same figures for a machine."""
    values = ((budget, budget.value(results)) for budget in BUDGETS)
    return {
        "cells": [
            {**asdict(each), "cpu_us": each.cpu_us, f"cpu_us_per_{cell(each.cell).unit}": _cost(each)}
            for each in results.cells
        ],
        "starts": [asdict(each) for each in results.starts],
        "long_bodies": [asdict(each) for each in results.long_bodies],
        "streams": [asdict(each) for each in results.streams],
        "garbage": [asdict(each) for each in results.garbage],
        "instructions": [asdict(each) for each in results.instructions],
        "budget": [
            {"figure": budget.figure, "unit": budget.unit, "value": value, "must": budget.must, "aim": budget.aim}
            for budget, value in values
        ],
        "skipped": [each.reason for each in results.skipped],
        "errors": results.errors(),
        "peers_errors": results.peers_errors(),
    }


def _cost(sample: Sample) -> float:
    return sample.cpu_us / cell(sample.cell).counted


def _cell_table(shown: Cell, results: Results) -> Iterator[str]:
    samples = [each for each in results.cells if each.cell == shown.name]
    if not samples:
        return
    yield f"{shown.title}: medians, CPU microseconds per {shown.unit}"
    head = ("target", "CPU us", "x nginx", "x relay", "requests/s", "p50 ms", "p99 ms", "first byte ms")
    rows = [
        [
            each.target,
            f"{_cost(each):.1f}",
            _times(results.ratio(shown.name, each.target, NGINX)),
            _times(results.ratio(shown.name, each.target, RELAY)),
            f"{each.rps:.0f}",
            f"{each.p50_ms:.2f}",
            f"{each.p99_ms:.2f}",
            f"{each.first_p50_ms:.2f}" if shown.events else "",
        ]
        for each in samples
    ]
    yield from _table(head, rows)
    yield ""


def _start_table(results: Results) -> Iterator[str]:
    if not results.starts:
        return
    yield "Start: spawn to first answered request; resident memory once listening, and after that request"
    rows = [
        [each.target, f"{each.cold_s:.2f}", f"{each.rss_started_mb:.0f}", f"{each.rss_answered_mb:.0f}"]
        for each in results.starts
    ]
    yield from _table(("target", "start s", "MB listening", "MB answered"), rows)
    yield ""


def _memory_table(results: Results) -> Iterator[str]:
    if not results.long_bodies:
        return
    yield "Resident memory before and after requests of 100 KB"
    rows = [
        [each.target, str(each.requests), f"{each.rss_before_mb:.0f}", f"{each.rss_after_mb:.0f}"]
        for each in results.long_bodies
    ]
    yield from _table(("target", "requests", "MB before", "MB after"), rows)
    yield ""


def _streams_table(results: Results) -> Iterator[str]:
    if not results.streams:
        return
    yield "Open streams, an event each 200 ms in each of them: resident memory, and CPU for each event"
    rows = [
        [each.target, str(each.streams), f"{each.rss_mb:.0f}", f"{each.cpu_us_per_event:.1f}"]
        for each in results.streams
    ]
    yield from _table(("target", "streams", "MB", "CPU us"), rows)
    yield ""


def _garbage_lines(results: Results) -> Iterator[str]:
    for each in results.garbage:
        most = sorted(each.types.items(), key=lambda item: -item[1])[:8]
        types = "".join(f", {count} {name}" for name, count in most)
        yield f"Unreachable objects after {each.requests} {each.kind}: {each.unreachable}{types}"
    if results.garbage:
        yield ""


def _instructions_table(results: Results) -> Iterator[str]:
    if not results.instructions:
        return
    yield "Thousands of user-space instructions, by callgrind"
    rows = []
    for each in sorted(results.instructions, key=lambda each: each.cell):
        counted, relay = cell(each.cell), results.kilo_instructions(each.cell, RELAY)
        per_event = f"{each.kilo / counted.counted:.1f}" if counted.events else ""
        ratio = _times(each.kilo / relay if relay else None)
        rows.append([counted.title, each.target, f"{each.kilo:.0f}", per_event, ratio])
    yield from _table(("cell", "target", "per request", "per event", "x relay"), rows)
    yield ""


def _budget_table(results: Results) -> Iterator[str]:
    yield "The gateway beside its budget"
    rows = []
    for budget in BUDGETS:
        value = budget.value(results)
        shown = ("-", "not measured") if value is None else (f"{value:.4g}", budget.verdict(value))
        sign = ">= " if budget.at_least else ""
        rows.append([budget.figure, shown[0], budget.unit, f"{sign}{budget.must:g}", f"{sign}{budget.aim:g}", shown[1]])
    yield from _table(("figure", "value", "unit", "must", "aim", "verdict"), rows)
    yield ""


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be, numbers to the right; an empty column is left out."""
    kept = [index for index in range(len(head)) if any(row[index] for row in rows)]
    table = [[line[index] for index in kept] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(kept))]
    for line in table:
        texts = [_aligned(text, width) for text, width in zip(line[1:], widths[1:], strict=True)]
        yield "  " + "  ".join([line[0].ljust(widths[0]), *texts]).rstrip()


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if text[:1].isdigit() or text[:1] == "-" else text.ljust(width)
