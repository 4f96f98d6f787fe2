"""Configuration in, application out."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from inspect import markcoroutinefunction
from typing import Any, cast, override

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

import gateway_contract.gateway.routes as gateway_routes
import gateway_contract.ollama.routes as ollama_routes
import gateway_contract.openai.routes as openai_routes
from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.responses import StoredResponses
from ai_gateway.api.gateway.docs import administered_paths, docs_routes, tagged_paths
from ai_gateway.api.gateway.handlers import Lifecycle, ServedMetrics, StatusHandlers
from ai_gateway.api.ollama.handlers import OllamaHandlers
from ai_gateway.api.openai.handlers import OpenAIHandlers
from ai_gateway.api.responses.background import Background
from ai_gateway.app.application import Application, application_of
from ai_gateway.app.configuration import Configuration, read_configuration
from ai_gateway.app.lazy_apis import LazyApi, share, wants_websocket
from ai_gateway.app.meters import Meters
from ai_gateway.app.path_hints import PathHints, origin_of
from ai_gateway.app.reload import Reloadable
from ai_gateway.config.constants import VERSION
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.contract.anthropic_wire import ANTHROPIC, VERSION_HEADER, claims
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.budget import Admission, ByteBudget
from ai_gateway.contract.dispatch import Direct, Operation
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.route import ContractRouter
from ai_gateway.contract.wire import INTERNAL, OLLAMA, OPENAI, RESPONSES, PathOwners, path_steps
from ai_gateway.contract.write_stream import LateHeads
from ai_gateway.errors import GatewayError, MethodNotAllowed, NotFound, UpgradeRequired
from ai_gateway.middleware.access_log import AccessLog
from ai_gateway.middleware.client_address import ClientAddress
from ai_gateway.middleware.front import Front
from ai_gateway.middleware.reply_headers import ReplyHeaders
from ai_gateway.middleware.watching import Watching

_NO_WEBSOCKETS = UpgradeRequired(
    "The gateway has no WebSockets: send the request over HTTP, by POST.", headers={"upgrade": "HTTP/1.1"}
)


def get_app() -> FastAPI:
    """The ASGI application for any server, from environment and files. Raises SettingsError."""
    return build(read_configuration()).asgi


def build(configuration: Configuration, read: Callable[[], Configuration] = read_configuration) -> Application:
    """The application for this configuration. A reload calls `read` for the next one. Raises SettingsError."""
    settings = configuration.settings
    parts = Reloadable(configuration, read)
    gateway, access, lifecycle = parts.gateway, parts.access, Lifecycle()
    bodies = ByteBudget(max(settings.bodies_max_size, settings.request_max_size))  # or the largest body never fits
    limits = BodyLimits(settings.request_max_size, settings.body_timeout_s, budget=bodies)
    admission = Admission(settings.max_in_flight)  # health and status are always answered
    handlers = OllamaHandlers(gateway, access, limits), OpenAIHandlers(gateway, access, limits)
    for each in handlers:
        each.late_heads = LateHeads(settings.first_byte_s)
    ollama, openai = ollama_routes.build_router(handlers[0]), openai_routes.build_router(handlers[1])
    owners = PathOwners()
    administered = administered_paths(parts.contract)
    responses, messages = (tagged_paths(parts.contract, tag) for tag in ("Responses", "Anthropic"))
    of_openai, of_ollama = ([route.path for route in each.routes] for each in (openai, ollama))
    owned = [(OPENAI, of_openai), (OLLAMA, of_ollama), (OPENAI, administered)]
    shared = {"listModels", "retrieveModel"}  # with OpenAI's API: a header decides
    both = [route.path for route in openai.routes if route.name in shared]
    for wire, paths in (*owned, (RESPONSES, responses), (ANTHROPIC, [*messages, *both])):
        owners.add(wire, paths)
    hints = PathHints([*of_openai, *of_ollama, *responses, *messages, *administered])
    accounting = parts.accounts.accounting
    meters = Meters(gateway, parts.accounts, admission, bodies, lambda: parts.access.keys)
    observers = [
        *([accounting] if accounting is not None else []),  # first: a bug in another observer costs no record
        AccessLog(),
        *([meters.requests] if settings.enable_metrics else []),
    ]
    asgi = _asgi(
        (settings, parts.watchers.watching),
        owners,
        observers,
        lambda request: _nothing_at(request, hints, gateway.registry.names),
    )
    asgi.router.routes += openai.behind(admission)
    asgi.router.routes += ollama.behind(admission)

    def opened(router: ContractRouter) -> Sequence[Operation]:
        routes = router.behind(admission)
        asgi.router.routes += routes  # for the look-up of a path's methods
        if asgi.direct is not None:
            asgi.direct.learn(routes)
        return routes

    directory, watching = parts.accounts.directory, parts.watchers.watching
    background = Background(_stored_responses(settings, directory), [*observers, watching], watching.capture_background)
    late_heads = LateHeads(settings.first_byte_s)
    served = {
        "late_heads": late_heads,
        "sealing": parts.sealing_key,
        "background": background,
        "directory": directory,
    }
    asgi.lazy_apis.append(
        LazyApi(
            responses,
            "ai_gateway.api.responses.handlers",
            lambda module: module.responses_router(gateway, access, limits, **served),
            opened,
        )
    )
    asgi.lazy_apis.append(
        LazyApi(
            messages,
            "ai_gateway.api.anthropic.handlers",
            lambda module: module.messages_router(gateway, access, limits, late_heads),
            opened,
        )
    )
    share(openai.routes, VERSION_HEADER, asgi.lazy_apis[-1], names=shared)
    if directory is not None:
        asgi.lazy_apis.append(
            LazyApi(
                administered,
                "ai_gateway.api.admin.handlers",
                lambda module: module.admin_router(directory, access, limits, lambda: parts.accounts.webhook_network),
                opened,
            )
        )
    status = StatusHandlers(
        gateway,
        access,
        limits,
        lifecycle,
        [f"{method.upper()} {path}" for path, item in parts.contract["paths"].items() for method in item],
        documented=settings.enable_docs,
        model_list=lambda: parts.model_list,
        check_timeout_s=lambda: parts.settings.health_check_timeout_s,
        accounts=parts.accounts,
        metrics=ServedMetrics(meters.expose, settings.metrics_require_key) if settings.enable_metrics else None,
    )
    own = gateway_routes.build_router(status)
    asgi.router.routes += own.routes
    if settings.enable_docs:
        asgi.router.routes += docs_routes(lambda: parts.contract, access if settings.docs_require_key else None)
    if any(route.matches(_get(settings.metrics_path))[0] is Match.FULL for route in asgi.router.routes):
        raise SettingsError([f"METRICS_PATH: {settings.metrics_path} is the path of something else"])
    asgi.router.routes.append(own.also_at("getMetrics", settings.metrics_path))
    asgi.openapi = lambda: parts.contract  # type: ignore[method-assign] # the contract is the truth, not a derived schema
    application = Application(asgi, parts, lifecycle, meters, background)
    asgi.state.application = application
    return application


def _stored_responses(settings: Settings, directory: Directory | None) -> StoredResponses | None:
    """The storage of responses, if there is a store."""
    if directory is None or not settings.responses_keep_days:
        return None
    return StoredResponses(lambda: directory.store, settings.responses_keep_days, settings.responses_max_size)


def _get(path: str) -> Scope:
    """An ASGI scope for a path, for route matching."""
    return {"type": "http", "method": "GET", "path": path, "path_params": {}, "headers": []}


@asynccontextmanager
async def _lifespan(asgi: FastAPI) -> AsyncIterator[None]:
    async with aclosing(application_of(asgi)) as application:
        await application.start()
        yield


class _App(FastAPI):
    lazy_apis: list[LazyApi]
    direct: Direct | None = None

    def lazy_api_for(self, path: str) -> LazyApi | None:
        """The lazily built API of a path, if any."""
        return next((api for api in self.lazy_apis if api.has_path(path)), None)

    @markcoroutinefunction  # servers check for it; a wrapper would be another step for each request
    @override
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Call our own middleware directly: FastAPI's and Starlette's own steps are for their endpoints."""
        if scope["type"] == "http" and self.middleware_stack is not None:
            return cast("Coroutine[Any, Any, None]", self.middleware_stack(scope, receive, send))
        return super().__call__(scope, receive, send)

    @override
    def build_middleware_stack(self) -> ASGIApp:
        """Like Starlette's, but the handler of unexpected errors is inside our middleware and not around it.

        Operations of the contracts handle all errors themselves and are called without it.
        """
        middleware, self.user_middleware = self.user_middleware, []
        stack = super().build_middleware_stack()

        def other(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            scope["app"] = self  # for Starlette's own handlers
            api = self.lazy_api_for(scope["path"]) if scope["type"] == "http" and not wants_websocket(scope) else None
            return api.handle(stack, scope, receive, send) if api is not None else stack(scope, receive, send)

        self.direct = Direct(self.router.routes, other)
        app: ASGIApp = self.direct
        for made, arguments, named in reversed(middleware):
            app = made(app, *arguments, **named)
        return app


def _asgi(
    how: tuple[Settings, Watching],
    owners: PathOwners,
    observers: Sequence[Observer],
    nothing_at: Callable[[Request], GatewayError],
) -> _App:
    """The ASGI application without its routes: middleware, lifespan, and the errors of unknown paths and methods."""

    def rendered(request: Request, error: GatewayError) -> Response:
        scope = request.scope
        outcome: Outcome = scope["outcome"]
        outcome.code = error.code
        status, body, own = owners.answer(scope["path"], error, scope.get("request_id", ""), scope["headers"])
        return Response(body, status, own, "application/json")

    async def http_error(request: Request, error: Exception) -> Response:
        missing = isinstance(error, HTTPException) and error.status_code == 404
        if wants_websocket(request.scope) and (not missing or asgi.lazy_api_for(request.scope["path"])):
            return rendered(request, _NO_WEBSOCKETS)
        if missing:
            return rendered(request, nothing_at(request))
        return rendered(request, _no_route(request, error))

    async def unexpected(request: Request, _: Exception) -> Response:
        return rendered(request, INTERNAL)

    asgi = _App(
        title="Universal AI Gateway",
        version=VERSION,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        # Set explicitly: otherwise each is looked up in the environment on every request.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        exception_handlers={HTTPException: http_error, Exception: unexpected},
    )
    asgi.lazy_apis = []
    settings, watching = how
    headers = ReplyHeaders(security=settings.enable_security_headers, origins=settings.cors_origins)
    address = ClientAddress(settings.trusted_proxies)
    asgi.add_middleware(Front, owners=owners, headers=headers, observers=observers, address=address, watching=watching)
    return asgi


def _no_route(request: Request, error: Exception) -> GatewayError:
    """The error for an unsupported method, or another refusal of the router."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(_methods_of(request))
        return MethodNotAllowed(
            "This path does not take this method: see the Allow header.", headers={"allow": allowed}
        )
    return INTERNAL


def _nothing_at(request: Request, hints: PathHints, providers: list[str]) -> NotFound:
    """The error for an unknown path, with the likely right one."""
    path, origin = request.scope["path"], origin_of(request.scope["scheme"], request.headers)
    is_anthropics = claims(path_steps(path), request.scope["headers"])
    return NotFound(hints.message(path, origin, providers, is_anthropics=is_anthropics))


def _methods_of(request: Request) -> list[str]:
    """Every method of the path, over all its routes. A literal path takes precedence over one with an id."""
    found = [
        route
        for route in request.app.router.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    least = min((route.path.count("{") for route in found), default=0)
    methods = {method for route in found if route.path.count("{") == least for method in route.methods or ()}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)
