"""`usage` and `costs`: recorded usage and costs, as tables, CSV or JSON."""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ai_gateway.cli.options import AdminKey, Url, seconds

usage = typer.Typer(invoke_without_command=True, help="What was used: requests, tokens and costs.")


class By(StrEnum):
    """The grouping of sums."""

    key = "key"
    model = "model"
    provider = "provider"
    project = "project"
    day = "day"


def moment(text: str) -> int:
    """The instant of a date, or of a time ago such as `7d`, in seconds. Raises typer.BadParameter."""
    now = datetime.now(UTC)
    try:
        return int(datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp())
    except ValueError:
        pass
    try:
        return int((now - timedelta(seconds=seconds(text))).timestamp())
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{text!r} is neither a date such as 2026-11-30 nor a time ago such as 7d") from error


From = Annotated[
    int | None,
    typer.Option("--from", parser=moment, metavar="WHEN", help="A date in UTC, or a time ago such as 7d [30d]."),
]
To = Annotated[
    int | None, typer.Option("--to", parser=moment, metavar="WHEN", help="A date in UTC, or a time ago [now].")
]
_By = Annotated[list[By] | None, typer.Option(help="Tell apart by this (repeatable).")]
_AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@usage.callback()
def show_usage(  # noqa: PLR0913 - a command has as many parameters as options
    context: typer.Context,
    *,
    by: _By = None,
    start: From = None,
    end: To = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Show how long half of them, and 95 of 100, took; JSON always has it.")
    ] = False,
    as_csv: _AsCsv = False,
    as_json: _AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Show what was used."""
    if context.invoked_subcommand is not None:
        return
    form = _form("usage", as_csv=as_csv, as_json=as_json)
    _show(by or [By.model], start, end, form, url, admin_key, latency=latency or form == "json")


@usage.command()
def reconcile(  # noqa: PLR0913 - a command has as many parameters as options
    file: Annotated[Path, typer.Argument(help="A usage or costs export of a provider, CSV or JSON.", exists=True)],
    *,
    provider: Annotated[str | None, typer.Option(help="Whose export it is, by its name here.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Differences up to so many percent are none.")] = 0,
    as_json: _AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Compare what a provider has counted with what was counted here, by day and model.

    The file has what OpenAI's usage and costs APIs answer, or columns of these names. Exit code 0: no difference. 1:
    there are some.
    """
    from ai_gateway.cli.administration import reconciliation  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(
        url,
        admin_key,
        lambda api: reconciliation.reconcile(api, file, provider, tolerance, json=as_json),
    )


def costs(  # noqa: PLR0913 - a command has as many parameters as options
    *,
    by: _By = None,
    start: From = None,
    end: To = None,
    as_csv: _AsCsv = False,
    as_json: _AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
) -> None:
    """Show what was spent, by day by default."""
    _show(by or [By.day], start, end, _form("costs", as_csv=as_csv, as_json=as_json), url, admin_key)


def _form(table: str, *, as_csv: bool, as_json: bool) -> str:
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other: give one of them")
    return "csv" if as_csv else "json" if as_json else table


def _show(  # noqa: PLR0913, PLR0917 - what a command was given
    by: list[By],
    start: int | None,
    end: int | None,
    form: str,
    url: str | None,
    admin_key: str | None,
    *,
    latency: bool = False,
) -> None:
    from ai_gateway.cli.administration import usage as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    first = start if start is not None else moment("30d")
    if end is not None and end <= first:
        raise typer.BadParameter("--to has to be after --from, which is 30d unless it is given")
    run(url, admin_key, lambda api: work.show(api, [str(each) for each in by], first, end, form, latency=latency))
