"""The route that a request is for, found in one look, is the first one that fits."""

from itertools import product
from typing import Any, cast

import pytest
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.contract.dispatch import Direct, Operation
from ai_gateway.contract.route import Boundary, ContractRouter, Exchange

pytestmark = pytest.mark.anyio
PATHS = [
    "/{provider}/v1/models", "/v1/models", "/v1/models/{model:path}", "/{provider}/v1/models/{model:path}",
    "/api/{name}", "/{provider}/tags", "/api/tags", "/api/{name}/tags", "/{one}/{two}", "/{first:int}/v1/models", "/x",
    "/",
]  # fmt: skip
FIRST = ["v1", "api", "x", "", "a b", "{provider}", "\n", "é", "7", "v1/v1", "/"]
REST = [
    "",
    "/",
    "/v1/models",
    "/v1/models/",
    "/v1/models/a/b",
    "/tags",
    "/tags/",
    "/models",
    "//v1/models",
    "/v1/v1/models",
]


def operations(paths: list[str]) -> list[Operation]:
    router = ContractRouter(cast("Boundary", None))

    async def stub(_: Exchange) -> None:
        """Never called here."""

    for path, method in product(paths, ("GET", "POST")):
        router.operation(method, path, path)(stub)
    return router.routes


def first_that_fits(routes: list[Operation], scope: dict[str, Any]) -> tuple[Operation | None, dict[str, Any]]:
    for route in routes:
        match, found = route.matches(scope)
        if match is Match.FULL:
            return route, found["path_params"]
    return None, {}


async def found_by(routes: list[Operation], scope: dict[str, Any]) -> tuple[Operation | None, dict[str, Any]]:
    """What is called in the end, and with which parameters."""
    called: list[Operation | None] = []

    def noting(route: Operation | None) -> Any:
        async def endpoint(_scope: Scope, _receive: Receive, _send: Send) -> None:
            called.append(route)

        return endpoint

    for route in routes:
        route.app = noting(route)
    await Direct(routes, noting(None))(scope, cast("Receive", None), cast("Send", None))
    (route_,) = called
    return route_, scope.get("path_params", {})


@pytest.mark.parametrize("root_path", ["", "/v1"])
@pytest.mark.parametrize("paths", [PATHS, PATHS[::-1], ["/{all:path}/models", *PATHS], ["/{one}-{two}/tags", *PATHS]])
async def test_every_path_reaches_the_first_route_that_fits(paths: list[str], root_path: str) -> None:
    routes = operations(paths)
    called = [first if first == "/" else f"/{first}{rest}" for first, rest in product(FIRST, REST)] + ["", "v1/models"]
    hits = 0
    for path, method in product(called, ("GET", "POST", "HEAD")):
        scope = {"type": "http", "method": method, "path": path, "root_path": root_path}
        expected, parameters = first_that_fits(routes, {**scope, "method": "GET" if method == "HEAD" else method})
        found, given = await found_by(routes, dict(scope))
        assert found is expected, f"{method} {path!r}"
        assert given == parameters, f"{method} {path!r}"
        hits += expected is not None
    assert hits > 100


async def test_every_path_of_the_contract_reaches_its_operation_with_any_provider() -> None:
    routes = [
        route for route in build(read_configuration(log_level="error")).asgi.routes if isinstance(route, Operation)
    ]
    assert len(routes) > 30
    for route, provider in product(routes, ("custom", "v1", "api", "healthz", "%2F", "\n")):
        path = (
            route.path.replace("{provider}", provider)
            .replace("{model:path}", "a/b")
            .replace("{digest:path}", "sha256:0")
        )
        for method in route.methods or ():
            scope = {"type": "http", "method": method, "path": path}
            expected, parameters = first_that_fits(routes, scope)
            found, given = await found_by(routes, dict(scope))
            assert found is expected
            assert given == parameters
            if "{" in route.path:
                continue
            assert found is route


async def test_what_is_no_operation_goes_to_the_other_application() -> None:
    routes = operations(["/x"])
    for scope in (
        {"type": "http", "method": "GET", "path": "/nowhere"},
        {"type": "http", "method": "DELETE", "path": "/x"},
        {"type": "lifespan"},
        {"type": "websocket", "path": "/x"},
    ):
        assert await found_by(routes, scope) == (None, {})
