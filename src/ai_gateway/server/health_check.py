"""The health check of the container image: whether the gateway in it answers.

The gateway's PID file says where it listens and whether by TLS, so that no settings are read. Nothing large is
imported, because this runs every few seconds.
"""

import http.client
import os
import socket
import ssl
from collections.abc import Mapping
from typing import override

from ai_gateway.server.pid_file import Address, Running, running

_TIMEOUT_S = 4.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listened on, and not called


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: Address, *, tls: bool) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._address = address
        self._tls = tls

    @override
    def connect(self) -> None:
        self.sock = _connected(self._address)
        if self._tls:  # its certificate need not be for this name
            self.sock = ssl._create_unverified_context().wrap_socket(self.sock)  # noqa: S323


def _connected(address: Address) -> socket.socket:
    if address.port:
        return socket.create_connection((_ANY.get(address.host, address.host), address.port), _TIMEOUT_S)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_TIMEOUT_S)
    sock.connect(address.host)
    return sock


def _address(found: list[Running], env: Mapping[str, str]) -> tuple[Address, bool]:
    """Where the only gateway listens, and whether by TLS; from the environment if there is none or several."""
    if len(found) == 1:
        return found[0].address, found[0].tls
    tls = bool(env.get("SSL_CERTFILE"))
    if path := env.get("SERVICE_SOCKET"):
        return Address(path, 0), tls
    return Address("127.0.0.1", int(env.get("SERVICE_PORT") or env.get("PROXY_PORT") or 9000)), tls


def answers(path: str) -> bool:
    """Whether a GET of this path is answered with 200. Each step may take four seconds."""
    address, tls = _address(running(), os.environ)
    connection = _Connection(address, tls=tls)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
