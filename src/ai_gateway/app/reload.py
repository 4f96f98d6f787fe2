"""Reload: the parts of an application that depend on configuration, replaced while calls run.

Calls in flight keep the parts that they began with. An invalid configuration changes nothing. A setting that is built
into the server or the application keeps the value it started with: it has the mark RESTART.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from pydantic import SecretStr

from ai_gateway.accounts.keys import ConfiguredKey, KeyRing
from ai_gateway.accounts.projects import make_missing, project_called
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.api.access import Access
from ai_gateway.api.gateway.docs import served_contract
from ai_gateway.app.accounts import Accounts
from ai_gateway.app.configuration import Configuration, ProxyFor
from ai_gateway.app.tools import ToolFactory
from ai_gateway.app.watchers import Watchers
from ai_gateway.config.fields import RESTART
from ai_gateway.config.problems import SettingsError, attempt
from ai_gateway.config.settings import Settings, marked
from ai_gateway.gateway import Gateway, close_quietly
from ai_gateway.middleware.cors import Cors
from ai_gateway.observability.logging import configure_logging
from ai_gateway.providers.base import Provider
from ai_gateway.providers.config.load import load_provider
from ai_gateway.providers.custom import CustomProvider
from ai_gateway.providers.upstream import Proxy, Upstream
from ai_gateway.redaction import remember
from ai_gateway.resilience.attempts import Resilience
from ai_gateway.resilience.breaker import BreakerPolicy
from ai_gateway.resilience.retry import RetryPolicy
from ai_gateway.routing.model_list.feed import ListFeed
from ai_gateway.routing.model_list.parse import ModelList
from ai_gateway.routing.model_list.store import ListStore, default_path
from ai_gateway.routing.provider_models import Catalogue
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Routing
from ai_gateway.tools.tool import Tool

type Loaded = dict[str, tuple[Upstream, Provider]]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of a reload: applied, unless there are problems.

    `takes_a_restart` names changed settings that only apply after a restart.
    """

    problems: list[str] = field(default_factory=list)
    takes_a_restart: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    taken: Configuration | None = field(default=None, repr=False)


