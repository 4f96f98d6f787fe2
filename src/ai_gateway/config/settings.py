"""Settings from the environment, `.env` and `gateway.toml`; every problem is reported at once, secrets masked."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, override
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError as SourceError,
    TomlConfigSettingsSource,
)

CONFIG_FILE = "gateway.toml"
# Tables have no form in the environment that anybody could read.
_FILE_ONLY = ("PROVIDERS", "PROVIDER_CONFORMANCE", "ALIASES", "ROUTES")
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
# The second name of a pair is an alias for people who come from elsewhere.
ALIASES = {
    "SERVICE_PORT": "PROXY_PORT",
    "REQUEST_TIMEOUT_S": "REQUEST_TIMEOUT",
    "OPENAI_BASE_URL": "OPENAI_API_BASE_URL",
}

type UnknownParams = Literal["forward", "drop", "reject"]


type Conformance = Literal["repair", "enforce", "observe"]


class SettingsError(Exception):
    """The configuration cannot be used. `problems` has one line each, none of which shows a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ProviderSettings(BaseModel):
    """One `[providers.NAME]` table of gateway.toml. Without `base_url` it adds to a provider that the gateway knows."""

    model_config = ConfigDict(extra="forbid")

    base_url: str | None = None
    wire: str = "openai"
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    unknown_params: UnknownParams | None = None
    conformance: Conformance | None = None
    connect_timeout_s: Seconds | None = None
    request_timeout_s: Seconds | None = None
    stream_idle_timeout_s: Seconds | None = None
    stream_timeout_s: Seconds | None = None
    headers: dict[str, SecretStr] = {}
    renamed: dict[str, str] = {}
    dropped: list[str] = []
    refused: list[str] = []
    token_arrays: bool | None = None


class RouteSettings(BaseModel):
    """One `[routes."NAME"]` table of gateway.toml."""

    model_config = ConfigDict(extra="forbid")

    targets: Annotated[list[str], Field(min_length=1)]
    mode: Literal["fallback", "weighted"] = "fallback"
    weights: list[Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]] | None = None


def _named(name: str) -> AliasChoices:
    return AliasChoices(name.lower(), ALIASES[name])


class Settings(BaseSettings):
    """What an operator can set. Names are environment variables; gateway.toml takes them in lower case."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, env_file=".env")

    service_host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    service_port: Annotated[
        int, Field(ge=0, le=65535, validation_alias=_named("SERVICE_PORT"), description="port to listen on")
    ] = 9000
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="debug, info, warning or error")
    ] = "info"
    allowed_api_keys: Annotated[
        tuple[SecretStr, ...], NoDecode, Field(description="keys that callers may use, comma-separated")
    ] = ()
    allow_anonymous: Annotated[bool, Field(description="serve without keys on any address")] = False
    request_timeout_s: Annotated[
        Seconds,
        Field(validation_alias=_named("REQUEST_TIMEOUT_S"), description="seconds for a reply or a first chunk"),
    ] = 600.0
    connect_timeout_s: Annotated[Seconds, Field(description="seconds to connect to an upstream")] = 5.0
    stream_idle_timeout_s: Annotated[Seconds, Field(description="seconds between two chunks of a stream")] = 120.0
    stream_timeout_s: Annotated[Seconds, Field(description="seconds for a whole stream")] = 3600.0
    max_retries: Annotated[
        int, Field(ge=0, le=10, description="times to ask an upstream again that failed before its first byte")
    ] = 2
    retry_refusals: Annotated[
        tuple[Literal[408, 409, 429], ...],
        NoDecode,
        Field(description="refusals of an upstream that are tried again: any of 408, 409 and 429"),
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
    body_timeout_s: Annotated[Seconds, Field(description="seconds for a request's headers or body")] = 15.0
    request_max_size: Annotated[int, Field(gt=0, description="largest request body in bytes")] = 10 * 1024 * 1024
    bodies_max_size: Annotated[
        int, Field(gt=0, description="bytes of request bodies in flight at once, for each worker")
    ] = 128 * 1024 * 1024
    max_in_flight: Annotated[int, Field(ge=1, description="requests in flight at once, for each worker")] = 2_000
    grace_period_s: Annotated[int, Field(ge=1, le=86_400, description="seconds for open requests at shutdown")] = 30
    drain_delay_s: Annotated[
        float, Field(ge=0, le=3_600, allow_inf_nan=False, description="seconds to take connections while stopping")
    ] = 2.0
    workers: Annotated[int, Field(ge=1, le=256, description="processes that serve")] = 1
    enable_docs: Annotated[bool, Field(description="serve /docs and /openapi.json")] = True
    docs_require_key: Annotated[bool, Field(description="ask for a key at /docs and /openapi.json too")] = False
    enable_security_headers: Annotated[bool, Field(description="send headers that guard browsers")] = True
    cors_origins: Annotated[
        tuple[str, ...], NoDecode, Field(description="origins whose pages may call, comma-separated, or *")
    ] = ()
    conformance: Annotated[
        Conformance, Field(description="what to do with a provider's inexact replies: repair, enforce or observe")
    ] = "repair"
    provider_conformance: Annotated[
        dict[str, Conformance], Field(description="the same for single providers by name, in gateway.toml only")
    ] = {}
    unknown_params: Annotated[
        UnknownParams | None,
        Field(description="forward, drop or reject request fields that the contract does not name"),
    ] = None
    fetch_images: Annotated[
        bool, Field(description="fetch images by URL for providers that take them in the request only")
    ] = False
    providers: Annotated[dict[str, ProviderSettings], Field(description="further upstreams, in gateway.toml only")] = {}
    default_model: Annotated[str | None, Field(description="model for requests at /v1 that name none")] = None
    model_mapping_file: Annotated[Path | None, Field(description="aliases of models, as JSON or TOML")] = None
    aliases: Annotated[dict[str, str], Field(description="aliases of models, in gateway.toml only")] = {}
    routes: Annotated[dict[str, RouteSettings], Field(description="models with several targets, in gateway.toml")] = {}
    model_list_url: Annotated[str | None, Field(description="where a list of models is fetched from")] = None
    model_list_api_key: Annotated[SecretStr | None, Field(description="sent to that address as a bearer")] = None
    model_list_refresh_s: Annotated[Seconds, Field(description="seconds between two fetches of the list")] = 300.0
    model_list_cache: Annotated[Path | None, Field(description="file for the last good list")] = None
    model_cache_ttl_s: Annotated[Seconds, Field(description="seconds that providers' own lists are kept")] = 300.0

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = environment().get("GATEWAY_CONFIG", CONFIG_FILE)
        toml = TomlConfigSettingsSource(settings_cls, toml_file=path)
        return init_settings, env_settings, dotenv_settings, file_secret_settings, toml

    @field_validator("allowed_api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            return items
        return [item.strip() for item in items if item.strip()]

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "an origin is * or such as https://app.example.com, without a path or a slash at its end"
                )
        return tuple(origin.lower() for origin in origins)

    @field_validator("model_list_url")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        if value is not None and (not is_web_address(value) or "@" in urlsplit(value).netloc or "#" in value):
            raise ValueError("must look like https://host/models.json, without credentials or a fragment")
        return value

    @field_validator("model_list_api_key")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value() if value is not None else "k"
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError("holds characters that no header can carry")
        return value

    @field_validator("retry_refusals", mode="before")
    @classmethod
    def _split_statuses(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        return [int(part) if part.isdecimal() else part for part in parts]

    @field_validator("log_level", "unknown_params", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def is_web_address(url: str) -> bool:
    """Whether a text is an http or https address with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:  # a port out of range, or half an IPv6 address
        return False


