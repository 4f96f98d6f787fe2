"""The application inside the tests' own process: what `running_gateway` starts, but for its server and its process."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, chdir

import httpx2

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from tests.support.command import only
from tests.support.gateway import clean_environment


@asynccontextmanager
async def running_application(**env: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application with only the environment given. Its replies come whole, streams too."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as home, chdir(home):
        with only(clean_environment(home, env)):
            app = build(read_configuration(log_level="error")).asgi
        transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9000") as http,
        ):
            yield http
