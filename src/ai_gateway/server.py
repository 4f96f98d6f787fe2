"""Run the application: one process on uvicorn, with what its defaults leave open closed."""

import asyncio
import resource
import signal
import socket
from asyncio import TimerHandle
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum, auto
from types import FrameType
from typing import override

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ai_gateway.config.constants import MAX_HEADER_BYTES
from ai_gateway.config.settings import Settings, SettingsError
from ai_gateway.contract.render import openai_envelope
from ai_gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest
from ai_gateway.middleware.request_id import new_request_id

# Longer than the pools of HTTP clients keep a connection, so that it is they who close first and never mid-request.
KEEP_ALIVE_S = 75
_BACKLOG = 2048
_BAD_REQUEST = InvalidRequest("This is not a valid HTTP request.")
_HEADERS_TOO_LARGE = HeadersTooLarge(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes: send less.")
_REASONS = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class Awaited(Enum):
    """What the next bytes of a connection belong to."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's parser with bounds on a request's head, in size and time, and refusals in the contract's words."""

    header_timeout_s = 15.0
    _awaited = Awaited.REQUEST
    _head_bytes = 0
    _head_timer: TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._start_head_timer()

    @override
    def data_received(self, data: bytes) -> None:
        after_body = self._awaited is Awaited.BODY
        super().data_received(data)
        # The parser keeps an unfinished head in memory, so it must end. Where a body ended in the same bytes, they
        # are not counted: how many of them are the head's is not known.
        if self._awaited is Awaited.HEAD and not after_body:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self._refuse(_HEADERS_TOO_LARGE)

    @override
    def on_message_begin(self) -> None:
        self._awaited = Awaited.HEAD
        self._start_head_timer()
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._awaited = Awaited.BODY
        self._end_head()
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        self._awaited = Awaited.REQUEST
        super().on_message_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _end_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(_BAD_REQUEST)

    def _refuse(self, error: GatewayError) -> None:
        """Answer and close; there is no request that the application could answer."""
        self._end_head()
        body = openai_envelope(error)
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
            b"connection: close\r\n\r\n" % (error.status, _REASONS[error.status], len(body), new_request_id())
        )
        self.transport.write(head + body)
        self.transport.close()


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
        sock.bind(address)
    except OSError as error:
        raise SettingsError([_unbound(host, port, error)]) from None
    return sock


def _unbound(host: str, port: int, error: OSError) -> str:
    if error.errno == 98:
        return f"SERVICE_PORT: port {port} on {host} is in use: stop what holds it or choose another with --port"
    return f"SERVICE_HOST: cannot listen on {host} port {port}: {error.strerror}"


def _allow_many_connections() -> None:
    """Raise the limit on open files as far as allowed: the usual 1,024 end at 500 streams, two sockets each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(app: FastAPI, sock: socket.socket, announce: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get the grace time. `announce` is told the port once ready."""
    settings: Settings = app.state.settings
    _allow_many_connections()

    class Protocol(HttpProtocol):
        header_timeout_s = settings.body_timeout_s

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
        timeout_graceful_shutdown=max(1, round(settings.grace_period_s)),
        backlog=_BACKLOG,
    )
    GatewayServer(config, app, announce).run(sockets=[sock])
