"""`openapi`: the contract as a gateway with this configuration serves it."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer

from ai_gateway.api.gateway.docs import document
from ai_gateway.app.application import Application
from ai_gateway.cli.problems import print_problems
from ai_gateway.cli.starting import built
from ai_gateway.contract.as_yaml import as_yaml

openapi = typer.Typer(no_args_is_help=True, help="The OpenAPI document of this gateway.")


@openapi.callback()
def _group() -> None:
    """The OpenAPI document of this gateway."""


@openapi.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to write it [standard output].")] = None,
    *,
    yaml: Annotated[bool, typer.Option("--yaml", help="Write YAML instead of JSON.")] = False,
) -> None:
    """Write the document that /openapi.json serves with this configuration.

    Exit code 0: written. 1: the file cannot be. 2: the configuration cannot be used.
    """
    contract = asyncio.run(_contract(built(log_level="error")))
    content = as_yaml(contract).encode() if yaml else document(contract)
    if file is None:
        typer.echo(content, nl=False)
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        print_problems([f"{file}: cannot be written: {error.strerror}"])
        raise typer.Exit(1) from None


async def _contract(application: Application) -> dict[str, Any]:
    """The contract after the store is read: with a stored key, callers need one."""
    async with aclosing(application):
        await application.start()
        return application.parts.contract
