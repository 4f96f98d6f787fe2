"""Read a request body strictly: right type, bounded size, bounded time, plain JSON, then the exact model."""

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive

from ai_gateway.contract.budget import Allocation, ByteBudget
from ai_gateway.contract.disconnect import ClientDisconnected
from ai_gateway.contract.present_fields import validated
from ai_gateway.contract.strict_json import read_json_counted, read_json_written
from ai_gateway.contract.texts import fields_of
from ai_gateway.contract.types import UploadedFile
from ai_gateway.contract.validation_errors import explain
from ai_gateway.errors import InvalidRequest, PayloadTooLarge, RequestTimeout, UnsupportedMediaType

# A body must arrive at this rate (bytes per second) after its grace period: a slower client is stalling, not uploading.
# A whole reply has to be read at the same rate.
SLOWEST_RATE = 16_384
_MAX_ERRORS = 1_000
# A parsed body takes about this much memory beside its bytes: for each value, and more for an array or an object with
# its model. Small bodies are not charged for it.
_VALUE_BYTES = 64
_ARRAY_BYTES = 64
_OBJECT_BYTES = 512
_SMALL = 2 * 1024
# One of these characters precedes each value; those inside of strings are not counted. At most so many quotes are
# searched: a body with more has many values anyway.
_BEFORE_VALUES = {b",": _VALUE_BYTES, b"[": _VALUE_BYTES + _ARRAY_BYTES, b"{": _VALUE_BYTES + _OBJECT_BYTES}
_MAX_QUOTES = 20_000
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json", re.IGNORECASE)
CLOSE = {"connection": "close"}  # for a body that is not read to its end: its rest would be parsed as a request


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The most bytes of a body, the seconds until its start, and whether its media type has to be JSON.

    `budget` is for the bodies of all requests together.
    """

    max_bytes: int
    timeout_s: float
    any_type: bool = False
    budget: ByteBudget = field(default_factory=lambda: ByteBudget(sys.maxsize))


class BufferedBody:
    """The ASGI `receive` of our own server, which can also return an arrived body without waiting."""

    __slots__ = ()

    def take_whole(self) -> bytes | None:
        """The whole body, once; None if a part has not arrived yet, or has been read."""
        raise NotImplementedError

    def __call__(self) -> Awaitable[Message]:
        """Wait for more of it, as in ASGI."""
        raise NotImplementedError


async def read_bytes(headers: Mapping[str, str], receive: Receive, limits: BodyLimits, allocation: Allocation) -> bytes:
    """The raw body of media type JSON; `allocation` is charged with its size.

    Raises UnsupportedMediaType, PayloadTooLarge, Overloaded, RequestTimeout, or ClientDisconnected.
    """
    raw = read_arrived(headers, receive, limits, allocation)
    return await receive_rest(receive, limits, allocation) if raw is None else raw


def read_arrived(
    headers: Mapping[str, str], receive: Receive, limits: BodyLimits, allocation: Allocation
) -> bytes | None:
    """The same if all of it has arrived; None if it has to be awaited."""
    # Programs may omit the media type if the wire's own server ignores it. Web pages (requests with Origin) may not:
    # without a JSON type, browsers send cross-origin requests without a preflight (fetch.spec.whatwg.org,
    # "CORS-safelisted request-header").
    if headers.get("content-type") != "application/json" and (not limits.any_type or "origin" in headers):
        _check_type(headers)
    if "content-encoding" in headers:
        _check_encoding(headers)
    raw = _arrived(receive, limits, allocation)
    if raw is None:
        _check_announced(headers, limits, allocation)
    return raw


async def receive_rest(receive: Receive, limits: BodyLimits, allocation: Allocation) -> bytes:
    """Wait for a body for which `read_arrived` gave None. Raises as `read_bytes` does."""
    parts: list[bytes] = []
    await _receive_parts(receive, limits, allocation, parts.append)
    return b"".join(parts)


async def receive_body(
    headers: Mapping[str, str],
    receive: Receive,
    limits: BodyLimits,
    allocation: Allocation,
    take: Callable[[bytes], None],
) -> None:
    """Pass a body of any type to `take` in pieces, within its limits; `allocation` is charged with its size.

    A body that has arrived is not timed. Raises UnsupportedMediaType, PayloadTooLarge, Overloaded, RequestTimeout,
    ClientDisconnected, or what `take` raises.
    """
    _check_encoding(headers)
    raw = _arrived(receive, limits, allocation)
    if raw is None:
        _check_announced(headers, limits, allocation)
        await _receive_parts(receive, limits, allocation, take)
    else:
        take(raw)


def _check_announced(headers: Mapping[str, str], limits: BodyLimits, allocation: Allocation) -> None:
    """Refuse a body by its Content-Length before it is received."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.max_bytes:
        raise _too_large(limits)
    allocation.reserve(int(declared) if declared.isdecimal() else 0)


def _arrived(receive: Receive, limits: BodyLimits, allocation: Allocation) -> bytes | None:
    """The body, if all of it has arrived."""
    raw = receive.take_whole() if isinstance(receive, BufferedBody) else None
    if raw is not None:
        size = len(raw)
        if size > limits.max_bytes:
            raise _too_large(limits)
        allocation.charge(size)
    return raw


