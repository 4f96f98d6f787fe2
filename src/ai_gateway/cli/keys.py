"""`keys`: create, show, rotate and revoke keys."""

from pathlib import Path
from typing import Annotated

import typer

from ai_gateway.cli.options import (
    AdminKey,
    AsJson,
    Budget,
    Expires,
    Interval,
    Models,
    Per,
    Project,
    Url,
    Zone,
    count,
    seconds,
)

keys = typer.Typer(no_args_is_help=True, help="Keys of callers and administrators: made, shown, replaced, revoked.")

_Which = Annotated[str, typer.Argument(metavar="KEY", help="Its owner's name, its id, or the key itself.")]


@keys.command()
def create(  # noqa: PLR0913 - a command has as many parameters as options
    name: Annotated[str, typer.Argument(help="Whose key it is: a person or program.")],
    *,
    project: Project = None,
    expires: Expires = None,
    rpm: Annotated[int | None, typer.Option(parser=count, metavar="N", help="Requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(parser=count, metavar="N", help="Tokens a minute.")] = None,
    rpd: Annotated[int | None, typer.Option(parser=count, metavar="N", help="Requests a day.")] = None,
    parallel: Annotated[int | None, typer.Option(parser=count, metavar="N", help="Requests at once.")] = None,
    budget: Budget = None,
    per: Per = None,
    zone: Zone = None,
    models: Models = None,
    admin: Annotated[bool, typer.Option("--admin", help="A key that administers, and calls no models.")] = False,
    url: Url = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and show it this once."""
    from ai_gateway.cli.administration import keys as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.limits_of import Limits  # noqa: PLC0415
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    if budget is None and (per is not None or zone is not None):
        raise typer.BadParameter("--per and --zone are of a budget: give --budget as well")
    limits = Limits(rpm, tpm, rpd, parallel, budget, per or Interval.month, zone, models)
    if not admin:
        run(url, admin_key, lambda api: work.create(api, name, project, expires, limits, json=as_json))
        return
    if project is not None or limits != Limits():
        raise typer.BadParameter("an administrator's key is in no project and has no limits")
    run(url, admin_key, lambda api: work.create_administrator(api, name, expires, json=as_json))


@keys.command("list")
def list_keys(*, project: Project = None, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False) -> None:
    """Show the keys, but not their values, which nobody has."""
    from ai_gateway.cli.administration import keys as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.show_list(api, project, json=as_json))


@keys.command()
def show(
    key: _Which, *, project: Project = None, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False
) -> None:
    """Show a key with its limits."""
    from ai_gateway.cli.administration import keys as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.show(api, key, project, json=as_json))


@keys.command()
def rotate(  # noqa: PLR0913 - a command has as many parameters as options
    key: _Which,
    *,
    grace: Annotated[
        int, typer.Option(parser=seconds, metavar="TIME", help="How long the former key works on, 0s for no longer.")
    ] = "24h",  # type: ignore[assignment] # read by the parser
    expires: Expires = None,
    project: Project = None,
    url: Url = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a key that replaces another, with its owner and limits."""
    from ai_gateway.cli.administration import keys as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.rotate(api, key, project, grace, expires, json=as_json))


@keys.command()
def revoke(
    key: _Which, *, project: Project = None, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False
) -> None:
    """End a key, or every key of an owner: it is refused from the next second on."""
    from ai_gateway.cli.administration import keys as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.revoke(api, key, project, json=as_json))


@keys.command("import")
def import_keys(  # noqa: PLR0913 - a command has as many parameters as options
    file: Annotated[Path, typer.Argument(help="Owners, a line each, or CSV or JSON: see `ai-gateway docs accounts`.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Write the new keys to this CSV file, which only you can read.")
    ] = None,
    project: Project = None,
    url: Url = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make keys for many owners at once, or take over keys that they have already.

    Who has a key in the project keeps it: the same file can be imported again.
    """
    from ai_gateway.cli.administration import imports as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.import_keys(api, file, project, out, json=as_json))
