"""Which upstreams the operator has configured, and what is missing for them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from pydantic import SecretStr

from ai_gateway.config.settings import ALIASES, ProviderSettings, SettingsError, is_web_address
from ai_gateway.providers.catalog import OPENAI_WIRE
from ai_gateway.providers.config.overrides import header_problems, own_quirks
from ai_gateway.providers.config.plugins import known_rows
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE, ProviderRow, is_usable_name

_ENV_KEY = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_API_KEY")
_ENV_URL = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_BASE_URL")


@dataclass(frozen=True, slots=True)
class ConfiguredUpstream:
    """An upstream that can be called. `table` is what gateway.toml says of it beside that, if it says anything."""

    name: str
    base_url: str
    api_key: SecretStr | None
    row: ProviderRow = OPENAI_WIRE
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    table: ProviderSettings | None = None


def configured_upstreams(tables: Mapping[str, ProviderSettings], env: Mapping[str, str]) -> list[ConfiguredUpstream]:
    """Every configured upstream: rows first, then the user's own. Raises SettingsError with all problems."""
    problems: list[str] = []
    found = [*_from_rows(tables, env, problems), *_from_file(tables, env, problems), *_from_env(env)]
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


def _from_rows(
    tables: Mapping[str, ProviderSettings], env: Mapping[str, str], problems: list[str]
) -> Iterator[ConfiguredUpstream]:
    for row in known_rows():
        table = tables.get(row.name)
        if table is not None and table.base_url is not None:
            table = None  # a provider of the operator's own, which has taken the name
        url = _url_of(row, env)
        key = (_key_of(row.name, table, env, problems) if table else None) or _secret(env.get(row.key_env, ""))
        if not (url or key or row.always or table):
            continue
        if row.needs_key and key is None:
            because = f"{row.base_url_env} is set" if url else f"[providers.{row.name}] is there"
            problems.append(f"{row.key_env} is missing, but {because}: set the key or take that away")
            continue
        found = ConfiguredUpstream(row.name, row.read_url(url) if url else row.base_url, key, _at(url, row))
        yield _with_table(found, table, env, problems)


def _at(url: str | None, row: ProviderRow) -> ProviderRow:
    """The row for that address: another server under the name need not have what is new in the provider's models."""
    if url is None or row.read_url(url).rstrip("/") == row.base_url.rstrip("/"):
        return row
    return replace(row, quirks=replace(row.quirks, max_completion_tokens_only=False))


def _secret(key: str) -> SecretStr | None:
    return SecretStr(key.strip()) if key.strip() else None


def _key_of(name: str, table: ProviderSettings, env: Mapping[str, str], problems: list[str]) -> SecretStr | None:
    """The key that a table names; a variable that is not set is a problem."""
    if table.api_key is not None or table.api_key_env is None:
        return table.api_key
    if not env.get(table.api_key_env):
        problems.append(f"providers.{name}: {table.api_key_env} is missing: set it")
    return _secret(env.get(table.api_key_env, ""))


def _with_table(
    found: ConfiguredUpstream, table: ProviderSettings | None, env: Mapping[str, str], problems: list[str]
) -> ConfiguredUpstream:
    headers = _headers_of(found.row, env)
    if table is None:
        return replace(found, headers=headers)
    own = own_quirks(found.name, table, found.row, problems)
    headers |= {header.lower(): value for header, value in table.headers.items()}
    return replace(found, row=own, headers=headers, table=table)


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
    known = sorted(row.name for row in known_rows())
    for name, table in tables.items():
        row = _row_of(table.wire)
        if table.base_url is None:
            if name not in known:
                problems.append(f"providers.{name}: base_url is missing, and no known provider has this name")
            continue
        if row is None:
            problems.append(f"providers.{name}: there is no wire '{table.wire}'. Known: {', '.join(known)}")
            continue
        key = _key_of(name, table, env, problems)
        yield _with_table(ConfiguredUpstream(name, row.read_url(table.base_url), key, row), table, env, problems)


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
