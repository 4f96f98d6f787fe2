"""The configured upstreams, from variables and gateway.toml, with all problems of their configuration."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from ai_gateway.config.fields import is_header_value, is_web_address
from ai_gateway.config.problems import SettingsError, shown
from ai_gateway.config.secrets import FILE_SUFFIX, read_secret, secret_in
from ai_gateway.config.settings import ProviderSettings, Settings
from ai_gateway.config.sources import origin_of
from ai_gateway.config.validation import closest
from ai_gateway.contract.native import ANTHROPIC
from ai_gateway.providers.catalog import OPENAI_WIRE
from ai_gateway.providers.config.network import PROXY_VARIABLES, network_of
from ai_gateway.providers.config.overrides import header_problems, override_quirks, override_wires
from ai_gateway.providers.config.plugins import known_rows
from ai_gateway.providers.upstream import (
    OPENAI_COMPATIBLE,
    KeySource,
    ProviderRow,
    Sizes,
    Timeouts,
    Upstream,
    is_usable_name,
)

_ENV_KEY = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_API_KEY(?:_FILE)?")
_ENV_URL = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_BASE_URL")
_URL_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# Written after a base URL by the gateway itself.
_OPERATION = re.compile(
    r"/(?:chat/completions|completions|embeddings|models|responses|messages|api/(?:chat|generate))/*$"
)


@dataclass(frozen=True, slots=True)
class Configured:
    """The configured upstreams: known providers first, then others.

    `missing` has what to set for those that gateway.toml names and that lack a key here, by name: one file can then
    serve several machines.
    """

    upstreams: Sequence[Upstream]
    missing: Mapping[str, str]


def configured_upstreams(settings: Settings, env: Mapping[str, str]) -> Configured:
    """What settings and variables configure. Raises SettingsError with all problems."""
    reader = _Reader(settings, env)
    upstreams = [*reader.rows(), *reader.tables(), *reader.variables()]
    problems = [*reader.problems, *_problems(upstreams, env), *_keys_without_url(env)]
    if problems:
        raise SettingsError(problems)
    return Configured(upstreams, reader.missing)


class _Reader:
    """Reads the upstreams, and collects problems."""

    def __init__(self, settings: Settings, env: Mapping[str, str]) -> None:
        self._settings = settings
        self._env = env
        self.problems: list[str] = []
        self.missing: dict[str, str] = {}

    def rows(self) -> Iterator[Upstream]:
        """The known providers that a variable or a table configures."""
        for row in known_rows():
            table = self._settings.providers.get(row.name)
            if table is not None and table.base_url is not None:
                table = None  # another upstream under the name of a known provider
            url_env = next((variable for variable in row.base_url_envs if self._env.get(variable)), None)
            source = self._key_source(row, table)
            key = None if source else self._row_key(row, table)
            if not (url_env or key or source or row.always or table):
                continue
            if row.needs_key and key is None and source is None:
                if url_env is None:
                    self.missing.setdefault(row.name, f"set {row.key_env}")
                else:
                    origin = origin_of(self._env, url_env)
                    self.problems.append(
                        f"{row.key_env} is missing, but {url_env} is set ({origin}): set the key or unset that"
                    )
                continue
            base_url = row.read_url(self._env[url_env]) if url_env else self._own_url(row)
            if base_url is not None:
                at = row if url_env in {None, row.url_env} else _at(base_url, row)
                upstream = self._upstream(row.name, base_url, key, at, table, url_env or row.base_url_env)
                yield replace(upstream, key_source=source)

    def _row_key(self, row: ProviderRow, table: ProviderSettings | None) -> SecretStr | None:
        if table is not None and (key := self._table_key(row.name, table)) is not None:
            return key
        return self._secret(row.key_env) if row.key_env else None

    def _key_source(self, row: ProviderRow, table: ProviderSettings | None) -> KeySource | None:
        """The source of a key that rotates, if its table or a variable names one."""
        if not row.key_rotates:
            return None
        if table is not None and table.api_key_file is not None:
            self._table_key(row.name, table)  # so that a missing file is a problem of the start
            return KeySource(f"providers.{row.name}.api_key_file", file=table.api_key_file)
        command, file = f"{row.key_env}_COMMAND", f"{row.key_env}{FILE_SUFFIX}"
        if len(given := [name for name in (row.key_env, command, file) if name in self._env]) > 1:
            self.problems.append(f"{' and '.join(given)} are both set: set one of them")
        if command in self._env:
            try:
                return KeySource(command, command=tuple(shlex.split(self._env[command])))
            except ValueError as error:
                self.problems.append(f"{command}: cannot be read as a command: {error}")
        if file not in self._env:
            return None
        read_secret(self._env, row.key_env, self.problems)  # so that a missing file is a problem of the start
        return KeySource(file, file=Path(self._env[file]))

    def _own_url(self, row: ProviderRow) -> str | None:
        """The row's own address with the variables in it replaced; None if one is missing."""
        given = {name: self._env.get(name, "").strip().rstrip("/") for name in row.url_variables}
        values = {name: given[name].removeprefix("https://") or default for name, default in row.url_variables.items()}
        if unset := [name for name, value in values.items() if not value]:
            needed = f"{' and '.join(unset)}: needed for the base URL of provider '{row.name}'"
            self.problems.append(f"{needed}: set it, or {row.base_url_env}")
            return None
        odd = [name for name, value in values.items() if not _URL_PART.fullmatch(value)]
        for name in odd:
            self.problems.append(f"{name}: {shown(values[name])} is no part of a URL ({origin_of(self._env, name)})")
        return None if odd else row.read_url(row.base_url.format(**values))

    def tables(self) -> Iterator[Upstream]:
        """Other upstreams, from gateway.toml."""
        rows = {row.name: row for row in known_rows()}
        for name, table in self._settings.providers.items():
            row = OPENAI_WIRE if table.wire == "openai" else rows.get(table.wire)
            if table.base_url is None:
                if name not in rows:
                    self.problems.append(f"providers.{name}: base_url is missing, and no known provider has this name")
            elif row is None:
                near = closest(table.wire, sorted({"openai", *rows}))
                self.problems.append(f"providers.{name}: there is no wire '{table.wire}'{near}")
            else:
                key = self._table_key(name, table)
                if name not in self.missing:
                    setting = f"providers.{name}.base_url"
                    yield self._upstream(name, row.read_url(table.base_url), key, row, table, setting)

    def variables(self) -> Iterator[Upstream]:
        """Other upstreams, from the environment."""
        for variable, url in self._env.items():
            if match := _ENV_URL.fullmatch(variable):
                key = self._secret(f"PROVIDER_{match[1]}_API_KEY")
                yield self._upstream(match[1].lower(), url.strip(), key, OPENAI_WIRE, None, variable)

    def _upstream(  # noqa: PLR0913, PLR0917 - an upstream is made of as many things
        self,
        name: str,
        base_url: str,
        key: SecretStr | None,
        row: ProviderRow,
        table: ProviderSettings | None,
        setting: str,
    ) -> Upstream:
        headers = self._row_headers(row)
        if table is not None:
            headers |= {header.lower(): value for header, value in table.headers.items()}
            row = override_wires(override_quirks(row, name, table, self.problems), name, table, self.problems)
        effective = self._settings.for_provider(name)
        timeouts = Timeouts(
            connect=effective.connect_timeout_s,
            request=effective.request_timeout_s,
            stream_idle=effective.stream_idle_timeout_s,
            stream=effective.stream_timeout_s,
        )
        sizes = Sizes(effective.reply_max_size, effective.event_max_size)
        unknown_params = effective.unknown_params or row.unknown_params
        network = network_of(name, base_url or row.base_url, table, effective, self._env, self.problems)
        fetch_images = self._settings.fetch_images
        return Upstream(
            name,
            base_url,
            key,
            timeouts,
            row,
            effective.conformance,
            unknown_params,
            headers,
            fetch_images,
            sizes,
            setting,
            network=network,
        )

    def _table_key(self, name: str, table: ProviderSettings) -> SecretStr | None:
        """The key of a table. Without the variable that it names, the provider is not configured on this machine."""
        given = [each for each in ("api_key", "api_key_env", "api_key_file") if getattr(table, each) is not None]
        if len(given) > 1:
            self.problems.append(f"providers.{name}: {' and '.join(given)} are both set: set one of them")
        if table.api_key_file is not None:
            try:
                return SecretStr(secret_in(table.api_key_file))
            except ValueError as error:
                self.problems.append(f"providers.{name}.api_key_file: {shown(str(table.api_key_file))} {error}")
                return None
        if table.api_key is not None or table.api_key_env is None:
            return table.api_key
        key = self._secret(table.api_key_env)
        if key is None:
            self.missing[name] = f"set {table.api_key_env}"
        return key

    def _secret(self, variable: str) -> SecretStr | None:
        key = (read_secret(self._env, variable, self.problems) or "").strip()
        return SecretStr(key) if key else None

    def _row_headers(self, row: ProviderRow) -> dict[str, SecretStr]:
        """The row's headers by lower-case name; a variable overrides one, or removes it with `none`."""
        variables = row.quirks.header_variables
        changed = {name: self._env[variable] for name, variable in variables.items() if variable in self._env}
        headers = {**row.quirks.headers, **changed}
        return {name.lower(): SecretStr(value) for name, value in headers.items() if value.lower() != "none"}


