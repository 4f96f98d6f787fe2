"""`store`: maintenance of the store."""

from typing import Annotated

import typer

from ai_gateway.cli.options import seconds
from ai_gateway.cli.usage import From, To

store = typer.Typer(no_args_is_help=True, help="The store: migrate, check, export, prune, rebuild.")


@store.command()
def migrate() -> None:
    """Bring the schema of the store up to date, before gateways of this version are started.

    Needed for PostgreSQL only: a gateway does it by itself with SQLite. Gateways of the version before go on running.
    """
    from ai_gateway.cli.administration import store as work  # noqa: PLC0415 - `serve` must not pay for it

    work.migrate()


@store.command()
def check() -> None:
    """Check that the sums are those of the records, and show what is in the store and waits in journals.

    Exit code 0: all is well. 1: sums differ, which `rebuild` mends.
    """
    from ai_gateway.cli.administration import store as work  # noqa: PLC0415 - `serve` must not pay for it

    work.on_store(work.check)


@store.command()
def export(
    *,
    start: From = None,
    end: To = None,
) -> None:
    """Print the records of single requests, the newest first, as one JSON object a line."""
    from ai_gateway.cli.administration import store as work  # noqa: PLC0415 - `serve` must not pay for it

    work.on_store(lambda opened: work.export(opened, start, end))


@store.command()
def prune(
    older_than: Annotated[int, typer.Option(parser=seconds, metavar="TIME", help="Such as 90d.")],
) -> None:
    """Delete records of single requests that are older, by whole days. Sums of usage and costs stay."""
    from ai_gateway.cli.administration import store as work  # noqa: PLC0415 - `serve` must not pay for it

    work.on_store(lambda opened: work.prune(opened, older_than))


@store.command()
def rebuild() -> None:
    """Make the sums of usage and costs again from the records that are there."""
    from ai_gateway.cli.administration import store as work  # noqa: PLC0415 - `serve` must not pay for it

    work.on_store(work.rebuild)
