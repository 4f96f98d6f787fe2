"""`serve`: start the gateway."""

import asyncio
import socket
from functools import partial
from typing import Annotated

import typer

from ai_gateway.accounts.entities import ApiKey
from ai_gateway.api.access import is_loopback
from ai_gateway.app.application import Application
from ai_gateway.app.build import build
from ai_gateway.app.configuration import configure, read_configuration
from ai_gateway.app.local_administration import has_stored_keys
from ai_gateway.cli.problems import print_problems
from ai_gateway.config.constants import VERSION
from ai_gateway.config.problems import SettingsError, attempt
from ai_gateway.config.settings import Settings
from ai_gateway.config.sources import read_settings, read_sources
from ai_gateway.observability.output import Output
from ai_gateway.routing.registry import BUILT_IN
from ai_gateway.server.certificate import certificate_of
from ai_gateway.server.run import bind, run


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [SERVICE_HOST, default 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any [SERVICE_PORT, default 9000].")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [LOG_LEVEL].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve [WORKERS, default 1].")] = None,
) -> None:
    """Start the gateway, set up by the environment, .env and gateway.toml: see `ai-gateway docs configuration`."""
    values = {"service_host": host, "service_port": port, "log_level": log_level, "workers": workers}
    options = {name: value for name, value in values.items() if value is not None}
    sources = read_sources(**options)
    problems: list[str] = []
    settings = attempt(problems, lambda: read_settings(sources))
    configuration = attempt(problems, lambda: configure(settings or Settings(), sources))
    keys = configuration.keys if configuration is not None else ()
    certificate = attempt(problems, lambda: certificate_of(settings)) if settings else None
    sock = attempt(problems, lambda: _bind(settings, bool(keys))) if settings else None
    application = None
    if configuration and not problems:
        application = attempt(problems, lambda: build(configuration, partial(read_configuration, **options)))
    if application is None or sock is None:
        print_problems(problems)
        raise typer.Exit(2)
    run(application, sock, partial(_banner, application), certificate)


def _bind(settings: Settings, has_keys: bool) -> socket.socket:
    """Listen. Without keys, only this machine may reach the gateway, unless its operator says otherwise."""
    is_private = settings.allow_anonymous or settings.service_socket is not None or is_loopback(settings.service_host)
    if not (has_keys or is_private or asyncio.run(has_stored_keys(settings))):
        raise SettingsError(
            [
                f"ALLOWED_API_KEYS: needed to listen on {settings.service_host}, which others can reach: set it, "
                "make a key with `ai-gateway keys create NAME`, or set ALLOW_ANONYMOUS=true, or listen on 127.0.0.1"
            ]
        )
    return bind(settings)


def _banner(application: Application, port: int) -> None:
    settings = application.settings
    url, where, options = _address(settings, port)
    registry = application.gateway.registry
    names = [f"{name} ({'built in' if name == BUILT_IN else 'configured'})" for name in registry.names]
    auth = ["-H 'Authorization: Bearer <key>'"] if application.parts.access.keys else []
    body = '{"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}'
    curl = " ".join(
        [
            "curl",
            *options,
            f"{url}/custom/v1/chat/completions",
            *auth,
            "-H 'Content-Type: application/json'",
            f"-d '{body}'",
        ]
    )
    lines = [
        f"Universal AI Gateway {VERSION}",
        f"  listening  {url} (on {where})",
        f"  docs       {url}/docs" if settings.enable_docs else "  docs       off",
        f"  providers  {', '.join(names) or 'none: set a key or a base URL'}",
        *([f"  workers    {settings.workers}"] if settings.workers > 1 else []),
        f"  keys       {_keys(application)}",
        *_data(application),
        *([f"  try        {curl}"] if BUILT_IN in registry else []),
    ]
    Output(1).add("".join([f"{line}\n" for line in lines]).encode())  # to say so must not be what ends or stops it


def _address(settings: Settings, port: int) -> tuple[str, str, list[str]]:
    """The URL of this gateway, where it listens, and what else curl has to be told."""
    scheme = "http" if settings.ssl_certfile is None else "https"
    insecure = ["--insecure"] if settings.ssl_certfile is not None else []
    if settings.service_socket is not None:
        return (
            f"{scheme}://localhost",
            str(settings.service_socket),
            [*insecure, f"--unix-socket {settings.service_socket}"],
        )
    host = settings.service_host if ":" not in settings.service_host else f"[{settings.service_host}]"
    reached = "127.0.0.1" if host in {"0.0.0.0", "[::]"} else host  # noqa: S104 - shown, not bound
    return f"{scheme}://{reached}:{port}", settings.service_host, insecure


def _keys(application: Application) -> str:
    settings, directory = application.settings, application.parts.accounts.directory
    if application.parts.access.keys:
        configured = len(application.parts.configured_keys)
        stored = sum(key.deleted_at is None for key in directory.all(ApiKey)) if directory is not None else 0
        counts = [f"{configured} configured"] * bool(configured) + [f"{stored} stored"] * bool(stored or not configured)
        return f"required ({', '.join(counts)})"
    is_private = settings.service_socket is not None or is_loopback(settings.service_host)
    where = "this machine only" if is_private else "anybody who can reach this address"
    place = application.parts.accounts.place
    advice = " (make one: ai-gateway keys create NAME)" if place is not None and place.is_kept else ""
    return f"not required: open to {where}{advice}"


def _data(application: Application) -> list[str]:
    """Where data is kept, and how it is administered."""
    accounts = application.parts.accounts
    directory = accounts.directory
    if directory is None or accounts.place is None:
        return ["  data       none is kept (STORE_URL=off)"]
    if accounts.place.is_kept:
        return [
            f"  data       {directory.store.name}",
            "  administer ai-gateway keys, projects, limits, budget: on this machine, or with --url",
        ]
    return [
        "  data       in memory only: lost when the gateway stops",
        "  administer ai-gateway keys ... --url, with the key in ADMIN_API_KEY",
    ]
