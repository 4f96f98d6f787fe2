"""`reload`: have a running gateway read its configuration again."""

from typing import Annotated

import typer


def reload(
    port: Annotated[int | None, typer.Option(help="Port of the gateway, if several run.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address it listens on, or path of its socket, if several have one port.")
    ] = None,
) -> None:
    """Have a running gateway read its configuration again, say what came of it; streams go on.

    Exit code 0: taken over. 1: no gateway of yours runs there, or it did not answer. 2: its configuration cannot be
    used, and it goes on with what it has.
    """
    from ai_gateway.server import reload_command  # noqa: PLC0415 - the start of the gateway must not pay for it

    raise typer.Exit(reload_command.reload(port, host))