class Reloadable:
    """Providers, routing, keys and the model list of the current configuration. `read` reads the next one."""

    def __init__(self, configuration: Configuration, read: Callable[[], Configuration]) -> None:
        self.settings = configuration.settings
        self._read = read
        self._reloading = asyncio.Lock()
        self._providers = _load(configuration.upstreams, {})
        self._next: tuple[Configuration, Loaded] | None = None
        self._retired = _Retired()
        self._tools = ToolFactory(lambda: self.accounts.directory)
        self.accounts = Accounts(self.settings, self._forget_keys)
        self.watchers = Watchers(self.settings, self.accounts)
        self.watchers.check(self.settings)
        routing, resilience = _routing(configuration, self._providers), _resilience(self.settings)
        self.gateway = Gateway(routing, resilience, self.accounts.accounting)
        self.access = Access(KeyRing(), allow_anonymous=False, allows=Cors(self.settings.cors_origins).allows)
        self._list_source = _list_source(self.settings, configuration.proxy_for)
        accounting = self.accounts.accounting
        if accounting is not None:
            self.access.wrong_keys.counters = lambda: accounting.counters
        self._longest_call_s = 0.0
        self.model_list = self._feed(self._list_source)
        self.contract: dict[str, Any] = {}
        self._apply(configuration)
        _warn(configuration)

    def _forget_keys(self) -> None:
        """Drop cached keys, whose permissions have changed."""
        self.access.keys.forget()
        self._keep_limits()
        self._keep_contract()

    def _keep_limits(self) -> None:
        """Count calls in flight towards limits that were set since they began."""
        if self.accounts.accounting is not None:
            self.accounts.accounting.limits_changed(self.access.keys)

    def _keep_contract(self) -> None:
        """Update the served contract, which says whether a key is needed: the first stored key changes that."""
        if self._keys_needed != bool(self.access.keys):
            self._write_contract()

    async def start(self) -> None:
        """Start background tasks."""
        self.watchers.start()
        await self.accounts.start()
        self._keep_contract()
        await self._make_projects(self.configured_keys)
        if self.model_list is not None:
            await self.model_list.start()
        if self._next is not None:
            configuration, providers = self._next
            self._next = None
            await self._take_over(configuration, providers)

    def start_with(self, configuration: Configuration | None) -> None:
        """Start with another configuration than the one it was built with.

        For a worker that replaces another one. Raises SettingsError if it cannot be used.
        """
        configuration = self._read() if configuration is None else configuration
        self._next = configuration, _load(configuration.upstreams, self._providers)

    async def aclose(self) -> None:
        """Stop them, and close every provider."""
        if self.model_list is not None:
            await self.model_list.aclose()
        await self._retired.aclose()
        await self.gateway.aclose()
        await self.accounts.aclose()
        await self.watchers.aclose()

    async def reload(self) -> Reloaded:
        """Read and apply the configuration, unless there are problems."""
        async with self._reloading:
            try:
                configuration = self._read()
                self._check_keys(configuration)
                self.watchers.check(configuration.settings)
                providers = _load(configuration.upstreams, self._providers)
            except SettingsError as error:
                _log.error("configuration not reloaded", problems=error.problems)
                return Reloaded(problems=error.problems)
            restart = [name.upper() for name in await self._take_over(configuration, providers)]
        names = self.gateway.registry.names
        _log.warning("configuration reloaded", providers=names, takes_a_restart=restart)
        _warn(configuration)
        return Reloaded(takes_a_restart=restart, warnings=list(configuration.warnings), taken=configuration)

    def _check_keys(self, new: Configuration) -> None:
        """Raise SettingsError if a reload would remove the last key: opening the gateway takes a restart."""
        if self.access.keys and not KeyRing(new.keys, self.accounts.directory):
            raise SettingsError(
                ["ALLOWED_API_KEYS: a reload does not take the last key away: set one, or restart the gateway without"]
            )

    async def _take_over(self, configuration: Configuration, providers: Loaded) -> list[str]:
        """Replace what has changed. Returns the names of changed settings that take a restart."""
        before, new = self.settings, configuration.settings
        running = {name: getattr(before, name) for name in marked(RESTART)}
        source, former_source = _list_source(new, configuration.proxy_for), self._list_source
        if source != former_source and self.model_list is not None:
            await self.model_list.aclose()  # or it would keep changing the replaced parts
        self.settings = new.model_copy(update=running)
        routing = _routing(configuration, providers)
        if self.model_list is not None and source and former_source and source.url == former_source.url:
            routing = routing.with_list(self.model_list.status.models)
        # Calls that wait for the former catalogue still get its result; all others use the new one.
        routing.catalogue.take_over(self.gateway.routing.catalogue)
        self.gateway.routing = routing
        kept = {id(provider) for _, provider in providers.values()}
        removed = {name: provider for name, (_, provider) in self._providers.items() if id(provider) not in kept}
        self.gateway.resilience.adopt(_resilience(self.settings), removed=removed)
        self._longest_call_s = _longest_call(before, self._providers)
        self._retired.add((partial(close_quietly, each) for each in removed.values()), close_in_s=self._longest_call_s)
        self._providers = providers
        await self._make_projects(configuration.keys)
        self._apply(configuration)
        await self._renew_list(source)
        return [name for name, value in running.items() if getattr(new, name) != value]

    def _apply(self, configuration: Configuration) -> None:
        """Apply what the next call uses."""
        settings = configuration.settings
        configure_logging(settings.log_level, settings.log_format)
        self.accounts.apply(self.settings)
        self.accounts.apply_webhook_network(self.settings, configuration.proxy_for)
        self.watchers.apply(self.settings)
        self._seal = settings.sealing_key.get_secret_value() if settings.sealing_key is not None else ""
        self._seals = {} if self._seal else {each.name: each.secret for each in configuration.upstreams}
        self.configured_keys = configuration.keys
        self.access.keys = KeyRing(configuration.keys, self.accounts.directory)
        self._keep_limits()
        self.gateway.tools, gone = self._tools.tools(self.settings, configuration.mcp, configuration.proxy_for)
        if gone:
            self._retired.add((partial(_close_tool, each) for each in gone), close_in_s=self._longest_call_s)
        self.access.allow_anonymous = settings.allow_anonymous
        self.access.wrong_keys.most = settings.wrong_keys_per_minute
        self._write_contract()

    def sealing_key(self, provider: str) -> bytes:
        """The key for sealing a provider's data that clients keep: derived from SEALING_KEY or the provider's key.

        So replicas with the same configuration can read each other's seals.
        """
        return hashlib.sha256(b"ai-gateway seal " + self._seals.get(provider, self._seal).encode()).digest()

    def _write_contract(self) -> None:
        """Write the served contract for the current configuration."""
        self._keys_needed = bool(self.access.keys)
        self.contract = served_contract(
            self.gateway.registry.names,
            keys_needed=self._keys_needed,
            default_model=bool(self.gateway.routing.rules.default_model),
            administered=self.accounts.directory is not None,
        )

    async def _make_projects(self, keys: Sequence[ConfiguredKey]) -> None:
        """Create missing projects that keys of the configuration name."""
        directory = self.accounts.directory
        if directory is None:
            return
        try:
            await make_missing(directory, (key.project for key in keys))
        except StoreError as error:
            _log.error("projects of [keys] could not be made", error=str(error))
        for key in keys:
            project = project_called(directory, key.project)
            if project is not None and project.archived_at is not None:
                warning = f"{key.name}: its project {key.project!r} is archived, so that the key is refused"
                _log.warning("configuration", warning=warning)

    async def _renew_list(self, source: "_ListSource | None") -> None:
        if source == self._list_source:
            if self.model_list is not None:
                self.model_list.refresh()
            return
        self._list_source = source
        self.model_list = self._feed(source)
        if self.model_list is not None:
            await self.model_list.start()

    def _feed(self, source: "_ListSource | None") -> ListFeed | None:
        """The feed of the model list, if there is one; each new list makes a new routing snapshot."""
        if source is None:
            return None
        key = source.api_key.get_secret_value() if source.api_key else None
        remember(key or "")
        store = ListStore(source.cache, source.url) if source.cache else None

        def adopt(models: ModelList) -> None:
            self.gateway.routing = self.gateway.routing.with_list(models)
            self.accounts.take_list(models.entries)

        return ListFeed(source.url, adopt, refresh_s=source.refresh_s, store=store, api_key=key, proxy=source.proxy)


