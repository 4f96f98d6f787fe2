"""`init`: writes an initial gateway.toml and .env."""

from typing import Annotated

import typer


def init(
    *, force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False
) -> None:
    """Write a commented gateway.toml and .env into this directory. As they are, they change nothing.

    Exit code 0: written. 1: one of them is there already, or cannot be written.
    """
    from ai_gateway.cli.first_files import write_first_files  # noqa: PLC0415 - help must not pay for it

    write_first_files(force=force)
