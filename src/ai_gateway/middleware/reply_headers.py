"""Headers of every reply, whether it is written by the application or by the parser that refuses a request."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ai_gateway.config.constants import OPENAI_VERSION
from ai_gateway.middleware.cors import Cors, Fields

_VERSION = (b"openai-version", OPENAI_VERSION.encode())
_NO_STORE = (b"cache-control", b"no-store")
# Security headers: they restrict what browsers may do with a reply.
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
# For pages without a policy of their own.
_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")


class Constant(NamedTuple):
    """Headers that are the same in many replies: as fields, and as encoded lines."""

    fields: Fields
    lines: bytes


def lines_of(fields: Fields) -> bytes:
    """Fields as header lines, each with its line end."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def _constant(fields: Fields) -> Constant:
    return Constant(fields, lines_of(fields))


class ReplyHeaders:
    """The common headers of replies. With `security`, they include those that restrict browsers."""

    def __init__(self, *, security: bool = True, origins: Collection[str] = ()) -> None:
        self.cors = Cors(origins)
        guards = _SECURITY if security else []
        self._usual = _constant([_VERSION, *([_NO_STORE] if security else []), *guards])
        self._with_cache_control = _constant([_VERSION, *guards])
        pages = [_PAGE] if security else []
        both = self._usual, self._with_cache_control
        self._of_pages = {each.lines: _constant([*each.fields, *pages]) for each in both}

    def common(self, own: Mapping[bytes, bytes], request_id: bytes, spent_ms: int) -> Fields:
        """The request's id, the processing time, and security headers that are not among the reply's `own`."""
        return [
            (b"x-request-id", request_id),
            (b"openai-processing-ms", b"%d" % spent_ms),
            *self._constant(own).fields,
        ]

    def lines(self, own: Mapping[bytes, bytes], request_id: bytes, spent_ms: int) -> bytes:
        """The same as header lines."""
        constant = self._constant(own).lines
        return b"x-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (request_id, spent_ms, constant)

    def usual_lines(self, own: bytes, request_id: bytes, spent_ms: int) -> bytes:
        """The `own` lines of a JSON reply, `Cache-Control: no-store`, and the common lines."""
        usual = self._usual.lines
        return b"%bx-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (own, request_id, spent_ms, usual)

    def lines_of_stream(self, own: bytes, request_id: bytes, spent_ms: int) -> bytes:
        """The same for a stream, whose own lines forbid caches."""
        usual = self._with_cache_control.lines
        return b"%bx-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (own, request_id, spent_ms, usual)

    def _constant(self, own: Mapping[bytes, bytes]) -> Constant:
        constant = self._with_cache_control if b"cache-control" in own else self._usual
        if own.get(b"content-type", b"").startswith(b"text/html") and b"content-security-policy" not in own:
            return self._of_pages[constant.lines]
        return constant
