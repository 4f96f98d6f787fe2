"""`serve`: start the gateway."""

from ai_gateway.cli.options import Host, LogLevel, Port, Workers


def serve(host: Host = None, port: Port = None, log_level: LogLevel = None, workers: Workers = None) -> None:
    """Start the gateway, set up by the environment, .env and gateway.toml: see `ai-gateway docs configuration`."""
    from ai_gateway.cli.starting import start  # noqa: PLC0415 - help must not pay for it

    start(host=host, port=port, log_level=log_level, workers=workers)