def _at(base_url: str, row: ProviderRow) -> ProviderRow:
    """The row for a base URL: quirks of the provider's newer models do not apply to another server."""
    if base_url.rstrip("/") == row.base_url.rstrip("/"):
        return row
    quirks = replace(row.quirks, max_completion_tokens_only=False, responses_only="", responses_for_tools="")
    # Another address is another server, whose wires are unknown.
    wires = row.wires - {ANTHROPIC} if row.messages_url else row.wires
    return replace(row, quirks=quirks, wires=wires, messages_url="")


def _problems(upstreams: list[Upstream], env: Mapping[str, str]) -> Iterator[str]:
    for upstream in upstreams:
        yield from _url_problems(upstream, env)
        if upstream.api_key is not None and not is_header_value(upstream.secret):
            yield f"provider '{upstream.name}': the key holds characters that no header can carry"
        keyed = {upstream.row.key_header} if upstream.api_key or upstream.key_source else set()
        yield from header_problems(upstream.name, upstream.headers, keyed)
    names = [upstream.name for upstream in upstreams]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"provider '{name}' is configured twice"
    for name in names:
        if not is_usable_name(name):
            usable = "lower-case letters, digits, - and _, and none of our own paths"
            yield f"provider name '{name}' cannot be used: choose {usable}"


