"""The work of `ai-gateway store`, on the store itself, also while a gateway runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import orjson
import typer

from ai_gateway.accounts.calls import LAST, CallFilter, page_of_calls
from ai_gateway.accounts.journal_files import directories
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.store.base import Store, StoreError
from ai_gateway.api.admin.records import shown_call
from ai_gateway.app.accounts import place_of, store_at
from ai_gateway.app.local_administration import open_directory
from ai_gateway.cli.administration.show import day, lines, table
from ai_gateway.cli.problems import print_problems
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.config.sources import read_settings, read_sources
from ai_gateway.observability.logging import configure_logging
from ai_gateway.observability.printable import printable

_PAGE = 500


class Opened:
    """The store, and the directory of journals."""

    def __init__(self, store: Store, journals: Path | None) -> None:
        self.store = store
        self.ledger = Ledger(store)
        self.journals = journals


def on_store(work: Callable[[Opened], Awaitable[None]]) -> None:
    """Run this with the store, and print why it fails."""

    async def working(settings: Settings) -> None:
        place = place_of(settings)
        journals = place.directory / "journal" if place is not None and place.directory is not None else None
        async with open_directory(settings) as directory:
            await work(Opened(directory.store, journals))

    _run(working)


def migrate() -> None:
    """Bring the schema up to date."""

    async def working(settings: Settings) -> None:
        place = place_of(settings)
        if place is None or place.url is None:
            async with open_directory(settings) as directory:  # which migrates it
                lines(f"{directory.store.name}: up to date.")
            return
        store = store_at(place)
        reached = await store.migrate()
        lines(f"{store.name}: brought to version {reached[-1]}." if reached else f"{store.name}: up to date.")

    _run(working)


def _run(working: Callable[[Settings], Coroutine[None, None, None]]) -> None:
    try:
        settings = read_settings(read_sources())
        configure_logging("error")
        asyncio.run(working(settings))
    except SettingsError as error:
        print_problems(error.problems)
        raise typer.Exit(2) from None
    except StoreError as error:
        print_problems([str(error)])
        raise typer.Exit(1) from None


async def check(opened: Opened) -> None:
    """Compare sums and records."""
    contents = await opened.ledger.contents()
    lines(f"{opened.store.name}: {contents.records} records of single requests")
    if contents.oldest is not None and contents.newest is not None:
        lines(f"  from {day(contents.oldest)} to {day(contents.newest)}")
    found = directories(opened.journals) if opened.journals is not None else []
    size = sum(file.stat().st_size for journal in found for file in journal.glob("*") if file.is_file())
    lines(f"  {len(found)} journals with {size} bytes, of workers that run or whose records are still to come")
    differences = await opened.ledger.check()
    if not differences:
        lines("The sums are those of the records.")
        return
    rows = [
        (day(each.day)[:10], "day" if each.width > 3600 else "hour", str(each.records[0]), str(each.sums[0]))
        for each in differences
    ]
    table(("DAY", "SUMS BY", "REQUESTS", "IN THE SUMS"), rows)
    lines("These sums are not those of the records: `ai-gateway store rebuild` makes them again.")
    raise typer.Exit(1)


async def export(opened: Opened, start: int | None, end: int | None) -> None:
    """Print every record."""
    wanted = CallFilter((start or 0) * 1000, LAST[0] if end is None else end * 1000)
    before, more = LAST, True
    while more:
        calls, more = await page_of_calls(opened.store, wanted, before, _PAGE)
        for call in calls:
            typer.echo(printable(orjson.dumps(shown_call(call))).decode())
            before = call.place


async def prune(opened: Opened, older_than: int) -> None:
    """Delete older records."""
    deleted = await opened.ledger.prune(int(time.time()) - older_than)
    lines(f"{deleted} records were deleted. Sums of usage and costs stay.")


async def rebuild(opened: Opened) -> None:
    """Rebuild the sums."""
    days = await opened.ledger.rebuild()
    lines(f"The sums of {days} days were made again from their records.")
