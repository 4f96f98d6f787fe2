"""A real server of the Model Context Protocol, made with the official SDK, with tools that do what tools should not.

Says on which port it listens, on a line of its own. With a token as its argument, it wants that as a bearer.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

server = MCPServer("lab")
calls = {"count": 0}


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers"""
    return a + b


@server.tool()
async def slow(seconds: float) -> str:
    """Answer late"""
    await asyncio.sleep(seconds)
    return "late"


@server.tool()
def huge(size: int) -> str:
    """Answer with very much"""
    return "x" * size


@server.tool()
def failing() -> str:
    """Fail"""
    raise ValueError("what went wrong")


@server.tool()
def picture() -> Image:
    """Answer with no text"""
    return Image(data=b"\x89PNG", format="png")


@server.tool()
def reported(context: Context[Any, Any]) -> str:
    """Say what the request has said"""
    return str(dict(context.headers or {}))


@server.tool()
async def echo(text: str, seconds: float = 0) -> str:
    """Say the same"""
    await asyncio.sleep(seconds)
    return text


@server.tool()
def grow() -> str:
    """Get another tool"""

    def grown() -> str:
        return "grown"

    server.add_tool(grown, name="grown", description="Was not there before")
    return "done"


@server.tool()
def shrink() -> str:
    """Lose a tool"""
    server.remove_tool("add")
    return "done"


@server.tool(name="a.tool-with.dots_and_a_name.that_is_by_far_too_long.for_any_model")
def odd() -> str:
    return "odd"


def guarded(app: ASGIApp, token: str) -> ASGIApp:
    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != f"Bearer {token}".encode():
            await PlainTextResponse("no", 401)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guard


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - it is what the test reads
    app: ASGIApp = server.streamable_http_app()
    if len(sys.argv) > 1:
        app = guarded(app, sys.argv[1])
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])


if __name__ == "__main__":
    main()