def _url_problems(upstream: Upstream, env: Mapping[str, str]) -> Iterator[str]:
    if not (upstream.base_url or upstream.row.base_url or upstream.row.adapter == OPENAI_COMPATIBLE):
        return  # an adapter without an upstream, or with a fixed one
    setting, url = upstream.setting, upstream.base_url
    origin = f" ({origin_of(env, setting)})" if setting in env else ""
    subject = f"{setting}: {shown(url)}".rstrip(": ") + origin
    if not is_web_address(url):
        yield f"{subject}: the base URL must look like https://host/v1"
        return
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        yield f"{subject}: the base URL must hold no credentials, query or fragment"
    elif operation := _OPERATION.search(parts.path):
        yield f"{subject}: this is the URL of an operation: leave '{operation[0]}' off"
    elif "v1/v1" in parts.path:
        yield f"{subject}: /v1 is there twice: leave one out"


def _keys_without_url(env: Mapping[str, str]) -> Iterator[str]:
    for variable in env:
        match = _ENV_KEY.fullmatch(variable)
        if match and f"PROVIDER_{match[1]}_BASE_URL" not in env:
            origin = origin_of(env, variable)
            yield f"{variable} is set ({origin}), but PROVIDER_{match[1]}_BASE_URL is missing: set it or unset the key"


def known_variables() -> set[str]:
    """Every variable that configures a known provider."""
    names: set[str] = set()
    for row in known_rows():
        names |= {row.key_env, *row.base_url_envs, *row.url_variables, *row.quirks.header_variables.values()}
        names |= {f"{row.key_env}_COMMAND"} if row.key_rotates else set()
    return {name for name in names if name}


def network_variables() -> set[str]:
    """Every variable for proxies and certificates. OpenSSL reads the last two by itself."""
    return {*PROXY_VARIABLES, *(name.lower() for name in PROXY_VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR"}


def known_providers() -> set[str]:
    """The names of all known providers, configured or not."""
    return {row.name for row in known_rows()}


def unconfigured_hint(name: str) -> str | None:
    """What to set so that a known but unconfigured provider can be used."""
    for row in known_rows():
        if row.name == name:
            return f"set {row.key_env if row.needs_key else row.base_url_env}"
    return None
