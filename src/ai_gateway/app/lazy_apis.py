"""Lazy APIs, built at their first request: their contracts take memory, and few deployments use all."""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib import import_module
from typing import Any

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_gateway.contract.dispatch import Direct, Operation
from ai_gateway.contract.route import ContractRouter

_PARAMETER = re.compile(r"\\\{\w+\\\}")


class LazyApi:
    """A lazily loaded ASGI application for requests to `paths`, as the contract writes them.

    `module` is imported at the first request, and `router` makes the contract's router from it. `on_load` gets that
    router, and returns its routes. Requests for none of them go to `other`.
    """

    def __init__(
        self,
        paths: Iterable[str],
        module: str,
        router: Callable[[Any], ContractRouter],
        on_load: Callable[[ContractRouter], Sequence[BaseRoute]],
    ) -> None:
        self._paths = re.compile("|".join(map(_pattern, paths)), re.DOTALL)
        self._module = module
        self._router = router
        self._on_load = on_load
        self._loading = asyncio.Lock()
        self._routes: Sequence[BaseRoute] | None = None
        self._directs: dict[ASGIApp, Direct] = {}  # by where requests for none of the routes go

    def has_path(self, path: str) -> bool:
        """Whether the contract has this path."""
        return self._paths.fullmatch(path) is not None

    async def handle(self, other: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the operation of the request, or `other` if it has none."""
        direct = self._directs.get(other)
        if direct is None:
            direct = self._directs[other] = Direct(await self._load(), other)
        await direct(scope, receive, send)

    async def _load(self) -> Sequence[BaseRoute]:
        async with self._loading:
            if self._routes is None:
                self._routes = self._on_load(self._router(await asyncio.to_thread(import_module, self._module)))
            return self._routes


def _pattern(path: str) -> str:
    """The path as a regular expression: a parameter at its end may contain slashes, as ids may."""
    escaped = _PARAMETER.sub("[^/]+", re.escape(path))
    return escaped.removesuffix("[^/]+") + ".*" if escaped.endswith("[^/]+") else escaped


def wants_websocket(scope: Scope) -> bool:
    """Whether the request is an upgrade to WebSocket. Our own server has renamed the Upgrade header."""
    return scope["type"] == "http" and any(
        name in {b"upgrade", b"x-upgrd"} and value.lower() == b"websocket" for name, value in scope["headers"]
    )


class ByHeader:
    """Routes requests with a header to a lazy API, for paths that two contracts share. `header` is in lower case."""

    def __init__(self, header: str, api: LazyApi, otherwise: ASGIApp) -> None:
        self._header = header.encode()
        self._api = api
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if any(name == self._header for name, _ in scope["headers"]):
            await self._api.handle(self._otherwise, scope, receive, send)
        else:
            await self._otherwise(scope, receive, send)


def share(routes: Iterable[Operation], header: str, api: LazyApi, names: Collection[str]) -> None:
    """Route requests for these operations to the API, which has the same paths, if they have the header."""
    for route in routes:
        if route.name in names:
            route.app = ByHeader(header, api, route.app)
