"""What `check` prints: each setting with its source, and whether the providers answer."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing

import typer
from pydantic import BaseModel, SecretStr

from ai_gateway.app.application import Application
from ai_gateway.cli.problems import print_problems
from ai_gateway.cli.starting import Loaded, load, require_keys
from ai_gateway.config.fields import FILE_ONLY, SECRET
from ai_gateway.config.problems import attempt, shown
from ai_gateway.config.settings import Settings, marked
from ai_gateway.config.sources import Sources, origin_of
from ai_gateway.errors import GatewayError
from ai_gateway.observability.logging import configure_logging
from ai_gateway.observability.printable import printable_text
from ai_gateway.providers.config.upstreams import known_variables, network_variables
from ai_gateway.providers.upstream import Upstream
from ai_gateway.redaction import redact
from ai_gateway.routing.provider_models import CachedModels

_HIDDEN = "(set, not shown)"
_SECRETS = frozenset(marked(SECRET))
_TABLES = frozenset(marked(FILE_ONLY))
_OF_PROVIDERS = "PROVIDER_"
_PLAIN_ENDS = ("_URL", "_HOST", "_FILE", "_DIR", "_COMMAND")
_CHECK_KEY = "check its key: {key}"
_CHECK_ADDRESS = "check {setting}"
# Advice about a provider that does not answer, by error code.
_ADVICE = {
    "upstream_auth_error": _CHECK_KEY,
    "upstream_unreachable": "check {setting}, and that its server runs and can be reached from here",
    "upstream_wrong_address": _CHECK_ADDRESS,
    "upstream_timeout": "check {setting}, or allow more with HEALTH_CHECK_TIMEOUT_S (now {timeout:g} s)",
    "upstream_invalid_response": "check that {setting} is the address of an API of this kind",
}
# The same by status, for other codes of the upstream.
_ADVICE_ON = {401: _CHECK_KEY, 403: _CHECK_KEY, 404: _CHECK_ADDRESS}


def check(*, host: str | None, port: int | None, log_level: str | None, workers: int | None, offline: bool) -> None:
    """Print all settings and check the providers. Raises typer.Exit if something is wrong."""
    problems: list[str] = []
    loaded = load(problems, host=host, port=port, log_level=log_level, workers=workers)
    if (settings := loaded.settings) is not None:
        attempt(problems, lambda: require_keys(settings, has_keys=loaded.has_keys))
    configure_logging("error", "auto")  # warnings are printed by this command
    application = loaded.application(problems)
    configure_logging("error", "auto")
    if application is None or loaded.configuration is None:
        print_problems(problems)
        raise typer.Exit(2)
    _print(_settings(loaded.sources, application.settings))
    _print([(name, _of_variable(name, value), origin) for name, value, origin in _variables(loaded.sources)])
    for warning in loaded.configuration.warnings:
        typer.echo(f"warning: {printable_text(redact(warning))}")
    if not asyncio.run(_providers_answer(application, loaded, offline=offline)):
        raise typer.Exit(1)


def _print(rows: Iterable[tuple[str, str, str]]) -> None:
    made = [tuple(printable_text(redact(cell)) for cell in row) for row in rows]
    widths = [max((len(row[column]) for row in made), default=0) for column in (0, 1)]
    for name, value, origin in made:
        typer.echo(f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}")


def _settings(sources: Sources, settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Name, value and source of every setting, including keys inside tables."""
    for name in Settings.model_fields:
        value = getattr(settings, name)
        origin = sources.origin(name) if sources.has(name) else "default"
        if name in _TABLES:
            yield from ((place, text, origin) for place, text in _inside(name, value))
        else:
            yield name.upper(), _HIDDEN if value and name in _SECRETS else _text(value), origin


def _inside(place: str, value: object) -> Iterator[tuple[str, str]]:
    """The values of a table, by path."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in value.model_fields_set}
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _inside(f"{place}.{name}", each)
    else:
        yield place, _text(value)


def _text(value: object) -> str:
    """A value in the notation of people; URLs without credentials."""
    if isinstance(value, SecretStr):
        return _HIDDEN
    if value is None or value == ():
        return "none"
    if isinstance(value, list | tuple):
        return ",".join(_text(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return shown(text).strip("'") or _HIDDEN if "://" in text or "@" in text else text


def _variables(sources: Sources) -> Iterator[tuple[str, str, str]]:
    """The set variables that are not settings: those of providers, proxies and certificates."""
    known = known_variables()
    known |= {*network_variables(), *(f"{name}_FILE" for name in known)}
    for name, value in sorted(sources.environment.items()):
        if name in known or name.startswith(_OF_PROVIDERS):
            yield name, value, origin_of(sources.environment, name)


def _of_variable(name: str, value: str) -> str:
    """The value of a URL or path variable; others may be keys and are hidden."""
    is_place = name.endswith(_PLAIN_ENDS) or name.upper() == "NO_PROXY"
    return _text(value) if is_place and not name.endswith("_COMMAND") else _HIDDEN


async def _providers_answer(application: Application, loaded: Loaded, *, offline: bool) -> bool:
    """Whether all providers listed their models; prints the result for each."""
    configuration = loaded.configuration
    upstreams = {upstream.name: upstream for upstream in configuration.upstreams} if configuration else {}
    catalogue = application.gateway.routing.catalogue
    timeout_s = application.settings.health_check_timeout_s
    async with aclosing(application.gateway):
        if not offline:
            await catalogue.check(timeout_s)
        rows = [(each, _found(each, upstreams.get(each.provider.name), timeout_s)) for each in catalogue.cached]
    width = max((len(each.provider.name) for each, _ in rows), default=0)
    for each, found in rows:
        state = "not checked" if offline else found
        typer.echo(f"provider {each.provider.name:{width}}  {printable_text(redact(state))}")
    if not rows:
        typer.echo("no provider is configured: set a key, such as OPENAI_API_KEY, or a base URL")
    return all(each.state != "unreachable" for each, _ in rows)


def _found(cached: CachedModels, upstream: Upstream | None, timeout_s: float) -> str:
    if cached.failure is None or cached.state != "unreachable":
        count = len(cached.listed or ())
        return f"reachable: {count} models in {cached.latency_s:.2f} s"
    return f"failed: {cached.failure.message}{_advice(cached.failure, upstream, timeout_s)}"


def _advice(failure: GatewayError, upstream: Upstream | None, timeout_s: float) -> str:
    advice = _ADVICE.get(failure.code or "") or _ADVICE_ON.get(failure.status)
    if upstream is None or advice is None:
        return ""
    setting = upstream.setting if upstream.base_url else upstream.row.base_url_env
    key = upstream.key_source.setting if upstream.key_source else _key_setting(upstream, setting)
    return f" To do: {advice.format(setting=setting, key=key, timeout=timeout_s)}."


def _key_setting(upstream: Upstream, setting: str) -> str:
    """The setting of its key, inferred from that of its base URL."""
    if setting.startswith("providers."):
        return f"api_key, api_key_env or api_key_file in [providers.{upstream.name}]"
    if setting.startswith(_OF_PROVIDERS):
        return setting.replace("_BASE_URL", "_API_KEY")
    return upstream.row.key_env or f"api_key in [providers.{upstream.name}]"
