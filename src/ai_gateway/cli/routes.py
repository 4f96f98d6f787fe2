"""`routes`: aliases and routes, with their targets."""

from collections.abc import Iterator
from typing import Annotated

import typer

from ai_gateway.app.configuration import Configuration, read_configuration
from ai_gateway.cli.problems import print_problems
from ai_gateway.config.problems import SettingsError
from ai_gateway.providers.config.upstreams import unconfigured_hint
from ai_gateway.routing.registry import BUILT_IN

type _Row = tuple[str, str, str, str]


def routes(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the aliases and routes of this configuration, their targets, and which of those are configured here.

    Exit code 0: printed. 2: the configuration cannot be used.
    """
    from ai_gateway.cli.administration import show  # noqa: PLC0415 - `serve` must not pay for it

    try:
        configuration = read_configuration()
    except SettingsError as error:
        print_problems(error.problems)
        raise typer.Exit(2) from None
    rows = list(_rows(configuration))
    columns = ("name", "kind", "target", "state")
    if as_json:
        show.as_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        show.table([column.upper() for column in columns], rows)
    else:
        show.note("no aliases or routes are configured: see `ai-gateway docs routing`")


def _rows(configuration: Configuration) -> Iterator[_Row]:
    rules = configuration.rules
    for name, target in rules.aliases.table.items():
        end = target if "*" in name else rules.aliases.follow(name)
        chain = target if end == target else f"{target} = {end}"
        yield name, "alias", chain, _state(configuration, end)
    for name, table in configuration.settings.routes.items():
        total = sum(table.weights or ())
        for at, target in enumerate(table.targets):
            share = f"weight {table.weights[at] / total:.0%}" if table.weights else f"{at + 1}"
            yield name, f"route, {share}", target, _state(configuration, target)
    if rules.default_model is not None:
        yield "(no model)", "default", rules.default_model, _state(configuration, rules.default_model)


def _state(configuration: Configuration, target: str) -> str:
    """Whether the target's provider is configured."""
    if target in configuration.settings.routes:
        return "a route"
    provider, slash, _ = target.partition("/")
    if not slash:
        return "whichever provider lists it"
    names = [upstream.name for upstream in configuration.upstreams]
    if provider in names or (provider == BUILT_IN and configuration.settings.custom_provider):
        return "configured"
    hint = configuration.missing.get(provider) or unconfigured_hint(provider)
    return f"not configured: {hint}" if hint else "whichever provider lists it"
