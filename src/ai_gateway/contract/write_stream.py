"""Write a stream's items as they come."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import cache
from typing import Any, Self

from pydantic import BaseModel
from starlette.types import Send

from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import Framing
from ai_gateway.contract.stream import (
    Continued,
    Framed,
    Item,
    Last,
    LastFramed,
    LastTogether,
    Stream,
    Together,
    Verbatim,
)
from ai_gateway.contract.tracebacks import forget_frames
from ai_gateway.contract.write import encoded_headers, lines_of, to_json
from ai_gateway.errors import GatewayError, Unavailable, UpstreamTimeout
from ai_gateway.observability.metrics import Event, count

_STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    # Or proxies such as nginx would buffer the stream (nginx.org, ngx_http_proxy_module).
    (b"x-accel-buffering", b"no"),
]
STOPPING = Unavailable(
    "The gateway is stopping: send the request again.", headers={"retry-after": "1", "connection": "close"}
)
_OUT_OF_TIME = UpstreamTimeout("The stream took longer than streams may. Read faster, or ask for less.")
# Between two keep-alives; idle timeouts of proxies are 30 seconds or more.
_KEEP_ALIVE_S = 10.0
_ENDS = (LastFramed, LastTogether)
_LAST = (Last, *_ENDS)
_ERROR = "error"  # the name of error events on wires with named events


async def send_stream(  # noqa: PLR0913 - what is sent, how, and how long it may take to begin
    send: Send,
    stream: Stream[Any],
    call: Call,
    framing: Framing,
    rendered: Callable[[Exception], bytes],
    *,
    late: "LateHeads | None" = None,
    in_lines: bool = False,
) -> None:
    """The framed items, then the terminator of a whole stream.

    The first item is awaited before the status line, so that an early failure keeps its status, but not longer than
    `late` allows. A later failure becomes an error item without a terminator, so that clients can tell that the stream
    is incomplete. Our own server takes the head `in_lines`.
    """
    with _Head(send, call, framing, late, in_lines) as head:
        await _send_items(head, stream, rendered)


async def _send_items(head: "_Head", stream: Stream[Any], rendered: Callable[[Exception], bytes]) -> None:
    send, call, framing = head.send, head.call, head.framing
    async with aclosing(stream.items) as items:
        last = framing.end
        try:
            await _send_on(head, items, stream)
        except asyncio.CancelledError:
            if not head.is_sent:
                raise
            await items.aclose()
            if _is_cancelled():
                # The server stops, or the client has disconnected: without the error, a partial answer would look
                # whole.
                head.held.append(_broken(stream, framing, rendered(STOPPING)))
                await send({"type": "http.response.body", "body": b"".join(head.held)})
                raise
            # It was the deadline, whose cancellation is undone by now: the client reads too slowly.
            count(Event.BROKEN_STREAM, call.notes.provider, _code_of(_OUT_OF_TIME))
            last = _broken(stream, framing, rendered(_OUT_OF_TIME))
        except Exception as error:  # the status is out, so every failure becomes an item of the stream
            if not head.is_sent:
                raise
            count(Event.BROKEN_STREAM, call.notes.provider, _code_of(error))
            last = _broken(stream, framing, rendered(error))
            forget_frames(error)
        await call.settle()
        head.held.append(last)
        await send({"type": "http.response.body", "body": b"".join(head.held)})


async def _send_on(head: "_Head", items: AsyncGenerator[Any], stream: Stream[Any]) -> None:
    """Send the head and the items as they come, but for the last one, which leaves with the end."""
    send, framing = head.send, head.framing
    first = await head.before(items)
    if first is None:
        return
    if isinstance(first, _ENDS):
        head.held = _pieces(framing, first, stream)
    else:
        body = b"".join(_pieces(framing, first, stream))
        await send({"type": "http.response.body", "body": body, "more_body": True})
    async for item in items:
        if isinstance(item, _LAST):
            head.held = _pieces(framing, item, stream)
        else:
            body = b"".join(_pieces(framing, item, stream))
            await send({"type": "http.response.body", "body": body, "more_body": True})


class _Head:
    """The head of a streamed reply: sent with the first item or, if that is late, alone and followed by keep-alives.

    Proxies and clients time out when a response has not begun after about a minute.
    """

    def __init__(self, send: Send, call: Call, framing: Framing, late: "LateHeads | None", in_lines: bool) -> None:
        self.is_sent = False
        self.held: list[bytes] = []
        """The framed last item, until it leaves with what ends the stream."""
        self.send = send
        self.call = call
        self.framing = framing
        self._late = late
        self._in_lines = in_lines
        self._task: asyncio.Task[None] | None = None
        # The wire's own keep-alive; that of the framing is ignored by every client of server-sent events.
        self._keep_alive = call.wire.framing.keep_alive or framing.keep_alive

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._late is not None:
            self._late.unwatch(self)

    @property
    def chunks(self) -> int:
        """The number of chunks that the stream has delivered in any way."""
        return self.call.notes.chunks

    def send_keep_alive(self) -> None:
        """Send a keep-alive between two events, unless the client reads too slowly."""
        if self.call.sink is not None and self._keep_alive:
            self.call.sink(self._keep_alive)

    async def before[Item](self, items: AsyncGenerator[Item]) -> Item | None:
        """The first of the items, None if there is none. The head has been sent by then."""
        if self._late is not None:
            self._late.add(self)
        try:
            first = await anext(items, None)
        finally:
            if self._late is not None:
                self._late.discard(self)
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait({self._task})
        if not self.is_sent:
            await self._start()
        if first is not None and not isinstance(first, _ENDS) and self._late is not None:
            self._late.watch(self)
        return first

    async def _start(self) -> None:
        if self._in_lines:
            self.is_sent = True
            lines = lines_of(self.call, _lines_for(self.framing.media))
            await self.send({"type": "http.response.start", "status": 200, "lines": lines})
            return
        headers = [*encoded_headers(self.call.reply_headers()), (b"content-type", self.framing.media), *_STREAM_HEADERS]
        self.is_sent = True
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    def be_late(self) -> None:
        """Send the head now, and keep-alives until the first item."""
        self._task = asyncio.get_running_loop().create_task(self._kept_alive())

    async def _kept_alive(self) -> None:
        await self._start()
        while True:
            await self.send({"type": "http.response.body", "body": self._keep_alive, "more_body": True})
            await asyncio.sleep(_KEEP_ALIVE_S)


@cache
def _lines_for(media: bytes) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in ((b"content-type", media), *_STREAM_HEADERS)])


class LateHeads:
    """Keep-alives for silent streams: heads that wait for their first item, and streams that wait for the next.

    One timer watches the head that has waited longest, and another one visits all open streams periodically: a timer
    for each stream would cost all of them what few need.
    """

    def __init__(self, after_s: float, every_s: float = _KEEP_ALIVE_S) -> None:
        self._after_s = after_s
        self._every_s = every_s
        self._waiting: dict[_Head, float] = {}  # all wait equally long, so the first is the first to be late
        self._watched_by: asyncio.AbstractEventLoop | None = None
        self._open: dict[_Head, int] = {}  # with the number of chunks at the last visit
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, head: _Head) -> None:
        """Send this head when its time is over, unless it is discarded before."""
        loop = asyncio.get_running_loop()
        self._waiting[head] = when = loop.time() + self._after_s
        if self._watched_by is not loop:
            self._watched_by = loop
            loop.call_at(when, self._look, loop)

    def discard(self, head: _Head) -> None:
        """The head has been sent."""
        self._waiting.pop(head, None)

    def watch(self, head: _Head) -> None:
        """Send keep-alives whenever this started stream is silent."""
        self._open[head] = head.chunks
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._every_s, self._listen, loop)

    def unwatch(self, head: _Head) -> None:
        """The stream is over."""
        self._open.pop(head, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._waiting:
            head, when = next(iter(self._waiting.items()))
            if when > now:
                loop.call_at(when, self._look, loop)
                return
            del self._waiting[head]
            head.be_late()
        self._watched_by = None

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._open:
            self._loop = None
            return
        for head, chunks in self._open.items():
            if head.chunks == chunks:
                head.send_keep_alive()
            else:
                self._open[head] = head.chunks
        loop.call_later(self._every_s, self._listen, loop)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _code_of(error: Exception) -> str:
    """The failure's code among our own: an upstream's would be unbounded as a label."""
    return (type(error).code if isinstance(error, GatewayError) else None) or "internal_error"


def _broken(stream: Stream[Any], framing: Framing, error: bytes) -> bytes:
    """The last bytes of a stream that fails after its head."""
    return framing.framed(error, _ERROR) if stream.broken is None else stream.broken(error)


def _pieces(
    framing: Framing, item: BaseModel | Item[Any] | Verbatim | Continued | Framed | Together, stream: Stream[Any]
) -> list[bytes]:
    """The bytes of an item, which are joined once for a message."""
    pieces: list[bytes] = []
    for each in item.items if isinstance(item, Together) else (item,):
        if each.__class__ is Verbatim and each.are_framed:
            pieces += each.items
        else:
            pieces.append(_body(framing, each, stream))
    return pieces


def _body(framing: Framing, item: BaseModel | Item[Any] | Verbatim | Continued | Framed, stream: Stream[Any]) -> bytes:
    if isinstance(item, Framed):
        return item.data
    if isinstance(item, Verbatim):
        return framing.all_framed(item.items) if item.items else framing.keep_alive
    if isinstance(item, Item):
        model, data = item
        # Neither an event's data nor a line may hold line ends.
        if data is None or data.find(b"\n") >= 0 or data.find(b"\r") >= 0:
            data = to_json(model)
    elif isinstance(item, Continued):
        raise TypeError("Texts alone are nothing that a client of chat completions can read.")
    else:
        model, data = item, to_json(item)
    event = stream.event(model) if framing.named else ""
    return framing.framed(data, event)
