"""`memories`: the memories that models have saved for a key, a project or an end user."""

from typing import Annotated

import typer

from ai_gateway.cli.options import AdminKey, Key, Project, Url

memories = typer.Typer(no_args_is_help=True, help="What models have saved with the tool `memory`.")

_Subject = Annotated[
    str | None, typer.Option(metavar="SUBJECT", help="An end user, as callers have named it.", show_default=False)
]


@memories.command()
def export(
    *, key: Key = None, project: Project = None, subject: _Subject = None, url: Url = None, admin_key: AdminKey = None
) -> None:
    """Print memories, of all or of those that are of each one that is named, as one JSON object a line."""
    from ai_gateway.cli.administration import memories as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.export(api, key, project, subject))


@memories.command()
def delete(
    *, key: Key = None, project: Project = None, subject: _Subject = None, url: Url = None, admin_key: AdminKey = None
) -> None:
    """Delete the memories that are of each one that is named; one has to be."""
    from ai_gateway.cli.administration import memories as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    if key is None and project is None and subject is None:
        raise typer.BadParameter("say whose memories: --key, --project or --subject")
    run(url, admin_key, lambda api: work.delete(api, key, project, subject))
