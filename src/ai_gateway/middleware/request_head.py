"""What is decided by a request's head alone: its id, the page it comes from, and whether it can be served at all."""

from itertools import chain
from typing import NamedTuple

from starlette.types import Scope

from ai_gateway.config.constants import MAX_HEADER_BYTES, MAX_HEADER_COUNT
from ai_gateway.contract.trace_context import read_trace_id
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
    trace_id: str | None = None


def read_head(scope: Scope) -> RequestHead:
    """One pass over the headers."""
    headers = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
    size += sum(map(len, chain.from_iterable(headers)))
    hosts = 0
    request_id = origin = trace_id = None
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"origin":
            origin = value
        elif name == b"x-request-id" and request_id is None:
            request_id = value
        elif name == b"traceparent":
            trace_id = read_trace_id(value.decode("latin-1"))
    refusal = _refusal(scope["http_version"], len(headers), size, hosts)
    return RequestHead(accepted(request_id) or new_request_id(), origin, refusal, trace_id)


def _refusal(version: str, count: int, size: int, hosts: int) -> GatewayError | None:
    if count > MAX_HEADER_COUNT or size > MAX_HEADER_BYTES:
        return _TOO_LARGE
    if version not in _VERSIONS:
        return _NO_VERSION
    if hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112, section 3.2
        return _NO_HOST
    return None
