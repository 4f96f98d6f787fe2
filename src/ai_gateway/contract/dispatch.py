"""Dispatch: the operation of a request, found with one look-up for most paths."""

import re
from collections.abc import Awaitable, Iterable

from starlette.routing import BaseRoute, Match, Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

# Look-ups are cached: at most so many paths, whose first segment callers choose, of at most this length.
_MAX_ENTRIES, _MAX_LENGTH = 512, 64


class Operation(Route):
    """The route of an operation, which handles all of its errors itself."""


class Direct:
    """Calls the operation of a request; a request without one goes to `other`.

    The first matching route wins. Paths without parameters, or with only a provider in front, are found with one
    look-up. HEAD is answered as GET, unless the contract has it; servers leave the body out (RFC 9110, section 9.3.2).
    """

    def __init__(self, routes: Iterable[BaseRoute], other: ASGIApp) -> None:
        self._routes: list[Operation] = []
        self._other = other
        self._fixed: dict[tuple[str, str], ASGIApp] = {}
        self._led: dict[tuple[str, str], tuple[str, ASGIApp]] = {}
        self._found: dict[tuple[str, str], tuple[ASGIApp, dict[str, str]]] = {}
        self.learn(routes)

    def learn(self, routes: Iterable[BaseRoute]) -> None:
        """Add routes, after the present ones."""
        self._found.clear()
        known = len(self._routes)
        self._routes += [route for route in routes if isinstance(route, Operation)]
        for index, route in enumerate(self._routes[known:], known):
            first, rest = _split(route.path)
            parameter = re.fullmatch(r"\{(\w+)\}", first)
            if "{" in rest or ("{" in first and not parameter):
                continue
            for method in route.methods or ():
                if any(method in (other.methods or ()) and _overlaps(other, route) for other in self._routes[:index]):
                    continue
                if parameter:
                    self._led[method, rest] = parameter[1], route.app
                else:
                    self._fixed[method, route.path] = route.app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            app = None if scope.get("root_path") else self._look_up(scope)
            if app is not None:
                return app(scope, receive, send)
            route = self._matching(scope, scope)
            if route is None and scope["method"] == "HEAD":
                route = self._matching(scope, {**scope, "method": "GET"})
            if route is not None:
                return route.app(scope, receive, send)
        return self._other(scope, receive, send)

    def _matching(self, scope: Scope, request_scope: Scope) -> Operation | None:
        """The first operation that fits the request; its parameters are put into the scope."""
        for route in self._routes:
            match, found = route.matches(request_scope)
            if match is Match.FULL:
                scope.update(found)
                return route
        return None

    def _look_up(self, scope: Scope) -> ASGIApp | None:
        key = scope["method"], scope["path"]
        found = self._found.get(key) or self._look_closer(key)
        if found is None:
            return None
        app, parameters = found
        scope["path_params"] = parameters.copy()
        return app

    def _look_closer(self, key: tuple[str, str]) -> tuple[ASGIApp, dict[str, str]] | None:
        method, path = key
        app = self._fixed.get(key)
        if app is not None:
            return app, {}
        end = path.find("/", 1)
        led = self._led.get((method, path[end:])) if end > 1 and path[0] == "/" else None
        if led is None:
            return None
        name, app = led
        found = app, {name: path[1:end]}
        if end <= _MAX_LENGTH:
            if len(self._found) >= _MAX_ENTRIES:
                self._found.clear()
            self._found[key] = found
        return found


def _split(path: str) -> tuple[str, str]:
    """A path's first segment, and the rest with its slash."""
    end = path.find("/", 1)
    return (path[1:end], path[end:]) if end > 0 else (path[1:], "")


def _overlaps(earlier: Operation, route: Operation) -> bool:
    """Whether a path of `route`, whose only parameter is the first segment, can match the earlier route as well."""
    first, rest = _split(route.path)
    if "{" not in first:
        return earlier.path_regex.match(route.path) is not None
    first, others = _split(earlier.path)
    return ":path" in first or compile_path(f"/x{others}")[0].match(f"/x{rest}") is not None
