"""`models`: the models of a gateway with this configuration."""

from typing import Annotated

import typer


def models(*, as_json: Annotated[bool, typer.Option("--json", help="Print what /v1/models answers.")] = False) -> None:
    """Print the models that a gateway with this configuration shows at /v1, and who answers for each.

    Exit code 0: every provider listed its models. 1: some did not. 2: the configuration cannot be used.
    """
    from ai_gateway.cli.listed_models import print_models  # noqa: PLC0415 - help must not pay for it

    print_models(as_json=as_json)
