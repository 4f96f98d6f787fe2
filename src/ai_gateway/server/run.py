"""Run the application: worker processes on uvicorn, with stricter limits than its defaults."""

import asyncio
import ctypes
import errno
import gc
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import override

import structlog
import uvicorn

from ai_gateway.app.application import Application
from ai_gateway.app.reload import Reloaded
from ai_gateway.config.constants import BUILD, VERSION
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.middleware.reply_headers import ReplyHeaders
from ai_gateway.observability.worker_memory import WorkerMemory
from ai_gateway.server.certificate import Certificate
from ai_gateway.server.last_configuration import LastConfiguration
from ai_gateway.server.open_files import OpenFiles
from ai_gateway.server.pid_file import Reload, address_of, pid_file, record_reload_outcome
from ai_gateway.server.protocol import HttpProtocol
from ai_gateway.server.startup_signals import note_reload, take_pending_reload, terminal_is_gone
from ai_gateway.server.unix_socket import bind_unix, socket_file
from ai_gateway.server.workers import Supervisor, WorkerContext

# Longer than the pools of HTTP clients keep connections, so that clients close first and never mid-request.
KEEP_ALIVE_S = 75
_TICKS_A_SECOND = 10  # of uvicorn
_BACKLOG = 2048
_UNSENT = 32 * 1024
_TICK_S = 0.05
# M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, in bytes.
_MALLOC_OPTIONS = {-1: 32 * 1024 * 1024, -2: 4 * 1024 * 1024, -3: 16 * 1024 * 1024}
_CANCEL_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Files:
    """The file of reload outcomes, the server's certificate, and the record of the last configuration."""

    reloads: Path | None = None
    certificate: Certificate | None = None
    last: LastConfiguration | None = None


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which also announces its start, fails readiness probes when it stops, and exits with 0."""

    def __init__(
        self,
        application: Application,
        config: uvicorn.Config,
        announce: Callable[[int], None],
        context: WorkerContext,
        files: Files,
    ) -> None:
        super().__init__(config)
        self._reloads_file = files.reloads
        self._certificate = files.certificate
        self._last = files.last
        self._application = application
        self._announce = announce
        self._context = context
        self._interrupted = False
        self._files = OpenFiles()
        self._reloads: set[asyncio.Task[Reloaded]] = set()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets if self._certificate is None else [])
        if self._certificate is not None and self.started:
            self.servers += [await self._listen(sock, self._certificate) for sock in sockets or []]
        if self._context.parent is not None:
            asyncio.get_running_loop().add_reader(self._context.parent, self._be_orphaned, self._context.parent)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        if take_pending_reload() or self._context.reload_requested > self._reload_answered():
            self._reload()
        if sockets and self._context.first:
            self._announce(_port(sockets[0]))
        _log.info("ready", worker=self._context.number, port=_port(sockets[0]) if sockets else None)

    async def _listen(self, sock: socket.socket, certificate: Certificate) -> asyncio.Server:
        """Listen with TLS. uvicorn allows a minute for a handshake, in which a silent client occupies a connection."""
        config = self.config

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg] # they are those of uvicorn's protocols
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        return await asyncio.get_running_loop().create_server(
            protocol,
            sock=sock,
            ssl=certificate.context,
            ssl_handshake_timeout=self._application.settings.body_timeout_s,
            backlog=config.backlog,
        )

    def _reload_answered(self) -> float:
        return 0.0 if self._last is None else self._last.answered(self._context.number)

    def _reload(self) -> None:
        """Reload the configuration; the outcome is logged. Reloads run one after the other."""
        if terminal_is_gone():
            self.handle_exit(signal.SIGTERM, None)
            return
        task = asyncio.get_running_loop().create_task(self._reload_all())
        self._reloads.add(task)
        task.add_done_callback(self._reloaded)

    async def _reload_all(self) -> Reloaded:
        at = time.monotonic()
        done = await self._reload_both()
        if self._last is not None and done.taken is not None:
            shown = self._certificate.shown if self._certificate is not None else None
            self._last.took(self._context.number, at, done.taken, shown)
        elif self._last is not None:
            self._last.refused(self._context.number, at)
        return done

    async def _reload_both(self) -> Reloaded:
        """Reload configuration and certificate, or neither if one of them is invalid."""
        if self._certificate is None:
            return await self._application.reload()
        done = Reloaded()
        try:
            self._certificate.check()
            done = await self._application.reload()
            if not done.problems:
                self._certificate.renew()
        except SettingsError as error:
            _log.error("configuration not reloaded", problems=error.problems)
            return Reloaded(problems=error.problems, taken=done.taken)
        return done

    def _reloaded(self, task: asyncio.Task[Reloaded]) -> None:
        self._reloads.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            _log.error("configuration not reloaded", exc_info=error)
            outcome = Reload([f"the reload failed: {type(error).__name__}"], [], [])
        else:
            done = task.result()
            outcome = Reload(done.problems, done.takes_a_restart, done.warnings)
        if self._reloads_file is not None:
            record_reload_outcome(self._reloads_file, outcome)

    def _be_orphaned(self, parent: int) -> None:
        asyncio.get_running_loop().remove_reader(parent)
        _log.error("the process that watches over this worker is gone: stopping")
        self.handle_exit(signal.SIGTERM, None)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._drain()
        await super().shutdown(sockets)
        if self.force_exit:
            await self._cancel_remaining()
        _log.info("stopped", worker=self._context.number)

    async def _cancel_remaining(self) -> None:
        """Answer waiting clients and cancel the application's tasks, which uvicorn would not do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_S):
                for task in self.server_state.tasks:
                    task.cancel()
                await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
                await self.lifespan.shutdown()

    @override
    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            self._files.look()
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        """Announce the stop, and keep accepting connections for a moment while requests are in flight.

        Readiness is 503 by then, so that load balancers stop sending requests before they would be refused.
        """
        settings = self._application.settings
        _log.info("stopping", worker=self._context.number, in_flight=len(self.server_state.tasks))
        now = asyncio.get_running_loop().time
        began = now()
        self._application.background.stops_at = time.monotonic() + settings.grace_period_s
        until = began + min(settings.drain_delay_s, settings.grace_period_s / 2)
        while self.server_state.tasks and now() < until and not self.force_exit:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_TICK_S)
        left = settings.grace_period_s - (now() - began)
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment] # asyncio takes parts of a second

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._application.lifecycle.draining = True
        # Only SIGQUIT or a second Ctrl-C stops it at once. The SIGINT that a terminal sends to a whole process group
        # may arrive after the SIGTERM that the supervisor sends for its own.
        self.force_exit |= sig == signal.SIGQUIT or (self._interrupted and sig == signal.SIGINT)
        self._interrupted |= sig == signal.SIGINT
        self.should_exit = True
        if self.force_exit:
            self._application.background.stops_at = 0.0

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn raises the signal again after a clean stop (uvicorn/server.py, 0.54), which would look like a crash.
        handlers = {
            sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
        }
        try:
            yield
        finally:
            for sig, handler in handlers.items():
                signal.signal(sig, handler)


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises SettingsError if the address is in use or not of this machine."""
    if settings.service_socket is not None:
        return bind_unix(settings.service_socket)
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
    """Make the kernel's send buffer small; accepted connections inherit it.

    By default it buffers megabytes for a slow client, while the upstream keeps sending.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def _unbound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"SERVICE_PORT: port {port} on {host} is in use: stop what holds it or choose another with --port"
    return f"SERVICE_HOST: cannot listen on {host} port {port}: {error.strerror}"


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as allowed: the usual 1,024 suffice for 500 streams of two sockets each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse the hard limit they name
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _keep_freed_memory() -> None:
    """Make the C library keep some megabytes of freed memory instead of returning it to the system.

    Otherwise a body of 100 KB costs dozens of page faults, one of 5 MB thousands. See mallopt(3); only glibc has it.
    """
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        for option, size in _MALLOC_OPTIONS.items():
            set_option(option, size)


