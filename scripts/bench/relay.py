"""The yardstick: an ASGI relay that passes bytes on and looks at nothing.

It stands on packages alone, uvicorn and aiohttp, and shares no code with the gateway: it is as fast or as slow as the
interpreter and the machine are, whatever is changed in the gateway. `python -m scripts.bench.relay --port N --upstream
URL`.
"""

import argparse
import asyncio

import aiohttp
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

HOST = "127.0.0.1"
_BACKLOG = 2048
_PASSED = frozenset({"content-type", "content-length"})
_HEADERS = {"accept-encoding": "identity", "content-type": "application/json"}


class Relay:
    """Forwards every request to one URL."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        async with self._open().post(self._upstream, data=body, headers=_HEADERS) as reply:
            kept = [(n.lower().encode(), v.encode()) for n, v in reply.headers.items() if n.lower() in _PASSED]
            await send({"type": "http.response.start", "status": reply.status, "headers": kept})
            async for part in reply.content.iter_any():
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def serve(port: int, upstream: str) -> None:
    """Relay until the process is ended."""
    relay = Relay(upstream)
    config = uvicorn.Config(
        relay, HOST, port, http="httptools", ws="none", lifespan="off", log_level="error", backlog=_BACKLOG
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await relay.aclose()


def main() -> None:
    """Run in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.relay", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="the URL that every request goes to")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, chosen.upstream), loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    main()
