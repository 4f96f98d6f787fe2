"""The headers that every reply carries, whoever writes it: the application, or the parser that refuses a request."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ai_gateway.config.constants import OPENAI_VERSION
from ai_gateway.middleware.cors import Cors, Fields

_VERSION = (b"openai-version", OPENAI_VERSION.encode())
_NO_STORE = (b"cache-control", b"no-store")
# Keep browsers from doing more with a reply than its caller asked for.
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
# For pages that bring no policy of their own.
_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")


class Constant(NamedTuple):
    """Headers that are the same in many replies: by themselves, and as the lines that they are in a head."""

    fields: Fields
    lines: bytes


def lines_of(fields: Fields) -> bytes:
    """Fields as the lines of a head, each with its end."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def _constant(fields: Fields) -> Constant:
    return Constant(fields, lines_of(fields))


class ReplyHeaders:
    """What a reply gets beside its own headers. With `security`, this includes what guards browsers."""

    def __init__(self, *, security: bool = True, origins: Collection[str] = ()) -> None:
        self.cors = Cors(origins)
        guards = _SECURITY if security else []
        self._usual = _constant([_VERSION, *([_NO_STORE] if security else []), *guards])
        self._with_cache_control = _constant([_VERSION, *guards])
        pages = [_PAGE] if security else []
        both = self._usual, self._with_cache_control
        self._of_pages = {each.lines: _constant([*each.fields, *pages]) for each in both}

    def common(self, own: Mapping[bytes, bytes], request_id: bytes, spent_ms: int) -> Fields:
        """The request's id and clock, and headers for browsers where the reply has none of its `own`."""
        return [
            (b"x-request-id", request_id),
            (b"openai-processing-ms", b"%d" % spent_ms),
            *self._constant(own).fields,
        ]

    def lines(self, own: Mapping[bytes, bytes], request_id: bytes, spent_ms: int) -> bytes:
        """The same as lines of a head."""
        constant = self._constant(own).lines
        return b"x-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (request_id, spent_ms, constant)

    def usual_lines(self, own: bytes, request_id: bytes, spent_ms: int) -> bytes:
        """The `own` lines of a reply, which is JSON and may be kept by nobody, and the common ones."""
        usual = self._usual.lines
        return b"%bx-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (own, request_id, spent_ms, usual)

    def lines_of_stream(self, own: bytes, request_id: bytes, spent_ms: int) -> bytes:
        """The same for a stream, whose own lines say that it may be kept by nobody."""
        usual = self._with_cache_control.lines
        return b"%bx-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (own, request_id, spent_ms, usual)

    def _constant(self, own: Mapping[bytes, bytes]) -> Constant:
        constant = self._with_cache_control if b"cache-control" in own else self._usual
        if own.get(b"content-type", b"").startswith(b"text/html") and b"content-security-policy" not in own:
            return self._of_pages[constant.lines]
        return constant
