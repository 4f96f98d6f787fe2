"""The only composition root: settings in, application out."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

import gateway_contract.gateway.routes as gateway_routes
import gateway_contract.openai.routes as openai_routes
from ai_gateway.accounts.keys import KeyRing
from ai_gateway.api.access import Access
from ai_gateway.api.docs import docs_routes, served_contract
from ai_gateway.api.openai import OpenAIHandlers
from ai_gateway.api.status import Lifecycle, StatusHandlers
from ai_gateway.config.constants import VERSION
from ai_gateway.config.settings import Settings, environment, load
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.render import INTERNAL, openai_envelope
from ai_gateway.errors import GatewayError, MethodNotAllowed, NotFound
from ai_gateway.gateway import Gateway
from ai_gateway.middleware.access_log import AccessLogMiddleware
from ai_gateway.middleware.limits import HeadLimitsMiddleware
from ai_gateway.middleware.request_id import RequestIdMiddleware
from ai_gateway.observability.logging import configure_logging
from ai_gateway.providers.base import Provider
from ai_gateway.providers.custom import CustomProvider
from ai_gateway.providers.load import load_provider
from ai_gateway.providers.upstream import Timeouts, Upstream
from ai_gateway.resilience.breaker import BreakerPolicy
from ai_gateway.resilience.retry import RetryPolicy
from ai_gateway.resilience.tries import Resilience
from ai_gateway.routing.catalogue import Catalogue
from ai_gateway.routing.configured import configured_upstreams
from ai_gateway.routing.list_feed import ListFeed
from ai_gateway.routing.list_store import ListStore, default_path
from ai_gateway.routing.model_list import ModelList
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Routing
from ai_gateway.routing.rules import read_rules

# A full collection walks every generated model and costs 30-40 ms, which is the whole latency tail. What start-up made
# is taken out of the collector's sight, and young objects, which die by reference count, are looked at less often.
_GC_THRESHOLD = 20_000


def get_app(settings: Settings | None = None) -> FastAPI:
    """Build the application, from the environment unless settings are given. Raises SettingsError."""
    settings = settings or load()
    configure_logging(settings.log_level)
    built_in = CustomProvider("custom", settings.unknown_params or "forward")
    gateway = Gateway(_routing(settings, Registry([*_upstreams(settings), built_in])), _resilience(settings))
    model_list = _model_list(settings, gateway)
    access = Access(
        KeyRing(key.get_secret_value() for key in settings.allowed_api_keys), allow_anonymous=settings.allow_anonymous
    )
    limits = BodyLimits(settings.request_max_size, settings.body_timeout_s)
    lifecycle = Lifecycle()
    contract = served_contract(
        gateway.registry.names,
        keys_needed=bool(settings.allowed_api_keys),
        default_model=bool(gateway.routing.rules.default_model),
    )
    endpoints = [f"{method.upper()} {path}" for path, item in contract["paths"].items() for method in item]
    app = _bare_app(gateway, lifecycle, model_list)
    app.router.routes += openai_routes.build_router(OpenAIHandlers(gateway, access, limits)).routes
    status = StatusHandlers(
        gateway, access, limits, lifecycle, endpoints, documented=settings.enable_docs, model_list=model_list
    )
    app.router.routes += gateway_routes.build_router(status).routes
    if settings.enable_docs:
        app.router.routes += docs_routes(contract)
    app.openapi = lambda: contract  # type: ignore[method-assign] # the contract is the truth, not a derived schema
    app.state.lifecycle = lifecycle
    app.state.gateway = gateway
    app.state.settings = settings
    return app


def _upstreams(settings: Settings) -> list[Provider]:
    timeouts = Timeouts(
        connect=settings.connect_timeout_s,
        request=settings.request_timeout_s,
        stream_idle=settings.stream_idle_timeout_s,
        stream=settings.stream_timeout_s,
    )
    return [
        load_provider(
            Upstream(
                upstream.name,
                upstream.base_url,
                upstream.api_key,
                timeouts,
                upstream.row,
                settings.provider_conformance.get(upstream.name, settings.conformance),
                upstream.unknown_params or settings.unknown_params or upstream.row.unknown_params,
                upstream.headers,
                settings.fetch_images,
            )
        )
        for upstream in configured_upstreams(settings.providers, environment())
    ]


def _resilience(settings: Settings) -> Resilience:
    retry = RetryPolicy(
        settings.max_retries, frozenset(settings.retry_refusals), longest_wait=settings.retry_after_max_s
    )
    breaker = BreakerPolicy(settings.breaker_threshold, settings.breaker_window_s, settings.breaker_pause_s)
    return Resilience(retry, breaker, per_model=settings.breaker_per_model)


def _routing(settings: Settings, registry: Registry) -> Routing:
    catalogue = Catalogue(registry, settings.model_cache_ttl_s)
    return Routing(registry, catalogue, read_rules(settings, registry.names))


def _model_list(settings: Settings, gateway: Gateway) -> ListFeed | None:
    """What keeps the list of MODEL_LIST_URL fresh, if there is one; each new list makes a new snapshot."""
    url = settings.model_list_url
    if url is None:
        return None
    path = settings.model_list_cache or default_path(url)
    key = settings.model_list_api_key

    def adopt(models: ModelList) -> None:
        gateway.routing = gateway.routing.with_list(models)

    return ListFeed(
        url,
        adopt,
        refresh_s=settings.model_list_refresh_s,
        store=ListStore(path, url) if path else None,
        api_key=key.get_secret_value() if key else None,
    )


def _bare_app(gateway: Gateway, lifecycle: Lifecycle, model_list: ListFeed | None) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if model_list is not None:
            await model_list.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
        lifecycle.ready = True
        yield
        lifecycle.ready = False
        if model_list is not None:
            await model_list.aclose()
        await gateway.aclose()

    app = FastAPI(
        title="Universal AI Gateway",
        version=VERSION,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # Said one by one: left open, each is looked up in the environment on every request.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
    )
    for middleware in (HeadLimitsMiddleware, AccessLogMiddleware, RequestIdMiddleware):  # the last is outermost
        app.add_middleware(middleware)
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    """What no route of the contract takes: an unknown path, or a method that a path does not have."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(_methods_of(request))
        return _rendered(
            MethodNotAllowed("This path does not take this method: see the Allow header.", headers={"allow": allowed})
        )
    if isinstance(error, HTTPException) and error.status_code == 404:
        return _rendered(NotFound("There is nothing at this path: see / for what there is."))
    return _rendered(INTERNAL)


def _methods_of(request: Request) -> list[str]:
    """Every method of the path; one route knows only its own."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


async def _unexpected(request: Request, _: Exception) -> Response:
    reply = _rendered(INTERNAL)
    # This answer is given outside the middleware that would name the request.
    reply.headers["x-request-id"] = request.scope.get("request_id", "")
    return reply


def _rendered(error: GatewayError) -> Response:
    return Response(openai_envelope(error), error.status, error.headers, "application/json")
