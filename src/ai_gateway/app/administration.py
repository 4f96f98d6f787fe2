"""The door of administration, which is built when somebody first knocks: its contract takes memory, and few use it."""

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_gateway.accounts.directory import Directory
from ai_gateway.api.access import Access
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.route import ContractRouter, Direct

PREFIX = "/v1/organization"
_MODULE = "ai_gateway.api.admin.door"


class AdminDoor:
    """An ASGI application for all that is below PREFIX. `opened` is called with the routes, once there are any."""

    def __init__(
        self,
        directory: Directory,
        access: Access,
        limits: BodyLimits,
        opened: Callable[[ContractRouter], Sequence[BaseRoute]],
    ) -> None:
        self._parts = directory, access, limits
        self._opened = opened
        self._opening = asyncio.Lock()
        self._routes: Sequence[BaseRoute] = ()
        self._app: ASGIApp | None = None

    @property
    def route(self) -> Route:
        """Leads here whatever is below PREFIX, with any method."""
        route = Route(PREFIX + "/{path:path}", endpoint=self._never)
        route.methods = set()
        route.app = self
        return route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app or await self._open()
        await app(scope, receive, send)

    async def _open(self) -> ASGIApp:
        async with self._opening:
            if self._app is None:
                module: Any = await asyncio.to_thread(import_module, _MODULE)
                self._routes = self._opened(module.admin_router(*self._parts))
                self._app = Direct(self._routes, self._nothing)
            return self._app

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Raises what Starlette's own router does."""
        there = any(route.matches(scope)[0] is not Match.NONE for route in self._routes)
        raise HTTPException(405 if there else 404)

    async def _never(self) -> None:
        """Starlette asks for an endpoint; the application of the route is what is called."""
