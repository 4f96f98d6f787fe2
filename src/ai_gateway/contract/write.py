"""Write whole replies: JSON, plain text, or a file."""

import asyncio
import re
from collections.abc import Awaitable, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from starlette.types import Send

from ai_gateway.contract.body import SLOWEST_RATE
from ai_gateway.contract.call import OWN_ID, UPSTREAMS_LIMITS, Call, Notes, OwnText
from ai_gateway.contract.disconnect import ClientDisconnected
from ai_gateway.contract.stream import Content, Item
from ai_gateway.redaction import redact

_JSON = b"application/json"
_JSON_LINE = b"content-type: application/json\r\n"
_OWN = "x-gateway-"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # a line end would start another header
# Written piece by piece, so that the request stays in flight while its reply holds memory.
_PIECE = 64 * 1024
# Seconds beyond those that the size allows: for slow networks and clients that start to read late.
_READ_S = 20.0


def to_json(model: BaseModel) -> bytes:
    """The model's wire form: what was set, under its names on the wire, and nothing else."""
    # The serializer itself: model_dump_json makes a str of its bytes, only for us to encode it again.
    return type(model).__pydantic_serializer__.to_json(model, by_alias=True, exclude_unset=True)


def to_fields(model: BaseModel) -> dict[str, object]:
    """The same as Python values, for code that changes it."""
    fields: dict[str, object] = type(model).__pydantic_serializer__.to_python(model, by_alias=True, exclude_unset=True)
    return fields


def encoded(reply: BaseModel | Item[Any] | str | None) -> tuple[bytes | None, bytes]:
    """Media type and bytes of a whole reply: JSON for a model, plain text for a string, no body for None."""
    if isinstance(reply, Item):
        return _JSON, reply.raw or to_json(reply.model)
    if isinstance(reply, BaseModel):
        return _JSON, to_json(reply)
    return (None, b"") if reply is None else (b"text/plain; charset=utf-8", reply.encode())


async def send_content(send: Send, content: Content[str], headers: Mapping[str, str], status: int = 200) -> None:
    """A reply that is not JSON, whole or piece by piece.

    The first piece is awaited before the status line, so that an early failure keeps its status. After a later one the
    connection is closed, since a file has no place for an error.
    """
    has_no_charset = content.media.startswith("text/") and "charset" not in content.media
    media = content.media.encode() + (b"; charset=utf-8" if has_no_charset else b"")
    if isinstance(content.data, bytes):
        await send_whole(send, status, media, content.data, headers)
        return
    async with aclosing(content.data) as pieces:
        first = await anext(pieces, b"")
        fields = [*encoded_headers(headers), (b"content-type", media)]
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
    return send({"type": "http.response.start", "status": status, "lines": lines_of(call, _JSON_LINE), "whole": body})


def lines_of(call: Call, own: bytes) -> bytes:
    """The lines of a reply's head: its own, and those about the call."""
    notes, reservation = call.notes, call.reservation
    if call.wire.own_headers is None and notes.are_plain:
        lines = _plain_lines(own, notes.provider, notes.attempts)
        return lines if reservation is None else lines + reservation.lines().encode("latin-1")
    more = call.reply_headers()
    # Added up, since to format what is not quite a string takes five times as long.
    texts = [name + ": " + value + "\r\n" for name, value in more.items() if value.__class__ is OwnText]
    others = [
        _line(name, value)
        for name, value in more.items()
        if value.__class__ is not OwnText and (_is_own(name) or _is_clean(name, value))
    ]
    return own + b"".join(others) + "".join(texts).encode("latin-1")


@lru_cache(256)
def _plain_lines(own: bytes, provider: str, attempts: int) -> bytes:
    """The lines for an attempt about which there is nothing else to report."""
    return own + b"".join(_line(name, value) for name, value in Notes(provider, attempts=attempts).headers().items())


async def send_whole(  # noqa: PLR0913, PLR0917 - what is sent, and how long it may be read
    send: Send, status: int, media: bytes | None, body: bytes, headers: Mapping[str, str], grace_s: float = _READ_S
) -> None:
    """A whole response of this media type.

    A client has to read a large body at the same rate as it has to send one. Raises ClientDisconnected for a slower
    one, so that the connection is closed: it would occupy memory and a permit for ever.
    """
    fields = encoded_headers(headers)
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


def encoded_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them, without those that contain a key."""
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
    return OWN_ID.fullmatch(value) is not None or (redact(name) == name and redact(value) == value)
