"""The tracer and the log of bodies, as configured."""

import asyncio
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ai_gateway.accounts.retention import may_keep_content
from ai_gateway.app.accounts import Accounts
from ai_gateway.config.constants import data_dir
from ai_gateway.config.fields import header_pairs
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.contract.captured import Capturing
from ai_gateway.middleware.body_log import BodyLog
from ai_gateway.middleware.watching import Watching
from ai_gateway.observability.body_file import BodyFile
from ai_gateway.observability.collector import Collector
from ai_gateway.redaction import remember

if TYPE_CHECKING:
    from ai_gateway.middleware.tracing import Tracing

_BODIES = "bodies.jsonl"
_log = structlog.get_logger(__name__)


class Watchers:
    """The tracer, if there is one, and the log of bodies. Raises SettingsError for invalid settings."""

    def __init__(self, settings: Settings, accounts: Accounts) -> None:
        permits = partial(_may_keep, accounts)
        self._path = _path_of(settings, accounts)
        self._bodies = BodyLog(BodyFile(self._path or Path(_BODIES)), permits)
        self._tracing = _tracing(settings, permits)
        self._capturing = Capturing(settings.log_bodies_max_size)
        observers = [self._bodies, *([self._tracing] if self._tracing is not None else [])]
        self.watching = Watching(self._tracing, self._capturing, observers)
        if self._tracing is not None:
            accounts.traced = self._tracing.background

    def check(self, settings: Settings) -> None:
        """Raise SettingsError if there is no directory for bodies."""
        if settings.log_bodies != "off" and self._path is None:
            raise SettingsError(["LOG_BODIES: there is no place for them: set LOG_BODIES_FILE, or GATEWAY_DATA_DIR"])

    def apply(self, settings: Settings) -> None:
        """Apply these settings, except those that need a restart."""
        if settings.log_bodies not in {"off", self._bodies.which}:
            _log.warning(
                "bodies of requests and replies are written down, where data retention allows it",
                which=settings.log_bodies,
                file=str(self._path),
            )
        self._bodies.which = settings.log_bodies
        of_traces = self._tracing is not None and self._tracing.content
        self.watching.apply(bodies=of_traces or settings.log_bodies != "off")

    def start(self) -> None:
        """Start, in the process that serves."""
        if self._tracing is not None:
            self._tracing.start()

    async def aclose(self) -> None:
        """Write and send pending data, within seconds."""
        await asyncio.to_thread(self._bodies.close)
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)


def _may_keep(accounts: Accounts, project_id: str) -> bool:
    return may_keep_content(accounts.directory, project_id)


def _path_of(settings: Settings, accounts: Accounts) -> Path | None:
    """The file for bodies; None for none."""
    if settings.log_bodies_file is not None:
        return settings.log_bodies_file
    directory = settings.gateway_data_dir or (accounts.place.directory if accounts.place else None) or data_dir()
    return directory / _BODIES if directory is not None else None


def _tracing(settings: Settings, permits: Callable[[str], bool]) -> "Tracing | None":
    """The tracer, or None. Its settings are validated in either case, since enabling it takes a restart."""
    endpoint = settings.otel_exporter_otlp_endpoint
    secret = settings.otel_exporter_otlp_headers
    headers = header_pairs(secret.get_secret_value()) if secret is not None else {}
    collector = Collector(
        endpoint or "",
        headers,
        {"service.name": settings.otel_service_name},
        settings.otel_traces_sampler,
        settings.otel_traces_sampler_arg,
        settings.otel_bsp_schedule_delay / 1000,
    )
    content = settings.otel_instrumentation_genai_capture_message_content
    if endpoint is None:
        return None
    if any(find_spec(module) is None for module in ("opentelemetry", "opentelemetry.exporter")):
        raise SettingsError(["OTEL_EXPORTER_OTLP_ENDPOINT takes an extra: pip install 'universal-ai-gateway[otel]'"])
    from ai_gateway.middleware.tracing import Tracing  # noqa: PLC0415 - an extra

    remember(*headers.values())
    return Tracing(collector, permits, content=content, most=settings.log_bodies_max_size)