def run(
    application: Application,
    sock: socket.socket,
    announce: Callable[[int], None],
    certificate: Certificate | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get the grace time. `announce` gets the port once ready.

    For a Unix socket the port is 0.
    """
    signal.signal(signal.SIGHUP, note_reload)  # until a server can handle it
    _log.info("starting", version=VERSION, commit=BUILD.commit, workers=application.settings.workers)
    held = pid_file(address_of(sock), application.settings.workers, tls=certificate is not None)
    with held as reloads, socket_file(sock):
        _run(application, sock, announce, Files(reloads, certificate))


def _port(sock: socket.socket) -> int:
    return 0 if sock.family == socket.AF_UNIX else int(sock.getsockname()[1])


def _run(application: Application, sock: socket.socket, announce: Callable[[int], None], files: Files) -> None:
    workers, grace_s = application.settings.workers, application.settings.grace_period_s
    if workers == 1:
        _serve(application, sock, announce, WorkerContext(first=True), files)
        return
    gc.collect()
    gc.freeze()  # memory shared by workers stays shared if the garbage collector does not write to it
    shared, last = WorkerMemory(workers), LastConfiguration(workers)

    def work(context: WorkerContext) -> None:
        application.meters.share(shared, context.number)
        _take_last(last, application, files.certificate)
        _serve(application, sock, announce, context, replace(files, last=last))

    supervisor = Supervisor(workers, work, sock, grace_s)
    if code := supervisor.run():
        sys.exit(code)


def _take_last(last: LastConfiguration, application: Application, certificate: Certificate | None) -> None:
    """Load the configuration of the other workers in a replacement. Raises SettingsError if that is not possible.

    It serves no request before that: with the configuration it was forked with, revoked keys would be valid again.
    """
    taken = last.newest()
    if taken is None:
        return
    application.parts.start_with(taken.configuration())
    if certificate is not None and taken.certificate is not None:
        certificate.show(taken.certificate)


def _serve(
    application: Application,
    sock: socket.socket,
    announce: Callable[[int], None],
    context: WorkerContext,
    files: Files,
) -> None:
    _allow_many_connections()
    _keep_freed_memory()
    config = uvicorn.Config(
        application.asgi,
        http=_protocol(application),
        loop="auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=application.settings.grace_period_s,
        backlog=_BACKLOG,
    )
    GatewayServer(application, config, announce, context, files).run(sockets=[sock])


def _protocol(application: Application) -> type[HttpProtocol]:
    """The protocol class for these settings and the application's state."""
    settings = application.settings

    class Protocol(HttpProtocol):
        header_timeout_s = settings.body_timeout_s
        reply_headers = ReplyHeaders(security=settings.enable_security_headers, origins=settings.cors_origins)

        @property
        @override
        def stalled_s(self) -> float:
            return application.settings.stream_idle_timeout_s

        @override
        def draining(self) -> bool:
            return application.lifecycle.draining

    return Protocol
