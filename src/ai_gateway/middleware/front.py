"""The one layer in front of every operation: id, clock, bounds, CORS, common headers, and a record at the end.

One layer and not one for each of these: a layer costs a call for each request and another for each event of a stream.
"""

import logging
import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.contract.wire import PathOwners
from ai_gateway.contract.write import send_error
from ai_gateway.middleware.reply_headers import ReplyHeaders
from ai_gateway.middleware.request_head import read_head
from ai_gateway.observability.logging import write_record

_logger = logging.getLogger("ai_gateway.access")


class Front:
    """Puts the request's id into `scope["request_id"]`, refuses heads that cannot be served, answers preflights."""

    def __init__(self, app: ASGIApp, owners: PathOwners, headers: ReplyHeaders) -> None:
        self.app = app
        self._owners = owners
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        head = read_head(scope)
        scope["request_id"] = head.request_id.decode()
        status: int | None = None
        provider: bytes | None = None

        def complete(message: Message) -> Awaitable[None]:
            nonlocal status, provider
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                fields = dict(headers)
                provider = fields.get(b"x-gateway-provider")
                headers += self._headers.cors.marks(head.origin, headers)
                spent_ms = int((time.perf_counter() - started) * 1000)
                message["headers"] = headers + self._headers.common(fields, head.request_id, spent_ms)
            return send(message)

        try:
            preflight = self._headers.cors.preflight(scope["method"], head.origin, scope["headers"])
            if preflight is not None:
                status = 200
                headers = [*preflight, *self._headers.common(dict(preflight), head.request_id, 0)]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body"})
            elif head.refusal is not None:
                body = self._owners.render(scope["path"], head.refusal)
                await send_error(complete, head.refusal, body, head.refusal.headers)
            else:
                await self.app(scope, receive, complete)
        finally:
            if _logger.isEnabledFor(logging.INFO):
                self._record(scope, time.perf_counter() - started, status, provider)

    def _record(self, scope: Scope, spent_s: float, status: int | None, provider: bytes | None) -> None:
        """Method, path, status, provider and duration; bodies and headers never."""
        record = {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            "duration_ms": round(spent_s * 1000, 2),
        }
        if status is not None:
            record["status_code"] = status
        if provider is not None:
            record["provider"] = provider.decode("latin-1")
        write_record("request", record)
