"""Reports a probe: progress on standard error, the result on standard output, as text or JSON."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ai_gateway.observability.printable import printable_lines, printable_text
from ai_gateway.probe.check import Check
from ai_gateway.probe.run import Result
from ai_gateway.probe.verdict import Outcome, Verdict

_COLOURS = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.SKIPPED: "yellow"}


class Watch:
    """Progress on standard error: a bar on a terminal, otherwise a line for each check."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        live = self._console.is_terminal
        self._bar = Progress(*columns, console=self._console, transient=True) if live else None
        self._task = self._bar.add_task("probing", total=total) if self._bar else None
        self._total = total
        self._done = 0

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, outcome: Outcome) -> None:
        """Report a completed check."""
        self._done += 1
        if self._bar and self._task is not None:
            self._bar.update(self._task, advance=1, description=outcome.id)
        else:
            line = f"[{self._done:{len(str(self._total))}}/{self._total}] {outcome.verdict:7} {outcome.id}"
            sys.stderr.write(printable_text(line) + "\n")


def show(result: Result) -> None:
    """Print the table of groups, each failure with its expected and actual result, and each skip with its reason."""
    console = Console(highlight=False)
    console.print(_text(f"{result.url} (model {result.model}, embeddings {result.embedding_model})"))
    console.print(_table(result))
    for outcome in result.of(Verdict.FAILED):
        console.print(_text(f"FAILED {outcome.id}: {outcome.title} [{outcome.rule}]", "red"), soft_wrap=True)
        console.print(_text(f"  expected: {outcome.expected}"), soft_wrap=True)
        console.print(_text(f"  seen:     {outcome.seen}"), soft_wrap=True)
    for outcome in result.of(Verdict.SKIPPED):
        console.print(_text(f"SKIPPED {outcome.id}: {outcome.reason}", "yellow"), soft_wrap=True)


def _text(text: str, style: str = "") -> Text:
    """It quotes the server, whose text must not control the terminal."""
    return Text(printable_text(text), style)


def _table(result: Result) -> Table:
    table = Table("group")
    for verdict, colour in _COLOURS.items():
        table.add_column(verdict.value, justify="right", style=colour)
    counts = Counter((outcome.group, outcome.verdict) for outcome in result.outcomes)
    for group in dict.fromkeys(outcome.group for outcome in result.outcomes):
        table.add_row(group, *(str(counts[group, verdict] or "-") for verdict in Verdict))
    table.add_section()
    table.add_row("all", *(str(len(result.of(verdict))) for verdict in Verdict))
    return table


def as_json(result: Result) -> str:
    """The result as JSON."""
    summary = {verdict.value: len(result.of(verdict)) for verdict in Verdict}
    facts = {"url": result.url, "model": result.model, "embedding_model": result.embedding_model}
    checks = [{name: value for name, value in asdict(one).items() if value != ""} for one in result.outcomes]
    text = json.dumps({**facts, "summary": summary, "checks": checks}, ensure_ascii=False, indent=2)
    return printable_lines(text)


def listing(checks: tuple[Check, ...]) -> str:
    """The list of checks, a line each."""
    return "\n".join(f"{check.id:26} {check.group:18} {check.title} [{check.rule}]" for check in checks)


def listing_json(checks: tuple[Check, ...]) -> str:
    """The list of checks as JSON."""
    rows = [{"id": one.id, "group": one.group, "title": one.title, "rule": one.rule} for one in checks]
    return json.dumps(rows, ensure_ascii=False, indent=2)
