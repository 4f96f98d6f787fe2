"""An ASGI application behind our HTTP protocol, without a socket: bytes in, and the writes that come out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast, override

import uvicorn
from uvicorn.server import ServerState

from ai_gateway.server.protocol import HttpProtocol

type App = Callable[[Any, Any, Any], Awaitable[None]]


class Timer:
    """A callback at a time."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class WoundLoop:
    """The running event loop, but its time passes when a test says so."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: list[Timer] = []
        self.now = 1_000.0
        self.made = 0
        """How many timers there were in all."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self._timers.append(Timer(when, callback))
        self.made += 1
        return self._timers[-1]

    def set(self) -> list[float]:
        """When timers will fire."""
        return sorted(timer.when for timer in self._timers if not timer.cancelled)

    def wind(self, seconds: float) -> None:
        """Let time pass, and fire what is due on the way."""
        until = self.now + seconds
        while self.set() and self.set()[0] <= until:
            timer = min((timer for timer in self._timers if not timer.cancelled), key=lambda timer: timer.when)
            self._timers.remove(timer)
            self.now = timer.when
            timer.callback()
        self.now = until


class Wire(asyncio.Transport):
    """What the protocol takes for a socket: keeps every write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.paused = False
        self.unread = 0

    @property
    def received(self) -> bytes:
        return b"".join(self.writes)

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            self.writes.append(bytes(data))

    @override
    def can_write_eof(self) -> bool:
        return True

    @override
    def write_eof(self) -> None:
        pass

    @override
    def close(self) -> None:
        self.closed = True

    @override
    def abort(self) -> None:
        self.closed = True

    @override
    def is_closing(self) -> bool:
        return self.closed

    @override
    def pause_reading(self) -> None:
        self.paused = True

    @override
    def resume_reading(self) -> None:
        self.paused = False

    @override
    def is_reading(self) -> bool:
        return not self.paused

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    @override
    def get_write_buffer_size(self) -> int:
        return self.unread

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 9) if name in {"peername", "sockname"} else default


def connect(
    app: App, protocol: type[HttpProtocol] = HttpProtocol, loop: WoundLoop | None = None
) -> tuple[HttpProtocol, Wire]:
    """A connection of this protocol, and its other end. Bytes are sent by `data_received`."""
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", proxy_headers=False, log_config=None)
    config.timeout_keep_alive = 75
    config.load()
    made = protocol(config, ServerState(), {}, cast("asyncio.AbstractEventLoop", loop or asyncio.get_running_loop()))
    wire = Wire()
    made.connection_made(wire)
    return made, wire
