"""`projects`: teams, whose keys share limits and budgets."""

from typing import Annotated

import typer

from ai_gateway.cli.options import AdminKey, AsJson, Url

projects = typer.Typer(no_args_is_help=True, help="Projects: teams, whose keys share limits and budgets.")

_Which = Annotated[str, typer.Argument(metavar="PROJECT", help="Its name or id.")]


@projects.command("list")
def list_projects(
    *,
    archived: Annotated[bool, typer.Option("--archived", help="Those that are archived too.")] = False,
    url: Url = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show the projects."""
    from ai_gateway.cli.administration import projects as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.show_list(api, archived=archived, json=as_json))


@projects.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    url: Url = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a project."""
    from ai_gateway.cli.administration import projects as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.create(api, name, json=as_json))


@projects.command()
def rename(project: _Which, name: str, *, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False) -> None:
    """Call a project by another name. Its id stays."""
    from ai_gateway.cli.administration import projects as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.rename(api, project, name, json=as_json))


@projects.command()
def archive(project: _Which, *, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False) -> None:
    """End a project for good: none of its keys works any longer, and its usage stays."""
    from ai_gateway.cli.administration import projects as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.archive(api, project, json=as_json))
