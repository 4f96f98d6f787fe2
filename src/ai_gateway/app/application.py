"""What settings make of the gateway: at the start, and again while it runs.

A reload reads every source anew and replaces what has changed in one step. Calls that have begun keep what they began
with. Configuration that cannot be used changes nothing.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from ai_gateway.accounts.keys import KeyRing
from ai_gateway.api.access import Access
from ai_gateway.api.gateway.docs import served_contract
from ai_gateway.config.settings import ProviderSettings, Settings, SettingsError, environment, load
from ai_gateway.gateway import Gateway, close_quietly
from ai_gateway.observability.logging import configure_logging
from ai_gateway.providers.base import Provider
from ai_gateway.providers.config.load import load_provider
from ai_gateway.providers.config.upstreams import ConfiguredUpstream, configured_upstreams
from ai_gateway.providers.custom import CustomProvider
from ai_gateway.providers.upstream import Timeouts, Upstream
from ai_gateway.resilience.attempts import Resilience
from ai_gateway.resilience.breaker import BreakerPolicy
from ai_gateway.resilience.retry import RetryPolicy
from ai_gateway.routing.model_list.feed import ListFeed
from ai_gateway.routing.model_list.parse import ModelList
from ai_gateway.routing.model_list.store import ListStore, default_path
from ai_gateway.routing.provider_models import Catalogue
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Routing
from ai_gateway.routing.rules import read_rules

# Built into the server or the application when it starts. A change of any other setting holds after a reload.
FIXED = (
    "service_host", "service_port", "workers", "grace_period_s", "drain_delay_s", "body_timeout_s", "request_max_size",
    "bodies_max_size", "max_in_flight", "enable_docs", "docs_require_key", "enable_security_headers", "cors_origins",
)  # fmt: skip
_LIST_SETTINGS = ("model_list_url", "model_list_refresh_s", "model_list_cache", "model_list_api_key")
type _Made = dict[str, tuple[Upstream, Provider]]
_log = structlog.get_logger(__name__)


class Assembly:
    """The parts that settings decide about. `read` is where a reload gets them from. Raises SettingsError."""

    def __init__(self, settings: Settings, read: Callable[[], Settings] = load) -> None:
        self.settings = settings
        self._read = read
        self._made: _Made = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._gone: list[Provider] = []
        self._reloading = asyncio.Lock()
        made = self._providers(settings)
        self.gateway = Gateway(_routing(settings, made), _resilience(settings))
        self._made = made
        self.access = Access(_keys(settings), allow_anonymous=settings.allow_anonymous)
        self.model_list = self._feed(settings)
        self.contract = self._served(settings)

    async def start(self) -> None:
        """Begin what runs beside the calls."""
        if self.model_list is not None:
            await self.model_list.start()

    async def aclose(self) -> None:
        """Stop it, and release every connection."""
        if self.model_list is not None:
            await self.model_list.aclose()
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for provider in self._gone:  # those whose task never got so far as to see to it
            await close_quietly(provider)
        await self.gateway.aclose()

    async def reload(self) -> list[str]:
        """Read the configuration again and take it over. The problems that kept it from being taken, if any."""
        async with self._reloading:
            try:
                settings = self._read()
                made = self._providers(settings)
                routing = _routing(settings, made)
            except SettingsError as error:
                _log.error("configuration not reloaded", problems=error.problems)
                return error.problems
            await self._take_over(settings, made, routing)
        return []

    async def _take_over(self, settings: Settings, made: _Made, routing: Routing) -> None:
        before, self.settings = self.settings, settings
        same_feed = all(getattr(before, name) == getattr(settings, name) for name in _LIST_SETTINGS)
        if not same_feed and self.model_list is not None:
            await self.model_list.aclose()  # or it would go on changing what is replaced
        if before.model_list_url == settings.model_list_url and self.model_list is not None:
            routing = routing.with_list(self.model_list.status.models)
        # What it is being asked by calls that wait it will still tell them; nobody else asks it any more.
        routing.catalogue.take_over(self.gateway.routing.catalogue)
        self.gateway.routing = routing
        kept = {id(provider) for _, provider in made.values()}
        gone = {name: provider for name, (_, provider) in self._made.items() if id(provider) not in kept}
        self.gateway.resilience.adopt(_resilience(settings), without=gone)
        self._made = made
        self.access.keys, self.access.allow_anonymous = _keys(settings), settings.allow_anonymous
        self.contract = self._served(settings)
        configure_logging(settings.log_level)
        self._retire(gone.values(), before)
        await self._renew_list(settings, same=same_feed)
        fixed = [name.upper() for name in FIXED if getattr(before, name) != getattr(settings, name)]
        _log.warning("configuration reloaded", providers=routing.registry.names, takes_a_restart=fixed)

    async def _renew_list(self, settings: Settings, *, same: bool) -> None:
        if same:
            if self.model_list is not None:
                self.model_list.refresh()
            return
        self.model_list = self._feed(settings)
        if self.model_list is not None:
            await self.model_list.start()

    def _retire(self, providers: Iterable[Provider], settings: Settings) -> None:
        """Close what is not configured any more as soon as no call can be using it."""

        async def close_later(provider: Provider) -> None:
            await asyncio.sleep(_longest_call(settings))
            self._gone.remove(provider)
            await close_quietly(provider)

        for provider in providers:
            self._gone.append(provider)
            task = asyncio.create_task(close_later(provider))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _providers(self, settings: Settings) -> _Made:
        """A provider for each configured upstream: the one there is, with its connections, if nothing changed."""
        made: _Made = {}
        for upstream in _upstreams(settings):
            before, provider = self._made.get(upstream.name, (None, None))
            same = provider is not None and before == upstream
            made[upstream.name] = (upstream, provider if same and provider else load_provider(upstream))
        return made

    def _feed(self, settings: Settings) -> ListFeed | None:
        """What keeps the list of MODEL_LIST_URL fresh, if there is one; each new list makes a new snapshot."""
        url = settings.model_list_url
        if url is None:
            return None
        path = settings.model_list_cache or default_path(url)
        key = settings.model_list_api_key

        def adopt(models: ModelList) -> None:
            self.gateway.routing = self.gateway.routing.with_list(models)

        return ListFeed(
            url,
            adopt,
            refresh_s=settings.model_list_refresh_s,
            store=ListStore(path, url) if path else None,
            api_key=key.get_secret_value() if key else None,
        )

    def _served(self, settings: Settings) -> dict[str, Any]:
        return served_contract(
            self.gateway.registry.names,
            keys_needed=bool(settings.allowed_api_keys),
            default_model=bool(self.gateway.routing.rules.default_model),
        )


def _longest_call(settings: Settings) -> float:
    """Seconds after which nothing can be under way that began with these settings."""
    tables = settings.providers.values()
    request = max([settings.request_timeout_s, *(table.request_timeout_s or 0 for table in tables)])
    targets = max([1, *(len(route.targets) for route in settings.routes.values())])  # one is asked after the other
    return request * targets + max([settings.stream_timeout_s, *(table.stream_timeout_s or 0 for table in tables)])


def _keys(settings: Settings) -> KeyRing:
    return KeyRing(key.get_secret_value() for key in settings.allowed_api_keys)


def _routing(settings: Settings, made: _Made) -> Routing:
    built_in = CustomProvider("custom", settings.unknown_params or "forward")
    registry = Registry([*(provider for _, provider in made.values()), built_in])
    return Routing(registry, Catalogue(registry, settings.model_cache_ttl_s), read_rules(settings, registry.names))


def _resilience(settings: Settings) -> Resilience:
    retry = RetryPolicy(
        settings.max_retries, frozenset(settings.retry_refusals), longest_wait=settings.retry_after_max_s
    )
    breaker = BreakerPolicy(settings.breaker_threshold, settings.breaker_window_s, settings.breaker_pause_s)
    return Resilience(retry, breaker, per_model=settings.breaker_per_model)


def _upstreams(settings: Settings) -> list[Upstream]:
    return [_upstream(settings, found) for found in configured_upstreams(settings.providers, environment())]


def _upstream(settings: Settings, found: ConfiguredUpstream) -> Upstream:
    """What its own table says counts before what is said for all."""
    own = found.table or ProviderSettings()
    return Upstream(
        found.name,
        found.base_url,
        found.api_key,
        Timeouts(
            connect=own.connect_timeout_s or settings.connect_timeout_s,
            request=own.request_timeout_s or settings.request_timeout_s,
            stream_idle=own.stream_idle_timeout_s or settings.stream_idle_timeout_s,
            stream=own.stream_timeout_s or settings.stream_timeout_s,
        ),
        found.row,
        own.conformance or settings.provider_conformance.get(found.name, settings.conformance),
        own.unknown_params or settings.unknown_params or found.row.unknown_params,
        found.headers,
        settings.fetch_images,
    )
