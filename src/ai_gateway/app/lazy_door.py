"""A door that is built when somebody first knocks: the models of its contract take memory, and not all need them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from types import ModuleType

from starlette.types import ASGIApp, Receive, Scope, Send

from ai_gateway.contract.dispatch import Direct, Operation
from ai_gateway.contract.route import route_to

type Row = tuple[str, str, str]
"""Method, path and operationId, as the contract's `paths.py` has them."""


class LazyDoor:
    """An ASGI application that imports `module` for its first request, and has `opened` make the routes of it."""

    def __init__(self, module: str, opened: Callable[[ModuleType], Sequence[Operation]]) -> None:
        self._module = module
        self._opened = opened
        self._opening = asyncio.Lock()
        self._direct: Direct | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = self._direct or await self._open()
        await direct(scope, receive, send)

    def routes(self, rows: Iterable[Row]) -> list[Operation]:
        """Routes to it, of which only the paths are known by now."""
        return [route_to(method, path, operation, self, self) for method, path, operation in rows]

    async def _open(self) -> Direct:
        async with self._opening:
            if self._direct is None:
                module = await asyncio.to_thread(import_module, self._module)
                self._direct = Direct(self._opened(module), self)
            return self._direct


class ByHeader:
    """Leads requests that have a header to another application: some paths are those of two contracts.

    `header` is in lower case, as ASGI has names.
    """

    def __init__(self, header: str, there: ASGIApp, otherwise: ASGIApp) -> None:
        self._header = header.encode()
        self._there = there
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has = any(name == self._header for name, _ in scope["headers"])
        await (self._there if has else self._otherwise)(scope, receive, send)


def share(routes: Iterable[Operation], rows: Iterable[Row], header: str, door: LazyDoor) -> list[Row]:
    """Lead requests with the header from routes to the door's operations at the same paths; the other rows."""
    shared = {(method, path): operation for method, path, operation in rows}
    for route in routes:
        for method in route.methods or ():
            if shared.pop((method, route.path), None) is not None:
                route.app = ByHeader(header, door, route.app)
    return [(method, path, operation) for (method, path), operation in shared.items()]
