"""Write replies: JSON, plain text, or a stream's items as they come."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Self

from pydantic import BaseModel
from starlette.types import Send

from ai_gateway.contract.body import SLOWEST_RATE
from ai_gateway.contract.call import OWN_ID, UPSTREAMS_LIMITS, Call, Notes, OwnText
from ai_gateway.contract.disconnect import ClientDisconnected
from ai_gateway.contract.framing import Framing
from ai_gateway.contract.stream import Content, Continued, Framed, Item, Last, LastFramed, Stream, Verbatim
from ai_gateway.contract.tracebacks import forget_frames
from ai_gateway.errors import GatewayError, Unavailable, UpstreamTimeout
from ai_gateway.observability.metrics import Event, count
from ai_gateway.redaction import strike

_JSON = b"application/json"
_JSON_LINE = b"content-type: application/json\r\n"
_OWN = "x-gateway-"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # a line end would start another header
_STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    # Or proxies such as nginx would buffer the stream (nginx.org, ngx_http_proxy_module).
    (b"x-accel-buffering", b"no"),
]
STOPPING = Unavailable(
    "The gateway is stopping: send the request again.", headers={"retry-after": "1", "connection": "close"}
)


def to_json(model: BaseModel) -> bytes:
    """The model's wire form: what was set, under its names on the wire, and nothing else."""
    # The serializer itself: model_dump_json makes a str of its bytes, only for us to encode it again.
    return type(model).__pydantic_serializer__.to_json(model, by_alias=True, exclude_unset=True)


def to_fields(model: BaseModel) -> dict[str, object]:
    """The same as Python values, for code that changes it."""
    fields: dict[str, object] = type(model).__pydantic_serializer__.to_python(model, by_alias=True, exclude_unset=True)
    return fields


_OUT_OF_TIME = UpstreamTimeout("The stream took longer than streams may. Read faster, or ask for less.")
# Written piece by piece, so that the request stays in flight while its reply holds memory.
_PIECE = 64 * 1024
# Seconds beyond those that the size allows: for slow networks and clients that start to read late.
_READ_S = 20.0
# Between two keep-alives; idle timeouts of proxies are 30 seconds or more.
_KEEP_ALIVE_S = 10.0
_LAST = {Last, LastFramed}
_ERROR = "error"  # the name of error events on wires with named events


def encoded(reply: BaseModel | Item[Any] | str | None) -> tuple[bytes | None, bytes]:
    """Media type and bytes of a whole reply: JSON for a model, plain text for a string, no body for None."""
    if isinstance(reply, Item):
        return _JSON, reply.raw or to_json(reply.model)
    if isinstance(reply, BaseModel):
        return _JSON, to_json(reply)
    return (None, b"") if reply is None else (b"text/plain; charset=utf-8", reply.encode())


def _is_bare_text(media: str) -> bool:
    return media.startswith("text/") and "charset" not in media


