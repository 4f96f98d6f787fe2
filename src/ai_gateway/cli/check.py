"""`check`: shows the effective configuration, and checks that the providers respond."""

from typing import Annotated

import typer

from ai_gateway.cli.options import Host, LogLevel, Port, Workers


def check(
    host: Host = None,
    port: Port = None,
    log_level: LogLevel = None,
    workers: Workers = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no provider.")] = False,
) -> None:
    """Print what `serve` would start with and where each setting comes from, and ask each provider for its models.

    Exit code 0: all is well. 1: a provider did not answer. 2: the configuration cannot be used.
    """
    from ai_gateway.cli import report  # noqa: PLC0415 - help must not pay for it

    report.check(host=host, port=port, log_level=log_level, workers=workers, offline=offline)
