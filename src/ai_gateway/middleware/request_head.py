"""What is decided by a request's head alone: its id, the page it comes from, and whether it can be served at all."""

from typing import NamedTuple

from starlette.types import Scope

from ai_gateway.config.constants import MAX_HEADER_BYTES, MAX_HEADER_COUNT
from ai_gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest
from ai_gateway.middleware.request_id import accepted, new_request_id

_CLOSE = {"connection": "close"}
_TOO_LARGE = HeadersTooLarge(
    f"The request's headers are too large: send at most {MAX_HEADER_COUNT} headers and {MAX_HEADER_BYTES} bytes.",
    headers=_CLOSE,
)
_VERSIONS = {"1.1", "1.0", "2", "3"}  # the last two are those of other servers; as a line of text nobody speaks them
_NO_VERSION = InvalidRequest("This is not a valid HTTP request: use HTTP/1.1.", headers=_CLOSE)
_NO_HOST = InvalidRequest("This is not a valid HTTP request: send one Host header.", headers=_CLOSE)


class RequestHead(NamedTuple):
    """`refusal` is why the request cannot be served: servers such as uvicorn take heads of any size, without a Host."""

    request_id: bytes
    origin: bytes | None
    refusal: GatewayError | None


def read_head(scope: Scope) -> RequestHead:
    """One pass over the headers."""
    headers = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
    hosts = 0
    request_id = origin = None
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
        elif name == b"origin":
            origin = value
        elif name == b"x-request-id" and request_id is None:
            request_id = value
    refusal: GatewayError | None = None
    version = scope["http_version"]
    if len(headers) > MAX_HEADER_COUNT or size > MAX_HEADER_BYTES:
        refusal = _TOO_LARGE
    elif version not in _VERSIONS:
        refusal = _NO_VERSION
    elif hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112, section 3.2
        refusal = _NO_HOST
    return RequestHead(accepted(request_id) or new_request_id(), origin, refusal)