def environment() -> dict[str, str]:
    """The process environment over what `.env` in the working directory says."""
    found = {**dotenv_values(".env"), **os.environ}
    return {_upper(name): value for name, value in found.items() if value}


def _upper(name: str) -> str:
    """Settings may be named in lower case too, as pydantic reads them."""
    return name.upper() if name.lower() in Settings.model_fields or name.upper() in ALIASES.values() else name


def load(**given: object) -> Settings:
    """Read every source; what is `given`, by field name, comes first. Raises SettingsError with all problems found."""
    try:
        env = environment()
        return _load(env, given)
    except OSError as error:
        raise SettingsError([f"{error.filename or CONFIG_FILE}: cannot be read: {error.strerror}"]) from None


def _load(env: Mapping[str, str], given: dict[str, object]) -> Settings:
    problems = [problem for name, problem in _clashes(env) if name.lower() not in given]
    problems += [f"{name}: cannot be set in the environment: use {CONFIG_FILE}" for name in _FILE_ONLY if name in env]
    path = Path(env.get("GATEWAY_CONFIG", CONFIG_FILE))
    if "GATEWAY_CONFIG" in env and not path.is_file():
        problems.append(f"GATEWAY_CONFIG: no such file: {path}")
    try:
        problems += _unknown(path)
        settings = Settings(**given)  # type: ignore[arg-type] # checked by the model, field by field
    except UnicodeDecodeError:
        raise SettingsError([*problems, f"{path.name} or .env: not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([*problems, f"{path}: not valid TOML: {error}"]) from None
    except ValidationError as error:
        raise SettingsError([*problems, *_problems(error)]) from None
    except SourceError as error:
        raise SettingsError(problems or [str(error)]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _clashes(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, alias in ALIASES.items():
        if env.get(name) and env.get(alias) and env[name] != env[alias]:
            yield name, f"{name} and its alias {alias} disagree: set one of them"


def _unknown(path: Path) -> Iterator[str]:
    for name in tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else ():
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f": did you mean {near[0]}?" if near else f". Known: {', '.join(Settings.model_fields)}"
            yield f"{path.name}: unknown setting {name}{hint}"


def _problems(error: ValidationError) -> Iterator[str]:
    for details in error.errors(include_url=False, include_input=False):
        location = [str(part) for part in details["loc"]]
        name = ".".join(location) if location[0].upper() in _FILE_ONLY else location[0].upper()
        yield f"{name}: {details['msg'][0].lower()}{details['msg'][1:]}"
