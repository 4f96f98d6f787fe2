"""Output of commands: tables for people, JSON for programs."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ai_gateway.cli.administration.client import Api, Refusal, connected
from ai_gateway.cli.problems import print_problems
from ai_gateway.observability.printable import printable_text

_NO_TERMINAL_WIDTH = 10_000  # columns without a terminal, so that each row stays on one line


def run(url: str | None, admin_key: str | None, work: Callable[[Api], Awaitable[None]]) -> None:
    """Run a command's work with the API, and print why it fails."""

    async def working() -> None:
        async with connected(url, admin_key) as api:
            await work(api)

    try:
        asyncio.run(working())
    except Refusal as refusal:
        print_problems(refusal.problems)
        raise typer.Exit(refusal.code) from None


def text_of(file: Path) -> str:
    """The content of a file that a command was given. Raises Refusal."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refusal(f"{file}: cannot be read: {error.strerror}", 2) from error
    except UnicodeDecodeError:
        raise Refusal(f"{file}: is not UTF-8 text", 2) from None


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, whose cells are untrusted."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable_text(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH, highlight=False)
    console.print(made)


def lines(*texts: str) -> None:
    """Print lines for people."""
    for text in texts:
        typer.echo(printable_text(text))


def note(text: str) -> None:
    """Print a note to standard error, separate from the result."""
    typer.echo(printable_text(text), err=True)


def as_json(value: object) -> None:
    """Print a value for programs."""
    # DEL is the only unprintable ASCII character that JSON does not escape.
    typer.echo(json.dumps(value, ensure_ascii=True, indent=2).replace("\x7f", "\\u007f"))


def plain(model: BaseModel) -> dict[str, object]:
    """A model in the API's JSON form."""
    return model.model_dump(mode="json", exclude_unset=True)


def day(at: int | None, never: str = "never") -> str:
    """A time for people, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" if at is not None else never
