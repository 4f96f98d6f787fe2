"""A server of asyncio's streams in a thread of its own, so that sync and async tests can use it alike."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

HOST = "127.0.0.1"
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@contextmanager
def serving(conversation: Conversation, **options: Any) -> Iterator[int]:
    """The port. Each connection is closed when its conversation ends, and all of them with the server.

    A transport that is open when its loop ends fails whichever test happens to run when it is collected: one whose
    peer reads nothing more, for example, or one that was accepted at the last moment.
    """
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    ports: list[int] = []
    ready = threading.Event()

    async def serve() -> None:
        transports = WeakSet[asyncio.WriteTransport]()  # those that are open are kept by the loop
        conversations: set[asyncio.Task[None]] = set()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await conversation(reader, writer)
            finally:
                writer.close()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transports.add(writer.transport)
            conversations.add(task := loop.create_task(converse(reader, writer)))
            task.add_done_callback(conversations.discard)

        server = await asyncio.start_server(connected, HOST, 0, **options)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()
        for _ in range(3):  # in which what was accepted becomes a transport
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for transport in list(transports):
            transport.abort()
        await asyncio.sleep(0.05)  # in which the transports end

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(60), "the server did not start"
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive(), "the server did not stop"
        loop.close()
