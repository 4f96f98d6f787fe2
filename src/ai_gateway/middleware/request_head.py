"""Checks a request's head: its size, version and Host."""

import math
from collections.abc import Mapping
from itertools import chain

from starlette.types import Scope

from ai_gateway.config.constants import MAX_HEADER_BYTES, MAX_HEADER_COUNT
from ai_gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest, NotImplementedHere

_CLOSE = {"connection": "close"}
_TOO_LARGE = HeadersTooLarge(
    f"The request's headers are too large: send at most {MAX_HEADER_COUNT} headers and {MAX_HEADER_BYTES} bytes.",
    headers=_CLOSE,
)
_VERSIONS = {"1.1", "1.0", "2", "3"}  # 2 and 3 are reported by other servers
_NO_VERSION = InvalidRequest("This is not a valid HTTP request: use HTTP/1.1.", headers=_CLOSE)
_NO_HOST = InvalidRequest("This is not a valid HTTP request: send one Host header.", headers=_CLOSE)
_NO_END = InvalidRequest(
    "This is not a valid HTTP request: its Transfer-Encoding does not say where it ends. Send a Content-Length.",
    headers=_CLOSE,
)
_CODED = NotImplementedHere(
    "The gateway decodes no Transfer-Encoding but chunked: send the body as it is, in chunks or with a Content-Length.",
    headers=_CLOSE,
)


def refusal(scope: Scope, fields: Mapping[str, str]) -> GatewayError | None:
    """The error for an invalid head, if any: servers such as uvicorn accept heads of any size, without a Host.

    `fields` are its headers. Our own server gives an upper bound of the head's size in `head_size`.
    """
    headers, version = scope["headers"], scope["http_version"]
    if len(headers) > MAX_HEADER_COUNT or (
        scope.get("head_size", math.inf) > MAX_HEADER_BYTES and _size(scope) > MAX_HEADER_BYTES
    ):
        return _TOO_LARGE
    if version not in _VERSIONS:
        return _NO_VERSION
    if "host" not in fields:  # RFC 9112, section 3.2
        return _NO_HOST if version == "1.1" else None
    if len(fields) != len(headers) and [name for name, _ in headers].count(b"host") > 1:
        return _NO_HOST
    return _refused_coding(scope) if "transfer-encoding" in fields else None


def _refused_coding(scope: Scope) -> GatewayError | None:
    """RFC 9112, section 6.1: in HTTP/1.0 the field has no meaning, and what we cannot decode is 501.

    The parser of our own server reads the chunks whatever other coding the field names.
    """
    values = b",".join([value for name, value in scope["headers"] if name == b"transfer-encoding"])
    codings = [coding for part in values.lower().split(b",") if (coding := part.strip())]
    if codings == [b"chunked"] and scope["http_version"] != "1.0":
        return None
    ends = scope["http_version"] != "1.0" and codings.count(b"chunked") == 1 and codings[-1] == b"chunked"
    return _CODED if ends else _NO_END


def _size(scope: Scope) -> int:
    size = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
    return size + sum(map(len, chain.from_iterable(scope["headers"])))