async def send_content(send: Send, content: Content[str], headers: Mapping[str, str], status: int = 200) -> None:
    """A reply that is not JSON, whole or piece by piece.

    The first piece is awaited before the status line, so that an early failure keeps its status. After a later one the
    connection is closed, since a file has no place for an error.
    """
    media = content.media.encode() + (b"; charset=utf-8" if _is_bare_text(content.media) else b"")
    if isinstance(content.data, bytes):
        await send_whole(send, status, media, content.data, headers)
        return
    async with aclosing(content.data) as pieces:
        first = await anext(pieces, b"")
        fields = [*_encoded(headers), (b"content-type", media)]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def send_error(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """An error response."""
    await send_whole(send, status, _JSON, body, headers)


def send_at_once(send: Send, status: int, media: bytes | None, body: bytes, call: Call) -> Awaitable[None]:
    """The same as `send_whole` on our own server, which takes a small reply in one message, its head as lines."""
    if media is not _JSON or len(body) > _PIECE:
        return send_whole(send, status, media, body, call.reply_headers())
    return send({"type": "http.response.start", "status": status, "lines": _lines_of(call), "whole": body})


def _lines_of(call: Call) -> bytes:
    """The lines of a JSON reply's head about the call."""
    notes, reservation = call.notes, call.reservation
    if call.wire.own_headers is None and notes.are_plain:
        lines, more = _plain_lines(notes.provider, notes.attempts), None
        if reservation is not None:
            more = reservation.headers
        if not more:
            return lines
    else:
        lines, more = _JSON_LINE, call.reply_headers()
    return lines + b"".join(
        [
            f"{name}: {value}\r\n".encode("latin-1") if value.__class__ is OwnText else _line(name, value)
            for name, value in more.items()
            if value.__class__ is OwnText or _is_own(name) or _is_clean(name, value)
        ]
    )


@lru_cache(256)
def _plain_lines(provider: str, attempts: int) -> bytes:
    """The lines for an attempt about which nothing else is to be said."""
    return _JSON_LINE + b"".join(
        _line(name, value) for name, value in Notes(provider, attempts=attempts).headers().items()
    )


async def send_whole(  # noqa: PLR0913, PLR0917 - what is sent, and how long it may be read
    send: Send, status: int, media: bytes | None, body: bytes, headers: Mapping[str, str], grace_s: float = _READ_S
) -> None:
    """A whole response of this media type.

    A client has to read a large body at the same rate as it has to send one. Raises ClientDisconnected, so that the
    connection is closed, for a slower one: it would keep memory and a place in flight for ever.
    """
    fields = _encoded(headers)
    if media is not None:
        fields += [(b"content-type", media), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if len(body) <= _PIECE:
        await send({"type": "http.response.body", "body": body})
        return
    try:
        async with asyncio.timeout(grace_s + len(body) / SLOWEST_RATE):
            for at in range(0, len(body), _PIECE):
                piece = body[at : at + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": at + _PIECE < len(body)})
    except TimeoutError:
        raise ClientDisconnected from None


async def send_stream(  # noqa: PLR0913 - what is sent, how, and how long it may take to begin
    send: Send,
    stream: Stream[Any],
    call: Call,
    framing: Framing,
    rendered: Callable[[Exception], bytes],
    *,
    late: "LateHeads | None" = None,
) -> None:
    """The framed items, then the terminator of a whole stream.

    The first item is awaited before the status line, so that an early failure keeps its status, but not longer than
    `late` allows. A later failure becomes an error item without a terminator, so that clients can tell that the stream
    is incomplete.
    """
    with _Head(send, call, framing, late) as head:
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
                await send(
                    {"type": "http.response.body", "body": head.held + _broken(stream, framing, rendered(STOPPING))}
                )
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
        await send({"type": "http.response.body", "body": head.held + last})


async def _send_on(head: "_Head", items: AsyncGenerator[Any], stream: Stream[Any]) -> None:
    """Send the head and the items as they come, but for the last one, which leaves with the end."""
    send, framing = head.send, head.framing
    first = await head.before(items)
    if first is None:
        return
    await send({"type": "http.response.body", "body": _body(framing, first, stream), "more_body": True})
    async for item in items:
        body = _body(framing, item, stream)
        if item.__class__ in _LAST:
            head.held = body
        else:
            await send({"type": "http.response.body", "body": body, "more_body": True})


class _Head:
    """The head of a streamed reply: sent with the first item or, if that is late, alone and followed by keep-alives.

    Proxies and clients time out when a response has not begun after about a minute.
    """

    def __init__(self, send: Send, call: Call, framing: Framing, late: "LateHeads | None") -> None:
        self.is_sent = False
        self.held = b""
        """The framed last item, until it leaves with what ends the stream."""
        self.send = send
        self.call = call
        self.framing = framing
        self._late = late
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
        if first is not None and self._late is not None:
            self._late.watch(self)
        return first

    async def _start(self) -> None:
        headers = [*_encoded(self.call.reply_headers()), (b"content-type", self.framing.media), *_STREAM_HEADERS]
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
        self._heard_by: asyncio.AbstractEventLoop | None = None

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
        if self._heard_by is not loop:
            self._heard_by = loop
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
            self._heard_by = None
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


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
        if value.__class__ is OwnText or _is_own(name) or _is_clean(name, value)
    ]


@lru_cache(512)  # most say which provider has answered
def _line(name: str, value: str) -> bytes:
    if _CONTROL.search(value):
        raise ValueError("A reply's header contains a control character.")
    return b"%b: %b\r\n" % (name.encode("latin-1"), value.encode("latin-1", "replace"))


@lru_cache(512)
def _is_own(name: str) -> bool:
    return name.startswith(_OWN) and not name.startswith(UPSTREAMS_LIMITS)


def _is_clean(name: str, value: str) -> bool:
    """Whether a header, which may be an upstream's, contains no key; one that does is dropped."""
    return OWN_ID.fullmatch(value) is not None or (strike(name) == name and strike(value) == value)
