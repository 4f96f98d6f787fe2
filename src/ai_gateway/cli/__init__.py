"""`ai-gateway`: the command line, with a module for each subject."""

from typing import Annotated

import typer

from ai_gateway.cli.docs import docs
from ai_gateway.cli.keys import keys
from ai_gateway.cli.limits import budget, limits
from ai_gateway.cli.models import models
from ai_gateway.cli.probe import probe
from ai_gateway.cli.projects import projects
from ai_gateway.cli.reload import reload
from ai_gateway.cli.serve import serve
from ai_gateway.cli.store import store
from ai_gateway.cli.usage import costs, usage
from ai_gateway.config.constants import VERSION

app = typer.Typer(
    name="ai-gateway",
    help="OpenAI's API in front of any LLM provider. Without configuration it serves a built-in, offline provider.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
for _command in (serve, probe, models, reload, costs, docs):
    app.command()(_command)
for _name, _commands in (
    ("keys", keys),
    ("projects", projects),
    ("limits", limits),
    ("budget", budget),
    ("usage", usage),
    ("store", store),
):
    app.add_typer(_commands, name=_name)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    *, version: Annotated[bool, typer.Option("--version", callback=_print_version, help="Print the version.")] = False
) -> None:
    """OpenAI's API in front of any LLM provider."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


def main() -> None:
    """Entry point of the console script."""
    app()