async def _receive_parts(
    receive: Receive, limits: BodyLimits, allocation: Allocation, take: Callable[[bytes], None]
) -> None:
    started = time.monotonic()
    size = 0
    try:
        async with asyncio.timeout(limits.timeout_s) as clock:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                part = message.get("body", b"")
                size += len(part)
                if size > limits.max_bytes:
                    raise _too_large(limits)
                allocation.charge(len(part))
                take(part)
                if not message.get("more_body", False):
                    return
                spent = time.monotonic() - started
                clock.reschedule(asyncio.get_running_loop().time() - spent + limits.timeout_s + size / SLOWEST_RATE)
    except TimeoutError:
        raise RequestTimeout("The request body did not arrive in time: send it again.", headers=CLOSE) from None


async def read_upload(
    headers: Mapping[str, str], receive: Receive, limits: BodyLimits, allocation: Allocation, media: Sequence[str]
) -> UploadedFile:
    """A body that is a file, of one of the types or ranges of types in `media`. Raises as `receive_body` does."""
    given = headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if not any(fnmatchcase(kind, each) for each in media):
        raise UnsupportedMediaType(f"The body must be {' or '.join(media)}: say so in the header Content-Type.")
    pieces: list[bytes] = []
    await receive_body(headers, receive, limits, allocation, pieces.append)
    return UploadedFile(b"".join(pieces), given)


def _about_parsed(raw: bytes) -> tuple[int, int]:
    """An upper estimate of the bytes that JSON takes when parsed: for all values, and for arrays and objects alone."""
    *pieces, rest = raw.split(b'"', _MAX_QUOTES)
    if len(pieces) == _MAX_QUOTES:  # escaped quotes may have used up the pieces: split without them
        *pieces, rest = raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', _MAX_QUOTES)
    outside, in_text = list[bytes](), False
    for piece in pieces:
        if not in_text:
            outside.append(piece)
            in_text = True
        elif piece[-1:] != b"\\" or (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 0:  # the quote is not escaped
            in_text = False
    if not in_text or len(pieces) == _MAX_QUOTES:
        outside.append(rest)
    found = b"".join(outside)
    sizes = {sign: found.count(sign) * size for sign, size in _BEFORE_VALUES.items()}
    return sum(sizes.values()), sizes[b"["] + sizes[b"{"]


def _check_type(headers: Mapping[str, str]) -> None:
    media, _, parameters = headers.get("content-type", "").partition(";")
    if not _JSON_TYPE.fullmatch(media.strip()):
        raise UnsupportedMediaType("The body must be JSON: send the header Content-Type: application/json.")
    charset = parameters.lower().replace(" ", "").partition("charset=")[2].partition(";")[0].strip('"')
    if charset not in {"", "utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType("The body must be JSON in UTF-8: leave the charset out.")


def _check_encoding(headers: Mapping[str, str]) -> None:
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed: leave the header Content-Encoding out.")


def _too_large(limits: BodyLimits) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {limits.max_bytes} bytes: send less.", headers=CLOSE)


def parse_body(raw: bytes, allocation: Allocation) -> tuple[object, bytes | None]:
    """The same as `parse_json`, and the compact form of a small body, which is made on the way."""
    return _read(raw, read_json_written) if len(raw) <= _SMALL else (parse_json(raw, allocation), None)


def parse_json(raw: bytes, allocation: Allocation | None = None) -> object:
    """The JSON value in `raw`; `allocation` is charged for its values beside their bytes.

    The charge comes before parsing, so that there is memory for the values: as many as so many bytes could hold or, if
    that does not fit, an estimate. The few values of most bodies are counted after parsing, at hardly any cost. Raises
    InvalidRequest, Overloaded, or PayloadTooLarge for more objects and arrays than could ever fit: no real request has
    so many, and they take thirty times the body's size.
    """
    if allocation is None or len(raw) <= _SMALL:
        return _read(raw, read_json_counted)[0]
    spare = allocation.fits(len(raw) * _VALUE_BYTES)
    if not spare:
        size, holders = _about_parsed(raw)
        allocation.check_possible(holders, "The body has more objects and arrays than there is memory for: send fewer.")
        allocation.charge_at_most(size)
    value, count = _read(raw, read_json_counted)
    if spare:
        allocation.charge_at_most(_about_parsed(raw)[0] if count is None else count * _VALUE_BYTES)
    return value


def _read[More](raw: bytes, read: Callable[[bytes], tuple[object, More]]) -> tuple[object, More]:
    try:
        return read(raw)
    except ValueError as error:  # its message gives a position and never quotes the input
        if not raw.strip():
            raise InvalidRequest("The request has no body: send a JSON object.") from None
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None


def validate[Model: BaseModel](model: type[Model], value: object) -> Model:
    """The value as the exact model. Raises InvalidRequest that names the wrong field."""
    try:
        return validated(model, value)
    except ValidationError as error:
        if error.error_count() > _MAX_ERRORS:  # explaining them all would cost more than the request
            raise InvalidRequest("The body is not valid in very many places: check its structure.") from None
        raise explain(error, value, fields_of(model)) from None
