"""Settings in, application out. What a reload can replace is put together in `assembly`."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import override

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

import gateway_contract.gateway.routes as gateway_routes
import gateway_contract.ollama.routes as ollama_routes
import gateway_contract.openai.routes as openai_routes
from ai_gateway.api.gateway.docs import docs_routes
from ai_gateway.api.gateway.handlers import Lifecycle, StatusHandlers
from ai_gateway.api.ollama.handlers import OllamaHandlers
from ai_gateway.api.openai.handlers import OpenAIHandlers
from ai_gateway.app.application import Assembly
from ai_gateway.app.meters import Meters
from ai_gateway.config.constants import VERSION
from ai_gateway.config.settings import Settings, load
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.budget import Admission, BodyRoom
from ai_gateway.contract.route import Direct
from ai_gateway.contract.wire import INTERNAL, OLLAMA, OPENAI, PathOwners
from ai_gateway.errors import GatewayError, MethodNotAllowed, NotFound
from ai_gateway.middleware.access_log import AccessLogMiddleware
from ai_gateway.middleware.cors import CorsMiddleware
from ai_gateway.middleware.limits import HeadLimitsMiddleware
from ai_gateway.middleware.request_id import RequestIdMiddleware
from ai_gateway.middleware.security_headers import SecurityHeadersMiddleware
from ai_gateway.observability.logging import configure_logging

# A full collection walks every generated model and costs 30-40 ms, which is the whole latency tail. What start-up made
# is taken out of the collector's sight, and young objects, which die by reference count, are looked at less often.
_GC_THRESHOLD = 20_000


def get_app(settings: Settings | None = None, *, read: Callable[[], Settings] = load) -> FastAPI:
    """Build the application from the settings given, or from those that `read` finds. Raises SettingsError.

    A reload asks `read` again.
    """
    settings = settings or read()
    configure_logging(settings.log_level)
    assembly = Assembly(settings, read)
    gateway, access = assembly.gateway, assembly.access
    room = BodyRoom(max(settings.bodies_max_size, settings.request_max_size))  # or the largest would never fit
    limits = BodyLimits(settings.request_max_size, settings.body_timeout_s, room=room)
    lifecycle = Lifecycle()
    endpoints = [f"{method.upper()} {path}" for path, item in assembly.contract["paths"].items() for method in item]
    ollama = ollama_routes.build_router(OllamaHandlers(gateway, access, limits))
    openai = openai_routes.build_router(OpenAIHandlers(gateway, access, limits))
    owners = PathOwners()
    owners.add(OPENAI, (route.path for route in openai.routes))
    owners.add(OLLAMA, (route.path for route in ollama.routes))
    app = _bare_app(assembly, lifecycle, owners)
    admission = Admission(settings.max_in_flight)  # for work; those who ask how we are doing always get an answer
    app.router.routes += openai.behind(admission)
    app.router.routes += ollama.behind(admission)
    status = StatusHandlers(
        gateway,
        access,
        limits,
        lifecycle,
        endpoints,
        documented=settings.enable_docs,
        model_list=lambda: assembly.model_list,
    )
    app.router.routes += gateway_routes.build_router(status).routes
    if settings.enable_docs:
        app.router.routes += docs_routes(lambda: assembly.contract, access if settings.docs_require_key else None)
    app.openapi = lambda: assembly.contract  # type: ignore[method-assign] # the contract is the truth, not a derived schema
    app.state.path_owners = owners
    app.state.lifecycle = lifecycle
    app.state.gateway = gateway
    app.state.settings = settings
    app.state.meters = Meters(gateway, admission, room)
    app.state.reload = assembly.reload
    return app


class _App(FastAPI):
    @override
    def build_middleware_stack(self) -> ASGIApp:
        """Like Starlette's, but what answers an unforeseen failure stands inside our middleware and not around it.

        Operations of the contracts answer every failure themselves and are called without it.
        """
        middleware, self.user_middleware = self.user_middleware, []
        app: ASGIApp = Direct(self.router.routes, super().build_middleware_stack())
        for made, arguments, named in reversed(middleware):
            app = made(app, *arguments, **named)
        return app


def _bare_app(assembly: Assembly, lifecycle: Lifecycle, owners: PathOwners) -> FastAPI:
    settings = assembly.settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await assembly.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
        lifecycle.ready = True
        yield
        lifecycle.ready = False
        await assembly.aclose()

    app = _App(
        title="Universal AI Gateway",
        version=VERSION,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # Said one by one: left open, each is looked up in the environment on every request.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
    )
    app.add_middleware(HeadLimitsMiddleware, owners=owners)  # the last that is added is outermost
    if settings.cors_origins:
        app.add_middleware(CorsMiddleware, origins=settings.cors_origins)
    for middleware in (AccessLogMiddleware, RequestIdMiddleware):
        app.add_middleware(middleware)
    if settings.enable_security_headers:
        app.add_middleware(SecurityHeadersMiddleware)
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    """What no route of the contract takes: an unknown path, or a method that a path does not have."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(_methods_of(request))
        refusal = MethodNotAllowed(
            "This path does not take this method: see the Allow header.", headers={"allow": allowed}
        )
        return _rendered(request, refusal)
    if isinstance(error, HTTPException) and error.status_code == 404:
        return _rendered(request, NotFound("There is nothing at this path: see / for what there is."))
    return _rendered(request, INTERNAL)


def _methods_of(request: Request) -> list[str]:
    """Every method of the path; one route knows only its own."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


async def _unexpected(request: Request, _: Exception) -> Response:
    return _rendered(request, INTERNAL)


def _rendered(request: Request, error: GatewayError) -> Response:
    owners: PathOwners = request.app.state.path_owners
    return Response(owners.render(request.scope["path"], error), error.status, error.headers, "application/json")
