"""Disconnects: when the client closes its connection, the work for its request is cancelled."""

import asyncio
from collections.abc import Callable
from typing import Self

from starlette.types import Receive, Scope

from ai_gateway.contract.call import Caller
from ai_gateway.contract.stream import Sink


class ClientDisconnected(Exception):
    """The client has disconnected; there is nothing to answer."""


def _cannot(_data: bytes, _chunk: bytes | None = None, /) -> bool:
    return False


def _nothing() -> None:
    pass


class Connection:
    """A connection whose server says when it is lost. Put into the ASGI scope as `connection` by our own server.

    `write` sends more of the reply's body, bypassing ASGI and without waiting. It returns False, and sends nothing,
    while the reply has not begun or the client reads too slowly. `abort` closes the connection and drops unsent bytes.
    `let_in` is who last was let in on it: by which header, and by which revision of the keys.
    """

    def __init__(self) -> None:
        self.lost = False
        self.callbacks: set[Callable[[], None]] = set()
        self.write: Sink = _cannot
        self.abort: Callable[[], None] = _nothing
        self.let_in: tuple[str, int, Caller] | None = None

    def lose(self) -> None:
        """Call all callbacks for the disconnect."""
        self.lost = True
        self.write, self.abort = _cannot, _nothing  # breaks the reference cycle with the protocol
        self.let_in = None  # there is a key in it
        for callback in list(self.callbacks):
            callback()


class DisconnectGuard:
    """Disconnect guard: cancels the current task when the client disconnects.

    Our own server calls back at no cost; under any other, a task has to wait for the message. Raises ClientDisconnected
    on entry if the client has disconnected already.
    """

    __slots__ = ("_connection", "_disconnected", "_receive", "_task", "_watcher")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        self._task = task
        self._connection: Connection | None = scope.get("connection")
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._disconnected = False

    def __enter__(self) -> Self:
        if self._connection is None:
            self._watcher = asyncio.create_task(self._watch())
        elif self._connection.lost:
            raise ClientDisconnected
        else:
            self._connection.callbacks.add(self._on_disconnect)
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.callbacks.discard(self._on_disconnect)
        if self._watcher is not None:
            self._watcher.cancel()

    def cancelled_here(self) -> bool:
        """Whether the client's disconnect cancelled the task; the cancellation is then undone (`Task.uncancel`)."""
        if self._disconnected:
            self._task.uncancel()
        return self._disconnected

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._on_disconnect()

    def _on_disconnect(self) -> None:
        self._disconnected = True
        self._task.cancel()
