"""Settings and what they configure: read from all sources and checked together, at the start and at each reload."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from urllib.parse import urlsplit

from ai_gateway.accounts.configured import configured_keys
from ai_gateway.accounts.keys import ConfiguredKey
from ai_gateway.app.accounts import place_at
from ai_gateway.app.mcp_servers import mcp_servers
from ai_gateway.app.own_address import is_own_address
from ai_gateway.app.tools import searched_at
from ai_gateway.config.constants import CONFIG_VARIABLE, DOTENV_VARIABLE
from ai_gateway.config.fields import FILE_ONLY, SECRET
from ai_gateway.config.near_misses import near_misses
from ai_gateway.config.problems import SettingsError, attempt, shown
from ai_gateway.config.secrets import FILE_SUFFIX
from ai_gateway.config.settings import Settings, marked
from ai_gateway.config.sources import (
    ALIASES,
    Sources,
    read_settings,
    read_sources,
)
from ai_gateway.config.validation import closest
from ai_gateway.providers.config.network import proxy_for
from ai_gateway.providers.config.upstreams import (
    configured_upstreams,
    known_providers,
    known_variables,
    network_variables,
)
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE, Proxy, Upstream
from ai_gateway.routing.registry import BUILT_IN
from ai_gateway.routing.rules import Rules, read_rules
from ai_gateway.tools.mcp.server import McpServer
from ai_gateway.tools.process_sandbox import unsupported

type ProxyFor = Callable[[str], Proxy | None]
"""Returns the proxy for a URL, if any. Raises ValueError for an invalid proxy address."""


def no_proxy(_: str) -> Proxy | None:
    """For deployments without a proxy."""
    return None


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, and what they and the environment configure, checked together.

    `missing` has what to set for providers that gateway.toml names and that lack a key here. `warnings` are for the
    operator: ignored settings, and features that will not work. `proxy_for` gives the proxy for URLs that are not a
    provider's.
    """

    settings: Settings
    upstreams: Sequence[Upstream]
    rules: Rules
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    keys: Sequence[ConfiguredKey] = field(default=(), repr=False)
    proxy_for: ProxyFor = field(default=no_proxy, repr=False)  # it contains all variables, whose values may be keys
    mcp: Sequence[McpServer] = ()


def read_configuration(**options: object) -> Configuration:
    """Read every source. `options`, by field name, take precedence. Raises SettingsError with all problems."""
    sources = read_sources(**options)
    problems: list[str] = []
    settings = attempt(problems, lambda: read_settings(sources))
    # Environment variables of providers are checked even if the settings are invalid.
    configuration = attempt(problems, lambda: configure(settings or Settings(), sources))
    if configuration is None or problems:
        raise SettingsError(problems)
    return configuration


def configure(settings: Settings, sources: Sources) -> Configuration:
    """The configuration from settings and environment. Raises SettingsError with all problems."""
    configured = configured_upstreams(settings, sources.environment)
    if problems := list(_loops(settings, configured.upstreams)):
        raise SettingsError(problems)
    built_in = [BUILT_IN] if settings.custom_provider else []
    providers = [*(upstream.name for upstream in configured.upstreams), *built_in]
    warnings = [*sources.warnings, *_misspelt(settings, sources.environment)]
    warnings += [f"provider '{name}' is not configured here: {hint}" for name, hint in configured.missing.items()]
    warnings += _without_path(configured.upstreams)
    warnings += _unverified(configured.upstreams)
    warnings += _unknown_providers(settings, {*providers, *configured.missing, *known_providers()})
    rules = read_rules(settings, providers, configured.missing, warnings)
    keys = configured_keys(settings, sources.environment)
    if (settings.smtp_url is None) is not (settings.smtp_from is None):
        raise SettingsError(["SMTP_URL and SMTP_FROM: mails need both, a server and an address to be sent from"])
    if problems := [*_incomplete_search(settings), *_incomplete_tools(settings)]:
        raise SettingsError(problems)
    if settings.tool_code_execution == "process":
        warnings.append(
            "TOOL_CODE_EXECUTION is process: CODE OF STRANGERS RUNS IN A REAL PYTHON on this machine, held by nothing "
            "but the kernel (namespaces, limits, a filter of calls): a fault of the kernel is a way out. Prefer monty"
        )
    servers = mcp_servers(settings, sources.environment)
    place = place_at(settings.store_url, settings.gateway_data_dir)
    if place is not None and not place.is_kept and settings.workers > 1:
        warnings.append(
            f"nothing is kept but in memory, and WORKERS is {settings.workers}: each worker has keys, limits and usage "
            "of its own"
        )
    found = partial(proxy_for, dict(sources.environment))
    _check_proxies(settings, found)
    return Configuration(settings, configured.upstreams, rules, configured.missing, warnings, keys, found, servers)


