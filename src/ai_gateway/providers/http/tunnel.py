"""CONNECT tunnels through an HTTP proxy to a TLS server (RFC 9110, section 9.3.6)."""

import asyncio
import re
import socket

from ai_gateway.providers.upstream import Proxy

_LONGEST_HEAD = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")


class ProxyRefused(ConnectionError):
    """The proxy refused to connect to the upstream."""


async def open_tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy at the socket's other end connect to this host. Raises OSError, and then closes the socket."""
    try:
        await _open(loop, sock, proxy, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except BaseException:
        sock.close()
        raise


async def _open(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, target: str) -> None:
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"host": target, **proxy.headers}.items())
    await loop.sock_sendall(sock, f"CONNECT {target} HTTP/1.1\r\n{fields}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > _LONGEST_HEAD:
            raise ProxyRefused("the proxy says more than a reply's head")
        if not (piece := await loop.sock_recv(sock, _LONGEST_HEAD)):
            raise ProxyRefused("the proxy closed the connection")
        head += piece
    status = _STATUS.match(head)
    if status is not None and not status[1].startswith(b"2"):  # a refusal, whose body may be included
        raise ProxyRefused(f"the proxy refused to connect: status {status[1].decode()}")
    if status is None or not head.endswith(b"\r\n\r\n"):  # no server of TLS sends first
        raise ProxyRefused("what the proxy says is no reply to CONNECT")
