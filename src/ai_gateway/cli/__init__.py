"""`ai-gateway`: the command line, with a module for each subject.

What a command needs is imported when it runs: the gateway takes a second to import, and help and completion need none
of it.
"""

import os
from typing import Annotated, override

import typer
from typer.core import TyperGroup

from ai_gateway.cli.commands import chat, check, init, models, probe, reload, routes, serve
from ai_gateway.cli.docs import docs
from ai_gateway.cli.keys import keys
from ai_gateway.cli.limits import budget, limits
from ai_gateway.cli.memories import memories
from ai_gateway.cli.openapi import openapi
from ai_gateway.cli.projects import projects
from ai_gateway.cli.store import store
from ai_gateway.cli.usage import costs, usage
from ai_gateway.config.constants import CONFIG_VARIABLE, DOTENV_VARIABLE, VERSION


class Commands(TyperGroup):
    """All commands. Typer has pydantic convert what options are given, and would show its words."""

    @override
    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override] # Typer's own kind of context
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError  # noqa: PLC0415 - help must not pay for it

            from ai_gateway.config.validation import first_problem  # noqa: PLC0415

            if isinstance(error.__cause__, ValidationError):
                error.message = first_problem(error.__cause__)
            raise


app = typer.Typer(
    name="ai-gateway",
    cls=Commands,
    help="OpenAI's API in front of any LLM provider. Without configuration it serves a built-in, offline provider.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (serve, check, init, chat, models, routes, probe, reload, costs, docs):
    app.command()(_command)
for _name, _commands in (
    ("keys", keys),
    ("projects", projects),
    ("limits", limits),
    ("budget", budget),
    ("usage", usage),
    ("store", store),
    ("memories", memories),
    ("openapi", openapi),
):
    app.add_typer(_commands, name=_name)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    *,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"Read this instead of gateway.toml [{CONFIG_VARIABLE}].")
    ] = None,
    env_file: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"Read this instead of .env [{DOTENV_VARIABLE}].")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, help="Print the version.")] = False,  # noqa: ARG001 - its callback has printed it
) -> None:
    """OpenAI's API in front of any LLM provider."""
    for variable, file in ((CONFIG_VARIABLE, config), (DOTENV_VARIABLE, env_file)):
        if file is not None:
            os.environ[variable] = file  # which workers and reloads find too


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


def main() -> None:
    """Entry point of the console script."""
    app()