def _check_proxies(settings: Settings, found: ProxyFor) -> None:
    """Raise SettingsError for an invalid proxy for a URL that is not a provider's."""
    for name, url in (("MODEL_LIST_URL", settings.model_list_url), ("TOOL_WEB_SEARCH", searched_at(settings))):
        try:
            if url is not None:
                found(url)
        except ValueError as error:
            raise SettingsError([f"{error} (for {name}; to call it directly, name its host in NO_PROXY)"]) from None


def _incomplete_search(settings: Settings) -> Iterator[str]:
    """Missing settings of TOOL_WEB_SEARCH."""
    fetches = settings.tool_web_fetch
    if settings.tool_web_search == "searxng" and settings.tool_web_search_url is None:
        yield "TOOL_WEB_SEARCH_URL: searxng needs the address of a server, such as http://127.0.0.1:8080"
    if settings.tool_web_search in {"tavily", "brave"} and settings.tool_web_search_api_key is None:
        yield f"TOOL_WEB_SEARCH_API_KEY: {settings.tool_web_search} needs a key"
    if settings.tool_web_search is None and fetches:
        yield "TOOL_WEB_FETCH: pages are fetched beside a search, so it needs TOOL_WEB_SEARCH"
    if settings.tool_web_fetch_networks and not fetches:
        yield "TOOL_WEB_FETCH_NETWORKS: no pages are fetched without TOOL_WEB_FETCH"
    if fetches and find_spec("selectolax") is None:
        yield "TOOL_WEB_FETCH takes an extra: pip install 'universal-ai-gateway[web]'"


def _incomplete_tools(settings: Settings) -> Iterator[str]:
    """Missing settings of other tools."""
    if settings.tool_code_execution == "monty" and find_spec("pydantic_monty") is None:
        yield "TOOL_CODE_EXECUTION takes an extra: pip install 'universal-ai-gateway[code]'"
    if settings.tool_code_execution == "process" and (why := unsupported()) is not None:
        yield f"TOOL_CODE_EXECUTION: process cannot be used here: {why}"
    if settings.tool_memory and place_at(settings.store_url, settings.gateway_data_dir) is None:
        yield "TOOL_MEMORY: memories need a store, and STORE_URL is off"


def _unknown_providers(settings: Settings, providers: Collection[str]) -> Iterator[str]:
    """Settings for providers that are not configured."""
    for setting, named in (("provider_conformance", settings.provider_conformance), ("prices", settings.prices)):
        for key in named:
            name = key.partition("/")[0]
            if name not in providers and not name.startswith("gateway:"):
                yield f"{setting}.{key}: there is no such provider{closest(name, sorted(providers))}"


def _loops(settings: Settings, upstreams: Sequence[Upstream]) -> Iterator[str]:
    """Upstreams whose address is the gateway's own, which would call itself until it has no connections left."""
    for upstream in upstreams:
        if is_own_address(upstream.base_url, settings.service_host, settings.service_port):
            wins = ", or OLLAMA_BASE_URL, which counts before it" if upstream.setting == "OLLAMA_HOST" else ""
            yield (
                f"{upstream.setting}: {shown(upstream.base_url)} is the gateway's own address: "
                f"set it to the server of provider '{upstream.name}'{wins}"
            )


def _without_path(upstreams: Sequence[Upstream]) -> Iterator[str]:
    """Base URLs without a path, which are mostly wrong: nearly every OpenAI-compatible server has one."""
    for upstream in upstreams:
        if upstream.row.adapter == OPENAI_COMPATIBLE and not urlsplit(upstream.base_url).path.strip("/"):
            yield f"{upstream.setting}: {shown(upstream.base_url)} has no path, and most servers' is /v1: check it"


def _unverified(upstreams: Sequence[Upstream]) -> Iterator[str]:
    """Upstreams whose certificate is not verified; reported at each start."""
    for upstream in upstreams:
        if not upstream.network.tls.verify and (upstream.base_url or upstream.row.base_url).startswith("https:"):
            yield (
                f"provider '{upstream.name}': DISABLE_SSL_VERIFICATION is on, so that anyone in between can read "
                "and change everything, its key included: set ca_file in its table instead"
            )


def _misspelt(settings: Settings, variables: Mapping[str, str]) -> Iterator[str]:
    known = {name.upper() for name in Settings.model_fields} - {name.upper() for name in marked(FILE_ONLY)}
    secrets = {name.upper() for name in marked(SECRET)} | known_variables()
    secrets |= {table.api_key_env for table in settings.providers.values() if table.api_key_env}
    secrets |= {table.api_key_env for table in settings.mcp.values() if table.api_key_env}
    known |= {
        *ALIASES.values(),
        CONFIG_VARIABLE,
        DOTENV_VARIABLE,
        "BUILD_COMMIT",
        "BUILD_DATE",
        *secrets,
        *network_variables(),
    }
    known |= {f"{name}{FILE_SUFFIX}" for name in secrets}
    for name, meant in near_misses(variables, known):
        yield f"{name} is not a variable that the gateway reads: did you mean {meant}?"
