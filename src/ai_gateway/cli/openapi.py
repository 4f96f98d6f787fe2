"""`openapi`: the contract as a gateway with this configuration serves it."""

from pathlib import Path
from typing import Annotated

import typer

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
    from ai_gateway.cli import document  # noqa: PLC0415 - help must not pay for it

    document.export(file, yaml=yaml)
