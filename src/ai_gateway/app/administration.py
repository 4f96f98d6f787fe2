"""The door of administration, which is built when somebody first knocks: its contract takes memory, and few use it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_gateway.accounts.directory import Directory
from ai_gateway.api.access import Access
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.dispatch import Direct
from ai_gateway.contract.route import ContractRouter

_MODULE = "ai_gateway.api.admin.door"


class AdminDoor:
    """An ASGI application for whatever begins as one of `paths`, the contract's.

    `opened` gets the router once there is one, and returns its routes. What is none of them goes to `other`.
    """

    def __init__(
        self,
        paths: Iterable[str],
        parts: tuple[Directory, Access, BodyLimits],
        opened: Callable[[ContractRouter], Sequence[BaseRoute]],
    ) -> None:
        self.prefixes = tuple({"/".join(path.split("/")[:3]) + "/" for path in paths})
        self._parts = parts
        self._opened = opened
        self._opening = asyncio.Lock()
        self._routes: Sequence[BaseRoute] | None = None

    async def handle(self, other: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the operation that the request is for, or `other` if it is for none."""
        await Direct(await self._open(), other)(scope, receive, send)

    async def _open(self) -> Sequence[BaseRoute]:
        async with self._opening:
            if self._routes is None:
                module: Any = await asyncio.to_thread(import_module, _MODULE)
                self._routes = self._opened(module.admin_router(*self._parts))
            return self._routes