class _Retired:
    """Removed providers and tools, each closed once no call can use it any more."""

    def __init__(self) -> None:
        self._closing: set[asyncio.Task[None]] = set()
        self._open: list[Callable[[], Awaitable[None]]] = []

    def add(self, closings: Iterable[Callable[[], Awaitable[None]]], *, close_in_s: float) -> None:
        """Close these after the delay. None may raise."""

        async def close_later(close: Callable[[], Awaitable[None]]) -> None:
            await asyncio.sleep(close_in_s)
            self._open.remove(close)
            await close()

        for close in closings:
            self._open.append(close)
            task = asyncio.create_task(close_later(close))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close them now."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for close in self._open:
            await close()


@dataclass(frozen=True, slots=True)
class _ListSource:
    """The source of the model list. The feed is replaced when it changes."""

    url: str
    refresh_s: float
    cache: Path | None
    api_key: SecretStr | None
    proxy: Proxy | None


def _list_source(settings: Settings, proxy_for: ProxyFor) -> _ListSource | None:
    url = settings.model_list_url
    cache, refresh_s, key = settings.model_list_cache, settings.model_list_refresh_s, settings.model_list_api_key
    return _ListSource(url, refresh_s, cache or default_path(url), key, proxy_for(url)) if url is not None else None


async def _close_tool(tool: Tool) -> None:
    """Close the tool; a failure is logged, so that the others are closed as well."""
    try:
        await tool.close()
    except Exception as error:  # nothing handles it, so it is logged
        _log.warning("tool did not close", tool=tool.name, exc_info=error)


def _load(upstreams: Sequence[Upstream], loaded: Loaded) -> Loaded:
    """A provider for each upstream: the loaded one, with its connections, if unchanged.

    Raises SettingsError with the problems of all providers.
    """
    problems: list[str] = []
    providers: Loaded = {}
    for upstream in upstreams:
        former, provider = loaded.get(upstream.name, (None, None))
        if provider is None or former != upstream:
            provider = attempt(problems, partial(load_provider, upstream))
        if provider is not None:
            providers[upstream.name] = (upstream, provider)
    if problems:
        raise SettingsError(problems)
    return providers


def _warn(configuration: Configuration) -> None:
    for warning in configuration.warnings:
        _log.warning("configuration", warning=warning)


def _routing(configuration: Configuration, providers: Loaded) -> Routing:
    settings = configuration.settings
    served = [provider for _, provider in providers.values()]
    if settings.custom_provider:
        unknown_params = settings.unknown_params or "forward"
        served.append(CustomProvider(unknown_params=unknown_params, pace_s=settings.custom_pace_ms / 1000))
    registry = Registry(served, configuration.missing)
    return Routing(registry, Catalogue(registry, settings.model_cache_ttl_s), configuration.rules)


def _resilience(settings: Settings) -> Resilience:
    retry = RetryPolicy(settings.max_retries, frozenset(settings.retry_refusals), max_wait=settings.retry_after_max_s)
    breaker = BreakerPolicy(settings.breaker_threshold, settings.breaker_window_s, settings.breaker_pause_s)
    return Resilience(retry, breaker, per_model=settings.breaker_per_model, limit_of=settings.share_of)


def _longest_call(settings: Settings, providers: Loaded) -> float:
    """The longest time in seconds that a call with these settings and providers can take."""
    timeouts = [upstream.timeouts for upstream, _ in providers.values()]
    targets = max((len(route.targets) for route in settings.routes.values()), default=1)  # called one after the other
    request = max((timeout.request for timeout in timeouts), default=0.0)
    return request * targets + max((timeout.stream for timeout in timeouts), default=0.0)
