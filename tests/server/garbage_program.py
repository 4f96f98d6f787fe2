"""Serves the gateway in this process, calls it, and prints how many objects each kind of request left unreachable.

Objects that refer to each other in a circle wait for the garbage collector, whose pauses are the latency tail.
"""

import asyncio
import gc
import json
import socket
import threading
from collections import Counter

import uvicorn
import uvloop

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.server.protocol import HttpProtocol

HOST = "127.0.0.1"
REQUESTS = 200


def _chat(key: str = "k", connection: str = "keep-alive", model: str = "m", **more: object) -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}).encode()
    head = (
        f"POST /custom/v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nConnection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


KINDS = {
    "health": f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(),
    "chat": _chat(),
    "stream": _chat(stream=True),
    "invalid": _chat(messages=5),
    "unauthorized": _chat(key="wrong"),
    "upstream error": _chat(model="fault-500"),
    "upstream refusal": _chat(model="fault-429"),
    "failed stream": _chat(model="fault-unreachable", stream=True),
    "broken stream": _chat(model="fault-truncate", stream=True),
    "disconnect": _chat(model="fault-slow", stream=True),
    "no path": f"GET /nowhere HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(),
    "close": _chat(connection="close"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no http": b"no http\r\n\r\n",
}


def call(port: int, request: bytes, times: int) -> None:
    """One request after the other, each once its answer is whole."""
    connection = None
    for _ in range(times):
        connection = connection or socket.create_connection((HOST, port), timeout=60)
        connection.sendall(request)
        if b"fault-slow" in request or not _read(connection):  # a client that leaves does not wait for the answer
            connection.close()
            connection = None
    if connection is not None:
        connection.close()


def _read(connection: socket.socket) -> bool:
    """Read one answer; whether the connection stays open."""
    received = b""
    while part := connection.recv(2**16):
        received += part
        head, end, body = received.partition(b"\r\n\r\n")
        if not end or b"connection: close" in head:
            continue
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if (len(body) >= int(length)) if length else body.endswith(b"0\r\n\r\n"):
            return True
    assert received
    return False


async def unreachable(port: int, request: bytes) -> dict[str, int]:
    """By type, what was left after many of them."""
    for times in (20, REQUESTS):
        gc.collect()
        gc.disable()
        calling = threading.Thread(target=call, args=(port, request, times))
        calling.start()
        while calling.is_alive():  # noqa: ASYNC110 - a thread says nothing when it ends
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = Counter(type(each).__qualname__ for each in gc.garbage)
    gc.garbage.clear()
    return dict(found)


async def main() -> None:
    """Serve until every kind has been tried."""
    app = build(read_configuration(allowed_api_keys=["k"], log_level="warning", custom_pace_ms=0)).asgi
    config = uvicorn.Config(app, host=HOST, port=0, http=HttpProtocol, proxy_headers=False, log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - a server says nothing when it has started
        await asyncio.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    found = {kind: await unreachable(port, request) for kind, request in KINDS.items()}
    server.should_exit = True
    await serving
    print(json.dumps(found))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    uvloop.run(main())
