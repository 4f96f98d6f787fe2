"""What `openapi export` writes: the contract as a gateway with this configuration serves it."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import typer

from ai_gateway.api.gateway.docs import document
from ai_gateway.app.application import Application
from ai_gateway.cli.problems import print_problems
from ai_gateway.cli.starting import built
from ai_gateway.contract.as_yaml import as_yaml


def export(file: Path | None, *, yaml: bool) -> None:
    """Write it to the file, or to standard output. Raises typer.Exit if that cannot be."""
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
