"""The configured upstreams, from variables and gateway.toml, with all problems of their configuration."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from pydantic import SecretStr

from ai_gateway.config.fields import is_header_value, is_web_address
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import ProviderSettings, Settings
from ai_gateway.providers.catalog import OPENAI_WIRE
from ai_gateway.providers.config.overrides import header_problems, override_quirks
from ai_gateway.providers.config.plugins import known_rows
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE, ProviderRow, Sizes, Timeouts, Upstream, is_usable_name

_ENV_KEY = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_API_KEY")
_ENV_URL = re.compile(r"PROVIDER_([A-Z][A-Z0-9_]*)_BASE_URL")


def configured_upstreams(settings: Settings, env: Mapping[str, str]) -> list[Upstream]:
    """Every configured upstream: known providers first, then others. Raises SettingsError with all problems."""
    reader = _Reader(settings, env)
    upstreams = [*reader.rows(), *reader.tables(), *reader.variables()]
    problems = [*reader.problems, *_problems(upstreams), *_keys_without_url(env)]
    if problems:
        raise SettingsError(problems)
    return upstreams


class _Reader:
    """Reads the upstreams, and collects problems."""

    def __init__(self, settings: Settings, env: Mapping[str, str]) -> None:
        self._settings = settings
        self._env = env
        self.problems: list[str] = []

    def rows(self) -> Iterator[Upstream]:
        """The known providers that a variable or a table configures."""
        for row in known_rows():
            table = self._settings.providers.get(row.name)
            if table is not None and table.base_url is not None:
                table = None  # another upstream under the name of a known provider
            url = self._env.get(row.base_url_env)
            key = (self._table_key(row.name, table) if table else None) or _secret(self._env.get(row.key_env, ""))
            if not (url or key or row.always or table):
                continue
            if row.needs_key and key is None:
                because = f"{row.base_url_env} is set" if url else f"[providers.{row.name}] is there"
                self.problems.append(f"{row.key_env} is missing, but {because}: set the key or take that away")
                continue
            base_url = row.read_url(url) if url else row.base_url
            yield self._upstream(row.name, base_url, key, _at(base_url, row), table)

    def tables(self) -> Iterator[Upstream]:
        """Other upstreams, from gateway.toml."""
        rows = {row.name: row for row in known_rows()}
        for name, table in self._settings.providers.items():
            row = OPENAI_WIRE if table.wire == "openai" else rows.get(table.wire)
            if table.base_url is None:
                if name not in rows:
                    self.problems.append(f"providers.{name}: base_url is missing, and no known provider has this name")
            elif row is None:
                known = ", ".join(sorted(rows))
                self.problems.append(f"providers.{name}: there is no wire '{table.wire}'. Known: {known}")
            else:
                yield self._upstream(name, row.read_url(table.base_url), self._table_key(name, table), row, table)

    def variables(self) -> Iterator[Upstream]:
        """Other upstreams, from the environment."""
        for variable, url in self._env.items():
            if match := _ENV_URL.fullmatch(variable):
                key = self._env.get(f"PROVIDER_{match[1]}_API_KEY")
                yield self._upstream(match[1].lower(), url, SecretStr(key) if key else None, OPENAI_WIRE)

    def _upstream(
        self, name: str, base_url: str, key: SecretStr | None, row: ProviderRow, table: ProviderSettings | None = None
    ) -> Upstream:
        headers = self._row_headers(row)
        if table is not None:
            headers |= {header.lower(): value for header, value in table.headers.items()}
            row = override_quirks(row, name, table, self.problems)
        effective = self._settings.for_provider(name)
        timeouts = Timeouts(
            connect=effective.connect_timeout_s,
            request=effective.request_timeout_s,
            stream_idle=effective.stream_idle_timeout_s,
            stream=effective.stream_timeout_s,
        )
        sizes = Sizes(effective.reply_max_size, effective.event_max_size)
        unknown_params = effective.unknown_params or row.unknown_params
        fetch_images = self._settings.fetch_images
        return Upstream(
            name, base_url, key, timeouts, row, effective.conformance, unknown_params, headers, fetch_images, sizes
        )

    def _table_key(self, name: str, table: ProviderSettings) -> SecretStr | None:
        """The key of a table; naming a variable that is not set is a problem."""
        if table.api_key is not None or table.api_key_env is None:
            return table.api_key
        if table.api_key_env not in self._env:
            self.problems.append(f"providers.{name}: {table.api_key_env} is missing: set it")
        return _secret(self._env.get(table.api_key_env, ""))

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
    return replace(row, quirks=replace(row.quirks, max_completion_tokens_only=False))


def _secret(key: str) -> SecretStr | None:
    return SecretStr(key.strip()) if key.strip() else None


def _problems(upstreams: list[Upstream]) -> Iterator[str]:
    for upstream in upstreams:
        yield from _url_problems(upstream)
        if upstream.api_key is not None and not is_header_value(upstream.secret):
            yield f"provider '{upstream.name}': the key holds characters that no header can carry"
        yield from header_problems(upstream.name, upstream.headers, keyed=upstream.api_key is not None)
    names = [upstream.name for upstream in upstreams]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"provider '{name}' is configured twice"
    for name in names:
        if not is_usable_name(name):
            usable = "lower-case letters, digits, - and _, and none of our own paths"
            yield f"provider name '{name}' cannot be used: choose {usable}"


def _url_problems(upstream: Upstream) -> Iterator[str]:
    if not (upstream.base_url or upstream.row.base_url or upstream.row.adapter == OPENAI_COMPATIBLE):
        return  # an adapter without an upstream, or with a fixed one
    if not is_web_address(upstream.base_url):
        yield f"provider '{upstream.name}': the base URL must look like https://host/v1"
        return
    parts = urlsplit(upstream.base_url)
    if parts.username or parts.password or parts.query or parts.fragment:
        yield f"provider '{upstream.name}': the base URL must hold no credentials, query or fragment"


def _keys_without_url(env: Mapping[str, str]) -> Iterator[str]:
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
