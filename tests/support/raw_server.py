"""A server of bytes in the test's own event loop: a script says what it does with a connection, HTTP or not."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

HOST = "127.0.0.1"


class Peer:
    """One connection, from the server's side."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        """Which connection it is, from 0."""
        self.over = asyncio.Event()
        """Set when its script has ended."""
        self._loop = asyncio.get_running_loop()
        self._read = b""

    async def request(self) -> bytes:
        """The next request, head and body; empty when the client has closed."""
        while b"\r\n\r\n" not in self._read:
            if not await self._more():
                return b""
        head, _, rest = self._read.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(rest) < length:
            if not await self._more():
                return b""
            rest = self._read.partition(b"\r\n\r\n")[2]
        self._read = rest[length:]
        return head + b"\r\n\r\n" + rest[:length]

    async def head(self) -> bytes:
        """The head of the next request; its body is left where it is."""
        while b"\r\n\r\n" not in self._read:
            if not await self._more():
                return b""
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        return head

    async def _more(self) -> bool:
        with suppress(ConnectionError):
            received = await self._loop.sock_recv(self.sock, 2**16)
            self._read += received
            return bool(received)
        return False

    async def send(self, *packets: bytes) -> None:
        """Each in a packet of its own, as far as loopback keeps them apart."""
        for packet in packets:
            await self._loop.sock_sendall(self.sock, packet)
            for _ in range(3):  # the client, which runs in the same loop, reads it now
                await asyncio.sleep(0)

    def push(self, data: bytes) -> None:
        """Send at once: the client's event loop has no chance to see it before the caller goes on."""
        assert self.sock.send(data) == len(data)

    async def closed(self) -> bytes:
        """Wait until the client has closed; what it sent until then."""
        while await self._more():
            pass
        return self._read

    def reset(self) -> None:
        """End it with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


type Script = Callable[[Peer], Awaitable[None]]


class RawServer:
    """What has come so far."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.peers: list[Peer] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@asynccontextmanager
async def raw_server(script: Script) -> AsyncIterator[RawServer]:
    """Run the script for each connection, and close it when the script has ended."""
    loop = asyncio.get_running_loop()
    listener = socket.socket()
    listener.setblocking(False)
    listener.bind((HOST, 0))
    listener.listen(256)
    server = RawServer(listener.getsockname()[1])
    tasks: list[asyncio.Task[None]] = []

    async def serve(peer: Peer) -> None:
        try:
            with suppress(ConnectionError):
                await script(peer)
        finally:
            peer.sock.close()
            peer.over.set()

    def accept() -> None:
        sock, _ = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock, len(server.peers))
        server.peers.append(peer)
        tasks.append(loop.create_task(serve(peer), name=f"server of {peer.number}"))

    loop.add_reader(listener, accept)
    try:
        yield server
    finally:
        loop.remove_reader(listener)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        listener.close()
        for peer in server.peers:  # a task that never began has closed nothing
            peer.sock.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def replying(*packets: bytes) -> Script:
    """Every request is answered with these packets, and the connection kept."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(*packets)

    return script


def once(*packets: bytes) -> Script:
    """The first request is answered with these packets, and the connection closed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*packets)

    return script
