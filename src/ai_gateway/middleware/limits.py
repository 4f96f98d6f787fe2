"""Requests whose head cannot be served are refused before anything looks at the rest."""

from starlette.types import ASGIApp, Receive, Scope, Send

from ai_gateway.config.constants import MAX_HEADER_BYTES, MAX_HEADER_COUNT
from ai_gateway.contract.wire import PathOwners
from ai_gateway.contract.write import send_error
from ai_gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest

_CLOSE = {"connection": "close"}
_TOO_LARGE = HeadersTooLarge(
    f"The request's headers are too large: send at most {MAX_HEADER_COUNT} headers and {MAX_HEADER_BYTES} bytes.",
    headers=_CLOSE,
)
_NO_VERSION = InvalidRequest("This is not a valid HTTP request: use HTTP/1.1.", headers=_CLOSE)
_NO_HOST = InvalidRequest("This is not a valid HTTP request: send one Host header.", headers=_CLOSE)


class HeadLimitsMiddleware:
    """Answers 431 and 400; servers such as uvicorn take heads of any size, and without a Host."""

    def __init__(self, app: ASGIApp, owners: PathOwners) -> None:
        self.app = app
        self.owners = owners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await send_error(send, refusal, self.owners.render(scope["path"], refusal), refusal.headers)


def _refusal(scope: Scope) -> GatewayError | None:
    headers = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
    hosts = 0
    for name, value in headers:
        size += len(name) + len(value)
        hosts += name == b"host"
    if len(headers) > MAX_HEADER_COUNT or size > MAX_HEADER_BYTES:
        return _TOO_LARGE
    version = scope["http_version"]
    if version == "0.9":
        return _NO_VERSION
    return _NO_HOST if hosts > 1 or (hosts == 0 and version == "1.1") else None
