"""Start of the gateway, and loading of its configuration for `serve` and for commands that check it."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import typer

from ai_gateway.api.access import is_loopback
from ai_gateway.app.application import Application
from ai_gateway.app.build import build
from ai_gateway.app.configuration import Configuration, configure, read_configuration
from ai_gateway.app.local_administration import has_stored_keys
from ai_gateway.cli.banner import print_banner
from ai_gateway.cli.problems import print_problems
from ai_gateway.config.problems import SettingsError, attempt
from ai_gateway.config.settings import Settings
from ai_gateway.config.sources import Sources, read_settings, read_sources
from ai_gateway.server.certificate import Certificate, certificate_of
from ai_gateway.server.run import bind, run


@dataclass(frozen=True, slots=True)
class Loaded:
    """The valid parts of the configuration."""

    options: Mapping[str, object]
    sources: Sources
    settings: Settings | None
    configuration: Configuration | None
    certificate: Certificate | None

    @property
    def has_keys(self) -> bool:
        """Whether the configuration has keys."""
        return self.configuration is not None and bool(self.configuration.keys)

    def application(self, problems: list[str]) -> Application | None:
        """The application; None if there are problems."""
        configuration = self.configuration
        if configuration is None or problems:
            return None
        return attempt(problems, lambda: build(configuration, partial(read_configuration, **self.options)))


def load(
    problems: list[str], *, host: str | None, port: int | None, log_level: str | None, workers: int | None
) -> Loaded:
    """Read every source, with these options of the command line; invalid parts are added to the problems."""
    values = {"service_host": host, "service_port": port, "log_level": log_level, "workers": workers}
    options = {name: value for name, value in values.items() if value is not None}
    sources = read_sources(**options)
    settings = attempt(problems, lambda: read_settings(sources))
    configuration = attempt(problems, lambda: configure(settings or Settings(), sources))
    certificate = attempt(problems, lambda: certificate_of(settings)) if settings else None
    return Loaded(options, sources, settings, configuration, certificate)


def require_keys(settings: Settings, *, has_keys: bool) -> None:
    """Require keys on addresses that other machines can reach, unless ALLOW_ANONYMOUS is set."""
    is_private = settings.allow_anonymous or settings.service_socket is not None or is_loopback(settings.service_host)
    if not (has_keys or is_private or asyncio.run(has_stored_keys(settings))):
        raise SettingsError(
            [
                f"ALLOWED_API_KEYS: needed to listen on {settings.service_host}, which others can reach: set it, "
                "make a key with `ai-gateway keys create NAME`, or set ALLOW_ANONYMOUS=true, or listen on 127.0.0.1"
            ]
        )


def built(**options: object) -> Application:
    """The application for a command that does not serve. Exits with code 2 if there are problems."""
    try:
        return build(read_configuration(**options))
    except SettingsError as error:
        print_problems(error.problems)
        raise typer.Exit(2) from None


def start(*, host: str | None, port: int | None, log_level: str | None, workers: int | None) -> None:
    """Serve until stopped. Exits with code 2 if there are problems."""
    problems: list[str] = []
    loaded = load(problems, host=host, port=port, log_level=log_level, workers=workers)
    settings = loaded.settings
    sock = attempt(problems, lambda: _bind(settings, has_keys=loaded.has_keys)) if settings else None
    application = loaded.application(problems)
    if application is None or sock is None:
        print_problems(problems)
        raise typer.Exit(2)
    run(application, sock, partial(print_banner, application), loaded.certificate)


def _bind(settings: Settings, *, has_keys: bool) -> socket.socket:
    require_keys(settings, has_keys=has_keys)
    return bind(settings)
