"""`limits` and `budget`: rate limits and budgets of keys, projects and the organization."""

from typing import Annotated

import typer

from ai_gateway.cli.options import AdminKey, AsJson, Interval, Key, Per, Project, Url, Zone, cents, number

limits = typer.Typer(no_args_is_help=True, help="How often a key or project may call, and which models.")
budget = typer.Typer(no_args_is_help=True, help="What a key, a project or all together may spend.")

_ONE_OF = "say whose limits: --key or --project"


@limits.command("set")
def set_limits(  # noqa: PLR0913 - a command has as many parameters as options
    *,
    key: Key = None,
    project: Project = None,
    model: Annotated[
        str | None, typer.Option(help="Limit a project's calls of this model only.", show_default=False)
    ] = None,
    rpm: Annotated[str | None, typer.Option(metavar="N", help="Requests a minute, or none.")] = None,
    tpm: Annotated[str | None, typer.Option(metavar="N", help="Tokens a minute, or none.")] = None,
    rpd: Annotated[str | None, typer.Option(metavar="N", help="Requests a day, or none.")] = None,
    parallel: Annotated[str | None, typer.Option(metavar="N", help="Requests at once, or none.")] = None,
    models: Annotated[
        str | None, typer.Option(metavar="MODELS", help="Models that may be called, between commas, or all.")
    ] = None,
    url: Url = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of a key or project. What is not named stays as it is."""
    from ai_gateway.cli.administration import limits as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    if key is None and project is None:
        raise typer.BadParameter(_ONE_OF)
    if key is not None and model is not None:
        raise typer.BadParameter("--model is for projects: the limits of a key count all models together")
    given = {"rpm": rpm, "tpm": tpm, "rpd": rpd, "parallel": parallel}
    rates = {name: number(value) for name, value in given.items() if value is not None}
    if not rates and models is None:
        raise typer.BadParameter("say what to set: --rpm, --tpm, --rpd, --parallel or --models")
    run(url, admin_key, lambda api: work.set_limits(api, key, project, model, rates, models, json=as_json))


@limits.command("show")
def show_limits(
    *, key: Key = None, project: Project = None, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False
) -> None:
    """Show the limits of a key or project."""
    from ai_gateway.cli.administration import limits as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    if key is None and project is None:
        raise typer.BadParameter(_ONE_OF)
    run(url, admin_key, lambda api: work.show_limits(api, key, project, json=as_json))


@budget.command("set")
def set_budget(  # noqa: PLR0913 - a command has as many parameters as options
    amount: Annotated[int, typer.Argument(parser=cents, metavar="USD", help="Such as 5.00.")],
    *,
    per: Per = None,
    zone: Zone = None,
    key: Key = None,
    project: Project = None,
    url: Url = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Set what may be spent in an interval: by a key, by a project, or without either by all together."""
    from ai_gateway.cli.administration import budgets as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(
        url,
        admin_key,
        lambda api: work.set_budget(api, key, project, amount, per or Interval.month, zone, json=as_json),
    )


@budget.command("show")
def show_budgets(
    *, key: Key = None, project: Project = None, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False
) -> None:
    """Show the budget of a key or project, or all that there are."""
    from ai_gateway.cli.administration import budgets as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.show_budgets(api, key, project, json=as_json))


@budget.command("clear")
def clear_budget(
    *, key: Key = None, project: Project = None, url: Url = None, admin_key: AdminKey = None, as_json: AsJson = False
) -> None:
    """Take a budget away: of a key, of a project, or without either of all together."""
    from ai_gateway.cli.administration import budgets as work  # noqa: PLC0415 - `serve` must not pay for it
    from ai_gateway.cli.administration.show import run  # noqa: PLC0415

    run(url, admin_key, lambda api: work.clear_budget(api, key, project, json=as_json))
