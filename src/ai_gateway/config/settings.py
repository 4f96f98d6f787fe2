"""Every setting: its type, bounds, default and meaning, and whether a reload applies it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ai_gateway.config.fields import (
    FILE_ONLY,
    LOWER_CASE,
    RESTART,
    SECRET,
    Digest,
    HeaderKey,
    Keys,
    Level,
    Limit,
    ListAddress,
    Mailbox,
    Mark,
    MetricsPath,
    Networks,
    Origins,
    PricedModel,
    Refusals,
    Seconds,
    ServerName,
    SmtpUrl,
    TimeZone,
)
from ai_gateway.config.tables import McpSettings, PriceSettings
from ai_gateway.config.telemetry import Telemetry

type UnknownParams = Literal["forward", "drop", "reject"]
type Conformance = Literal["repair", "enforce", "observe"]


class PerProvider(BaseModel):
    """Settings that a provider's table in gateway.toml can override for that provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_timeout_s: Annotated[Seconds, Field(description="seconds for a reply or a first chunk")] = 600.0
    connect_timeout_s: Annotated[Seconds, Field(description="seconds to connect to an upstream")] = 5.0
    stream_idle_timeout_s: Annotated[Seconds, Field(description="seconds between two chunks of a stream")] = 120.0
    stream_timeout_s: Annotated[Seconds, Field(description="seconds for a whole stream")] = 3600.0
    provider_max_in_flight: Annotated[
        int | None, Field(ge=1, description="requests in flight at one provider [three quarters of MAX_IN_FLIGHT]")
    ] = None
    reply_max_size: Annotated[int, Field(gt=0, description="largest reply of an upstream in bytes")] = 64 * 2**20
    event_max_size: Annotated[
        int, Field(gt=0, description="largest event or line of an upstream's stream in bytes")
    ] = 16 * 2**20
    conformance: Annotated[
        Conformance, Field(description="what to do with a provider's inexact replies: repair, enforce or observe")
    ] = "repair"
    unknown_params: Annotated[
        UnknownParams | None,
        Field(description="forward, drop or reject request fields that the contract does not name"),
        LOWER_CASE,
    ] = None
    disable_ssl_verification: Annotated[
        bool,
        Field(description="do not check the certificate of an upstream: anyone in between can read what is sent"),
    ] = False


class ProviderSettings(PerProvider):
    """One `[providers.NAME]` table of gateway.toml. Without `base_url` it adds to a provider that the gateway knows."""

    base_url: str | None = None
    wire: str = "openai"
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    api_key_file: Path | None = None
    ca_file: Path | None = None
    client_certfile: Path | None = None
    client_keyfile: Path | None = None
    proxy: SecretStr | None = None
    headers: dict[str, SecretStr] = {}
    renamed: dict[str, str] = {}
    dropped: list[str] = []
    refused: list[str] = []
    token_arrays: bool | None = None
    wires: list[Literal["openai", "responses", "anthropic"]] | None = None
    messages_url: str | None = None
    responses_only: str | None = None

    def overrides(self) -> dict[str, object]:
        """The values of `PerProvider` in the table."""
        return {name: getattr(self, name) for name in PerProvider.model_fields if name in self.model_fields_set}


class RouteSettings(BaseModel):
    """One `[routes."NAME"]` table of gateway.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: Annotated[list[str], Field(min_length=1)]
    mode: Literal["fallback", "weighted"] = "fallback"
    weights: list[Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]] | None = None


class KeySettings(BaseModel):
    """One `[keys.NAME]` table of gateway.toml: a key of a caller, by its SHA-256 or the variable that contains it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: Digest | None = None
    key_env: str | None = None
    project: Annotated[str, Field(min_length=1, max_length=256)] = "default"
    requests_per_minute: Limit = None
    requests_per_day: Limit = None
    tokens_per_minute: Limit = None
    parallel_requests: Limit = None
    spend_limit_cents: Limit = None
    spend_interval: Literal["day", "week", "month", "total"] = "month"
    time_zone: TimeZone = "UTC"
    models: list[str] | None = None


