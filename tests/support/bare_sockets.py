"""Requests over bare sockets, many at once: what an HTTP client would do beside them must not be measured."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.gateway import HOST, TEST_KEY

PATHS = {"chat": "chat/completions", "legacy": "completions", "embed": "embeddings"}


def _content(kind: str, text: str) -> dict[str, object]:
    if kind in {"chat", "ollama"}:
        return {"messages": [{"role": "user", "content": text}]}
    return {"prompt" if kind == "legacy" else "input": text}


def post(kind: str, model: str, *, provider: str = "lab", stream: bool = False, text: str = "hello") -> bytes:
    """A whole request, head and body."""
    if kind == "ollama":  # there the provider stands in the model's name, and silence means a stream
        asked = {"model": f"{provider}/{model}", **_content(kind, text), "stream": stream}
        path = "/api/chat"
    else:
        asked = {"model": model, **_content(kind, text), **({"stream": True} if stream else {})}
        path = f"/{provider}/v1/{PATHS[kind]}"
    body = json.dumps(asked).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TEST_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, key: str = TEST_KEY) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def head_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The next reply's status and headers, past any 100 Continue."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def body_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The body that follows these headers, in whatever framing they say."""
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return await reader.read()
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


async def ask(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    async with connection(port) as (reader, writer):
        writer.write(request)
        status, headers = await head_of(reader)
        return status, headers, await body_of(reader, headers)


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave with RST instead of FIN."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
