"""An HTTP proxy as companies have them: opens ways to other hosts (CONNECT), and hands plain requests on."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.gateway import HOST


@dataclass(frozen=True)
class Asked:
    """One request that the proxy has read."""

    method: str
    target: str
    headers: dict[str, str]


class ForwardProxy:
    """Start with `running_proxy()`. Every name leads to this machine, so that only the proxy knows where it is."""

    def __init__(self, refusal: bytes | None) -> None:
        self._refusal = refusal
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked: list[Asked] = []
        self.port = 0

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connection, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve_one(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.asked.append(Asked(method, target, headers))
        if self._refusal is not None:
            writer.write(self._refusal)
            await writer.drain()
            return
        if method == "CONNECT":
            port = int(target.rpartition(":")[2])
            onward = b""
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            parts = urlsplit(target)
            port = parts.port or 80
            kept = "\r\n".join(line for line in lines if not line.lower().startswith("proxy-"))
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            onward = f"{method} {path} HTTP/1.1\r\n{kept}\r\n\r\n".encode("latin-1")
        upstream_reader, upstream_writer = await asyncio.open_connection(HOST, port)
        try:
            upstream_writer.write(onward)
            await asyncio.gather(_copy(reader, upstream_writer), _copy(upstream_reader, writer))
        finally:
            upstream_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@contextmanager
def running_proxy(refusal: bytes | None = None) -> Iterator[ForwardProxy]:
    """A proxy, or one that answers everything with these bytes."""
    proxy = ForwardProxy(refusal)
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(ready, stop),), daemon=True)
    thread.start()
    assert ready.wait(60), "the proxy did not start"
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