class Settings(Telemetry, PerProvider):
    """All settings. Environment variables have these names in upper case, gateway.toml has them unchanged."""

    service_host: Annotated[str, Field(description="address to listen on"), RESTART] = "127.0.0.1"
    service_port: Annotated[int, Field(ge=0, le=65535, description="port to listen on"), RESTART] = 9000
    service_socket: Annotated[
        Path | None, Field(description="Unix socket to listen on, instead of an address and a port"), RESTART
    ] = None
    ssl_certfile: Annotated[
        Path | None, Field(description="certificate to show callers, with which the server speaks TLS"), RESTART
    ] = None
    ssl_keyfile: Annotated[
        Path | None, Field(description="key of that certificate, if it is in a file of its own"), RESTART
    ] = None
    log_level: Annotated[Level, Field(description="debug, info, warning or error")] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="json, console (for people), or auto: console on a terminal"),
        LOWER_CASE,
    ] = "auto"
    trusted_proxies: Annotated[
        Networks,
        Field(description="addresses or networks whose X-Forwarded-For is believed, comma-separated"),
        RESTART,
    ] = ()
    allowed_api_keys: Annotated[Keys, Field(description="keys that callers may use, comma-separated"), SECRET] = ()
    admin_api_key: Annotated[
        Keys, Field(description="keys that administer: they make other keys, and call no models"), SECRET
    ] = ()
    sealing_key: Annotated[
        SecretStr | None,
        Field(description="key of what clients of the Responses API keep sealed [made of the providers' keys]"),
        SECRET,
    ] = None
    keys: Annotated[dict[str, KeySettings], Field(description="further keys, in gateway.toml only"), FILE_ONLY] = {}
    store_url: Annotated[
        SecretStr | None,
        Field(
            description="store of keys and usage: sqlite:///, postgresql://, memory, off [SQLite in GATEWAY_DATA_DIR]"
        ),
        SECRET,
        RESTART,
    ] = None
    valkey_url: Annotated[
        SecretStr | None,
        Field(description="Valkey or Redis that counts limits and spend for all replicas: redis://HOST:PORT/DATABASE"),
        SECRET,
        RESTART,
    ] = None
    gateway_data_dir: Annotated[
        Path | None, Field(description="where the gateway keeps its data [the platform's place for them]"), RESTART
    ] = None
    unpriced: Annotated[
        Literal["refuse", "flag", "allow"],
        Field(description="what a model without a price is under a spend limit: refuse, flag or allow"),
        LOWER_CASE,
    ] = "refuse"
    limits_outage: Annotated[
        Literal["closed", "open"],
        Field(description="what spend limits are while they cannot be counted: closed or open"),
        LOWER_CASE,
    ] = "closed"
    replicas: Annotated[
        int, Field(ge=1, le=10_000, description="how many share a limit while the counters cannot be reached")
    ] = 1
    output_tokens_bound: Annotated[
        int, Field(ge=1, le=10_000_000, description="tokens that a reply is taken to have at the most by itself")
    ] = 131_072
    input_tokens_bound: Annotated[
        int, Field(ge=1, le=10_000_000, description="tokens that files and the like are taken to have at the most")
    ] = 1_048_576
    journal_max_size: Annotated[
        int, Field(ge=2**20, description="bytes of records that wait for the store, per worker"), RESTART
    ] = 2**30
    journal_full: Annotated[
        Literal["drop", "refuse"],
        Field(description="what to do when no more records can wait: drop them, or refuse calls"),
        LOWER_CASE,
        RESTART,
    ] = "drop"
    records_keep_days: Annotated[
        int, Field(ge=1, le=36_500, description="days that records of single requests are kept; sums stay"), RESTART
    ] = 30
    responses_keep_days: Annotated[
        int, Field(ge=0, le=36_500, description="days that stored responses are kept; 0 stores none"), RESTART
    ] = 30
    responses_max_size: Annotated[
        int,
        Field(ge=2**20, description="bytes of all stored responses; beyond it the oldest of the largest keys go first"),
        RESTART,
    ] = 2**30
    smtp_url: Annotated[
        SmtpUrl | None,
        Field(description="mail server for spend alerts: smtp://user:password@host:port or smtps://"),
        SECRET,
    ] = None
    smtp_from: Annotated[Mailbox | None, Field(description="address that spend alerts are sent from")] = None
    webhook_addresses: Annotated[
        Literal["public", "private", "any"],
        Field(description="where webhooks may be: public, private (all but link-local and metadata), or any"),
        LOWER_CASE,
    ] = "private"
    wrong_keys_per_minute: Annotated[
        int, Field(ge=0, le=1_000_000, description="wrong keys of one address until it is rejected; 0 for no bound")
    ] = 30
    allow_anonymous: Annotated[bool, Field(description="serve without keys on any address")] = False
    custom_provider: Annotated[bool, Field(description="serve the built-in provider at /custom/v1")] = True
    custom_pace_ms: Annotated[
        float, Field(ge=0, le=60_000, allow_inf_nan=False, description="milliseconds between its chunks of a stream")
    ] = 5.0
    first_byte_s: Annotated[
        Seconds, Field(description="seconds until a stream's head goes out although its first chunk is late"), RESTART
    ] = 15.0
    max_retries: Annotated[
        int, Field(ge=0, le=10, description="retries of an upstream that failed before its first byte")
    ] = 2
    retry_refusals: Annotated[
        Refusals, Field(description="refusals of an upstream that are tried again: any of 408, 409 and 429")
    ] = (408,)
    retry_after_max_s: Annotated[
        Seconds, Field(description="longest Retry-After of an upstream that is waited for; a longer one is passed on")
    ] = 20.0
    breaker_threshold: Annotated[
        int, Field(ge=0, le=10_000, description="failures in a row that stop calls to an upstream; 0 for never")
    ] = 20
    breaker_window_s: Annotated[Seconds, Field(description="seconds that these failures must fall into")] = 30.0
    breaker_pause_s: Annotated[Seconds, Field(description="seconds until one call may probe it again")] = 15.0
    breaker_per_model: Annotated[
        bool, Field(description="judge each model of an upstream by itself, not the upstream as a whole")
    ] = False
    body_timeout_s: Annotated[Seconds, Field(description="seconds for a request's headers or body"), RESTART] = 15.0
    request_max_size: Annotated[int, Field(gt=0, description="largest request body in bytes"), RESTART] = 10 * 2**20
    bodies_max_size: Annotated[
        int, Field(gt=0, description="bytes of request bodies in flight at once, per worker"), RESTART
    ] = 128 * 2**20
    max_in_flight: Annotated[int, Field(ge=1, description="requests in flight at once, per worker"), RESTART] = 2_000
    grace_period_s: Annotated[
        int, Field(ge=1, le=86_400, description="seconds for open requests at shutdown"), RESTART
    ] = 30
    drain_delay_s: Annotated[
        float, Field(ge=0, le=3_600, allow_inf_nan=False, description="seconds to take connections while stopping")
    ] = 2.0
    workers: Annotated[int, Field(ge=1, le=256, description="processes that serve"), RESTART] = 1
    enable_docs: Annotated[bool, Field(description="serve /docs, /redoc, /openapi.json and /openapi.yaml"), RESTART] = (
        True
    )
    docs_require_key: Annotated[bool, Field(description="require a key there too"), RESTART] = False
    enable_metrics: Annotated[bool, Field(description="serve /metrics"), RESTART] = True
    metrics_path: Annotated[MetricsPath, Field(description="another path of /metrics"), RESTART] = "/v1/metrics"
    metrics_require_key: Annotated[bool, Field(description="require a key at /metrics"), RESTART] = False
    enable_security_headers: Annotated[bool, Field(description="send headers that guard browsers"), RESTART] = True
    cors_origins: Annotated[
        Origins, Field(description="origins whose pages may call, comma-separated, or *"), RESTART
    ] = ()
    provider_conformance: Annotated[
        dict[str, Conformance],
        Field(description="CONFORMANCE for single providers by name, in gateway.toml only"),
        FILE_ONLY,
    ] = {}
    fetch_images: Annotated[
        bool, Field(description="fetch images by URL for providers that take them in the request only")
    ] = False
    providers: Annotated[
        dict[str, ProviderSettings], Field(description="further upstreams, in gateway.toml only"), FILE_ONLY
    ] = {}
    default_model: Annotated[str | None, Field(description="model for requests at /v1 that name none")] = None
    model_mapping_file: Annotated[Path | None, Field(description="aliases of models, as JSON or TOML")] = None
    aliases: Annotated[dict[str, str], Field(description="aliases of models, in gateway.toml only"), FILE_ONLY] = {}
    routes: Annotated[
        dict[str, RouteSettings], Field(description="models with several targets, in gateway.toml"), FILE_ONLY
    ] = {}
    prices: Annotated[
        dict[PricedModel, PriceSettings],
        Field(description="what models cost, in gateway.toml only"),
        FILE_ONLY,
    ] = {}
    tool_rounds_max: Annotated[
        int, Field(ge=1, le=100, description="rounds in which a model may call tools that the gateway runs")
    ] = 8
    tool_calls_max: Annotated[int, Field(ge=1, le=100, description="such calls in one round")] = 16
    tool_timeout_s: Annotated[Seconds, Field(description="seconds for one such call")] = 30.0
    tool_result_max_size: Annotated[
        int, Field(ge=256, le=2**24, description="bytes of its result; what is longer is cut off, with a mark")
    ] = 64 * 1024
    tool_web_search: Annotated[
        Literal["searxng", "tavily", "brave", "custom"] | None,
        Field(description="what searches the web: searxng, tavily, brave, or custom, which makes results up"),
        LOWER_CASE,
    ] = None
    tool_web_search_url: Annotated[
        ListAddress | None, Field(description="where it is: needed for searxng, and known of the others")
    ] = None
    tool_web_search_api_key: Annotated[HeaderKey | None, Field(description="its key, for tavily and brave"), SECRET] = (
        None
    )
    tool_web_search_results_max: Annotated[int, Field(ge=1, le=20, description="results of one search")] = 5
    tool_web_fetch: Annotated[
        bool, Field(description="let models have public pages fetched that they name, beside searching")
    ] = False
    tool_web_fetch_networks: Annotated[
        Networks, Field(description="networks whose pages may be fetched although they are private, comma-separated")
    ] = ()
    tool_code_execution: Annotated[
        Literal["monty", "process"] | None,
        Field(description="where code of models runs: monty, an own Python, or process, a real one held by the kernel"),
        LOWER_CASE,
    ] = None
    tool_code_timeout_s: Annotated[Seconds, Field(description="seconds that code may run, within TOOL_TIMEOUT_S")] = 5.0
    tool_code_memory_size: Annotated[
        int, Field(ge=2**23, le=2**31, description="bytes of memory that code may have")
    ] = 64 * 2**20
    tool_code_processes: Annotated[
        int, Field(ge=1, le=256, description="processes in which code runs at once, per worker")
    ] = 4
    tool_memory: Annotated[
        bool, Field(description="let models save texts for the key that calls, and find them again")
    ] = False
    tool_memory_entries_max: Annotated[
        int, Field(ge=1, le=1_000_000, description="texts that a key may have saved")
    ] = 1_000
    tool_memory_max_size: Annotated[
        int, Field(ge=1024, le=2**30, description="bytes of all texts of a key together")
    ] = 2**20
    mcp: Annotated[
        dict[ServerName, McpSettings],
        Field(description="servers of the Model Context Protocol, in gateway.toml only"),
        FILE_ONLY,
    ] = {}
    model_list_url: Annotated[ListAddress | None, Field(description="where a list of models is fetched from")] = None
    model_list_api_key: Annotated[HeaderKey | None, Field(description="sent to that address as a bearer"), SECRET] = (
        None
    )
    model_list_refresh_s: Annotated[Seconds, Field(description="seconds between two fetches of the list")] = 300.0
    model_list_cache: Annotated[Path | None, Field(description="file for the last good list")] = None
    model_cache_ttl_s: Annotated[Seconds, Field(description="seconds that providers' own lists are kept")] = 300.0
    health_check_timeout_s: Annotated[
        Seconds, Field(description="seconds that a deep health check waits for a provider")
    ] = 5.0

    def for_provider(self, name: str) -> PerProvider:
        """The settings of one provider: those of its own table, and these for the rest."""
        values: dict[str, object] = {field: getattr(self, field) for field in PerProvider.model_fields}
        if name in self.provider_conformance:
            values["conformance"] = self.provider_conformance[name]
        if name in self.providers:
            values |= self.providers[name].overrides()
        return PerProvider.model_validate(values)

    def share_of(self, provider: str) -> int:
        """The most requests in flight at this provider; by default, some places are left for others."""
        return self.for_provider(provider).provider_max_in_flight or max(1, self.max_in_flight * 3 // 4)


def marked(mark: Mark) -> list[str]:
    """The names of the settings with this mark."""
    return [name for name, field in Settings.model_fields.items() if mark in field.metadata]
