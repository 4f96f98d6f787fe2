"""Which upstreams the operator has configured, and what is missing for them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from ai_gateway.config.settings import ALIASES, ProviderSettings, SettingsError, UnknownParams, is_web_address
from ai_gateway.providers.plugins import known_rows
from ai_gateway.providers.rows import OPENAI_WIRE
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE, ProviderRow, is_usable_name
from ai_gateway.routing.own import header_problems, own_quirks

_ENV_KEY = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_API_KEY")
_ENV_URL = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_BASE_URL")


@dataclass(frozen=True, slots=True)
class ConfiguredUpstream:
    """An upstream that can be called. `unknown_params` is None where the general setting holds."""

    name: str
    base_url: str
    api_key: SecretStr | None
    row: ProviderRow = OPENAI_WIRE
    unknown_params: UnknownParams | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict)


def configured_upstreams(tables: Mapping[str, ProviderSettings], env: Mapping[str, str]) -> list[ConfiguredUpstream]:
    """Every configured upstream: rows first, then the user's own. Raises SettingsError with all problems."""
    problems: list[str] = []
    found = [*_from_rows(env, problems), *_from_file(tables, env, problems), *_from_env(env)]
    problems += [*_url_problems(found), *_key_problems(found), *_header_problems(found), *_lonely_keys(env)]
    names = [upstream.name for upstream in found]
    problems += [f"provider '{name}' is configured twice" for name in sorted({n for n in names if names.count(n) > 1})]
    problems += [
        f"provider name '{name}' cannot be used: choose lower-case letters, digits, - and _, and none of our own paths"
        for name in names
        if not is_usable_name(name)
    ]
    if problems:
        raise SettingsError(problems)
    return found


def _from_rows(env: Mapping[str, str], problems: list[str]) -> Iterator[ConfiguredUpstream]:
    for row in known_rows():
        url = _url_of(row, env)
        key = env.get(row.key_env, "").strip()
        if not (url or key or row.always):
            continue
        if row.needs_key and not key:
            problems.append(f"{row.key_env} is missing, but {row.base_url_env} is set: set the key or unset the URL")
            continue
        secret = SecretStr(key) if key else None
        base = row.read_url(url) if url else row.base_url
        yield ConfiguredUpstream(row.name, base, secret, row, headers=_headers_of(row, env))


def _headers_of(row: ProviderRow, env: Mapping[str, str]) -> dict[str, SecretStr]:
    """The row's headers, as the environment changes them; by names in lower case, since the case says nothing."""
    told = {name: env[variable] for name, variable in row.quirks.header_variables.items() if env.get(variable)}
    headers = {**row.quirks.headers, **told}
    return {name.lower(): SecretStr(value) for name, value in headers.items() if value.lower() != "none"}


def _url_of(row: ProviderRow, env: Mapping[str, str]) -> str | None:
    return env.get(row.base_url_env) or env.get(ALIASES.get(row.base_url_env, ""))


def _from_file(
    tables: Mapping[str, ProviderSettings], env: Mapping[str, str], problems: list[str]
) -> Iterator[ConfiguredUpstream]:
    for name, table in tables.items():
        key = table.api_key
        if key is None and table.api_key_env:
            value = env.get(table.api_key_env)
            if not value:
                problems.append(f"providers.{name}: {table.api_key_env} is missing: set it")
                continue
            key = SecretStr(value)
        row = _row_of(table.wire)
        if row is None:
            known = ", ".join(sorted(row.name for row in known_rows()))
            problems.append(f"providers.{name}: there is no wire '{table.wire}'. Known: {known}")
            continue
        own = own_quirks(name, table, row, problems)
        headers = _headers_of(row, env) | {header.lower(): value for header, value in table.headers.items()}
        yield ConfiguredUpstream(name, row.read_url(table.base_url), key, own, table.unknown_params, headers)


def _row_of(wire: str) -> ProviderRow | None:
    return OPENAI_WIRE if wire == "openai" else next((row for row in known_rows() if row.name == wire), None)


def _from_env(env: Mapping[str, str]) -> Iterator[ConfiguredUpstream]:
    for variable, url in env.items():
        match = _ENV_URL.fullmatch(variable)
        if match:
            key = env.get(f"PROVIDER_{match[1]}_API_KEY")
            yield ConfiguredUpstream(match[1].lower(), url, SecretStr(key) if key else None)


def _url_problems(upstreams: list[ConfiguredUpstream]) -> Iterator[str]:
    for upstream in upstreams:
        if not (upstream.base_url or upstream.row.base_url or upstream.row.adapter == OPENAI_COMPATIBLE):
            continue  # an adapter that calls nobody, or knows by itself whom to call
        if not is_web_address(upstream.base_url):
            yield f"provider '{upstream.name}': the base URL must look like https://host/v1"
        elif not _is_bare(upstream.base_url):
            yield f"provider '{upstream.name}': the base URL must hold no credentials, query or fragment"


def _is_bare(url: str) -> bool:
    parts = urlsplit(url)
    return not (parts.username or parts.password or parts.query or parts.fragment)


def _key_problems(upstreams: list[ConfiguredUpstream]) -> Iterator[str]:
    for upstream in upstreams:
        key = upstream.api_key.get_secret_value() if upstream.api_key else "k"
        if not (key.isascii() and key.isprintable()) or " " in key:
            yield f"provider '{upstream.name}': the key holds characters that no header can carry"


def _header_problems(upstreams: list[ConfiguredUpstream]) -> Iterator[str]:
    for upstream in upstreams:
        yield from header_problems(upstream.name, upstream.headers, keyed=upstream.api_key is not None)


def _lonely_keys(env: Mapping[str, str]) -> Iterator[str]:
    for variable in env:
        match = _ENV_KEY.fullmatch(variable)
        if match and f"PROVIDER_{match[1]}_BASE_URL" not in env:
            yield f"{variable} is set, but PROVIDER_{match[1]}_BASE_URL is missing: set it or unset the key"


def unconfigured_hint(name: str) -> str | None:
    """What to set so that a known but unconfigured provider can be used."""
    for row in known_rows():
        if row.name == name:
            return f"set {row.key_env if row.needs_key else row.base_url_env}"
    return None
