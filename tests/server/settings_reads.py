"""A program for test_restart_marks: serve, change every setting in a reload, and report who reads what.

Prints one JSON object: the settings that some code read at the start and the same code did not read again in the
reload, each with that code; and whether the settings of the start are still in use after the reload.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, override

from ai_gateway.app.application import Application
from ai_gateway.app.build import build
from ai_gateway.app.configuration import Configuration, configure
from ai_gateway.config.settings import (
    KeySettings,
    ProviderSettings,
    RouteSettings,
    Settings,
)
from ai_gateway.config.sources import Sources
from ai_gateway.config.tables import McpSettings, PriceSettings
from ai_gateway.server.certificate import certificate_of
from ai_gateway.server.run import bind, run

type Read = tuple[str, str]
START: dict[str, Any] = {
    "custom_provider": False,
    "service_port": 0,
    "log_level": "error",
    "log_format": "console",
    "store_url": "memory",
}
reads: set[Read] = set()


class RecordedSettings(Settings):
    """Settings that record which function reads which of them."""

    @override
    def __getattribute__(self, name: str) -> Any:
        if name in Settings.model_fields:
            reads.add((name, sys._getframe(1).f_code.co_qualname))
        return super().__getattribute__(name)


def changed(home: Path) -> dict[str, Any]:
    """Another valid value for every setting."""
    (home / "aliases.json").write_text('{"short": "long"}', encoding="utf-8")
    lab = ProviderSettings(base_url="http://127.0.0.1:9/v1", request_timeout_s=7)
    return {
        "service_host": "127.0.0.2",
        "service_port": 9001,
        "service_socket": home / "gateway.sock",
        "ssl_certfile": home / "tls.crt",
        "ssl_keyfile": home / "tls.key",
        "log_level": "warning",
        "allowed_api_keys": ["k"],
        "admin_api_key": ["a"],
        "keys": {"alice": KeySettings(digest=64 * "0", project="default")},
        "store_url": "sqlite:///" + str(home / "gateway.db"),
        "valkey_url": "redis://127.0.0.1:9/1",
        "gateway_data_dir": home / "data",
        "journal_max_size": 2**21,
        "journal_full": "refuse",
        "records_keep_days": 31,
        "sealing_key": "s",
        "responses_keep_days": 32,
        "responses_max_size": 2**22,
        "tool_rounds_max": 3,
        "tool_calls_max": 4,
        "tool_timeout_s": 5,
        "tool_result_max_size": 1_000,
        "tool_web_search": "tavily",
        "tool_web_search_url": "http://127.0.0.1:9/search",
        "tool_web_search_api_key": "tvly-key",
        "tool_web_search_results_max": 3,
        "tool_web_fetch": True,
        "tool_web_fetch_networks": "10.20.0.0/16",
        "tool_code_execution": "monty",
        "tool_code_timeout_s": 2,
        "tool_code_memory_size": 2**24,
        "tool_code_processes": 2,
        "tool_memory": True,
        "tool_memory_entries_max": 7,
        "tool_memory_max_size": 2_000,
        "mcp": {"lab": McpSettings(url="http://127.0.0.1:9/mcp")},
        "unpriced": "flag",
        "wrong_keys_per_minute": 7,
        "limits_outage": "open",
        "replicas": 3,
        "output_tokens_bound": 4_000,
        "input_tokens_bound": 40_000,
        "smtp_url": "smtp://user:password@127.0.0.1:9",
        "smtp_from": "gateway@example.com",
        "allow_anonymous": True,
        "request_timeout_s": 11,
        "connect_timeout_s": 12,
        "stream_idle_timeout_s": 13,
        "stream_timeout_s": 14,
        "max_retries": 1,
        "retry_refusals": "408,429",
        "retry_after_max_s": 15,
        "breaker_threshold": 16,
        "breaker_window_s": 17,
        "breaker_pause_s": 18,
        "breaker_per_model": True,
        "body_timeout_s": 19,
        "request_max_size": 20_000,
        "bodies_max_size": 21_000,
        "max_in_flight": 22,
        "custom_provider": True,
        "custom_pace_ms": 2,
        "provider_max_in_flight": 7,
        "first_byte_s": 3,
        "reply_max_size": 22_000,
        "event_max_size": 23_000,
        "grace_period_s": 23,
        "drain_delay_s": 0.5,
        "workers": 2,
        "enable_docs": False,
        "docs_require_key": True,
        "log_format": "json",
        "log_bodies": "errors",
        "webhook_addresses": "public",
        "log_bodies_file": home / "bodies.jsonl",
        "log_bodies_max_size": 26_000,
        "otel_exporter_otlp_endpoint": "http://127.0.0.1:9",
        "otel_exporter_otlp_headers": "x-tenant=a",
        "otel_service_name": "another",
        "otel_traces_sampler": "traceidratio",
        "otel_traces_sampler_arg": 0.5,
        "otel_bsp_schedule_delay": 27,
        "otel_instrumentation_genai_capture_message_content": True,
        "health_check_timeout_s": 1.5,
        "trusted_proxies": "10.0.0.0/8",
        "enable_metrics": False,
        "metrics_path": "/numbers",
        "metrics_require_key": True,
        "enable_security_headers": False,
        "cors_origins": "*",
        "conformance": "observe",
        "provider_conformance": {"lab": "enforce"},
        "unknown_params": "drop",
        "disable_ssl_verification": True,
        "fetch_images": True,
        "providers": {"lab": lab},
        "default_model": "lab/m",
        "model_mapping_file": home / "aliases.json",
        "aliases": {"other": "lab/m"},
        "routes": {"safe": RouteSettings(targets=["lab/a", "lab/b"])},
        "prices": {"lab/m": PriceSettings.model_validate({"input": 1, "output": 2})},
        "model_list_url": "http://127.0.0.1:9/models.json",
        "model_list_api_key": "list-key",
        "model_list_refresh_s": 24,
        "model_list_cache": home / "list.json",
        "model_cache_ttl_s": 25,
    }


def recorded(values: dict[str, Any]) -> Configuration:
    return configure(RecordedSettings(**values), Sources())


async def reload(application: Application) -> dict[str, Any]:
    """What the start alone has read, and whether anything still has its settings."""
    at_start = set(reads)
    former = weakref.ref(application.settings)
    reads.clear()
    problems = (await application.reload()).problems
    built_in: dict[str, list[str]] = {}
    for name, reader in sorted(at_start - reads):
        built_in.setdefault(name, []).append(reader)
    gc.unfreeze()
    gc.collect()
    return {"problems": problems, "built_in": built_in, "still_in_use": former() is not None}


def serve(application: Application, sock: socket.socket) -> None:
    tasks: set[asyncio.Task[None]] = set()

    async def report() -> None:
        try:
            sys.stdout.write(json.dumps(await reload(application)))
            sys.stdout.flush()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def begin(_: int) -> None:
        tasks.add(asyncio.get_running_loop().create_task(report()))

    run(application, sock, begin, certificate_of(application.settings))


def start(read: Callable[[], Configuration]) -> tuple[Application, socket.socket]:
    application = build(recorded(START), read)
    return application, bind(application.settings)


def main() -> None:
    values = changed(Path(sys.argv[1]))
    assert values.keys() == Settings.model_fields.keys(), "every setting needs another value here"
    default = Settings(**START).model_dump()
    assert not [name for name, value in Settings(**values).model_dump().items() if value == default[name]]
    serve(*start(lambda: recorded(values)))


if __name__ == "__main__":
    main()
