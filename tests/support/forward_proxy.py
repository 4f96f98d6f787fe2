"""An HTTP proxy as companies have them: opens ways to other hosts (CONNECT), and hands plain requests on."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.serving import HOST, serving


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
        self.asked: list[Asked] = []
        self.port = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
    with serving(proxy.converse) as proxy.port:
        yield proxy
