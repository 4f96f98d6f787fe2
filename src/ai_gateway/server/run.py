"""Run the application: one process on uvicorn, with what its defaults leave open closed."""

import errno
import resource
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import override

import uvicorn
from fastapi import FastAPI

from ai_gateway.config.settings import Settings, SettingsError
from ai_gateway.middleware.security_headers import REFUSAL_LINES
from ai_gateway.server.protocol import HttpProtocol

# Longer than the pools of HTTP clients keep a connection, so that it is they who close first and never mid-request.
KEEP_ALIVE_S = 75
_BACKLOG = 2048
_UNSENT = 32 * 1024


class GatewayServer(uvicorn.Server):
    """Says when it is ready, tells readiness probes when it stops, and ends with exit code 0 on SIGTERM."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._app = app
        self._announce = announce

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets:
            self._announce(sockets[0].getsockname()[1])

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.lifecycle.draining = True
        super().handle_exit(sig, frame)

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn raises the signal again after a clean stop, so that a stop on request would look like a crash.
        handlers = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in handlers.items():
                signal.signal(sig, handler)


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises SettingsError if the address is taken or not ours."""
    host, port = settings.service_host, settings.service_port
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _hold_little(sock)
        sock.bind(address)
    except UnicodeError:
        raise SettingsError([f"SERVICE_HOST: {host!r} is no address"]) from None
    except OSError as error:
        raise SettingsError([_unbound(host, port, error)]) from None
    return sock


def _hold_little(sock: socket.socket) -> None:
    """Let the kernel take little that it cannot send yet; its connections inherit it.

    Left alone it takes megabytes for a client that hardly reads, and the upstream goes on sending all the while.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def _unbound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"SERVICE_PORT: port {port} on {host} is in use: stop what holds it or choose another with --port"
    return f"SERVICE_HOST: cannot listen on {host} port {port}: {error.strerror}"


def _allow_many_connections() -> None:
    """Raise the limit on open files as far as allowed: the usual 1,024 end at 500 streams, two sockets each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse the hard limit they name
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(app: FastAPI, sock: socket.socket, announce: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get the grace time. `announce` is told the port once ready."""
    settings: Settings = app.state.settings
    _allow_many_connections()

    class Protocol(HttpProtocol):
        header_timeout_s = settings.body_timeout_s
        refusal_headers = REFUSAL_LINES if settings.enable_security_headers else b""

    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.grace_period_s,
        backlog=_BACKLOG,
    )
    GatewayServer(config, app, announce).run(sockets=[sock])
