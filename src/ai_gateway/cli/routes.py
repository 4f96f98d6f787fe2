"""`routes`: aliases and routes, with their targets."""

from typing import Annotated

import typer


def routes(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the aliases and routes of this configuration, their targets, and which of those are configured here.

    Exit code 0: printed. 2: the configuration cannot be used.
    """
    from ai_gateway.cli.targets import print_targets  # noqa: PLC0415 - help must not pay for it

    print_targets(as_json=as_json)
