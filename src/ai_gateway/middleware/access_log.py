"""One log record a request, after its last byte."""

import logging
import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.observability.logging import write_record

_logger = logging.getLogger("ai_gateway.access")


class AccessLogMiddleware:
    """Writes method, path, status, provider and duration; bodies and headers never."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _logger.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        seen: dict[str, object] = {}

        def noted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                seen["status_code"] = message["status"]
                for name, value in message.get("headers", ()):
                    if name == b"x-gateway-provider":
                        seen["provider"] = value.decode("latin-1")
            return send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            write_record(
                "request",
                request_id=scope.get("request_id"),
                method=scope["method"],
                path=scope["path"],
                duration_ms=round((time.perf_counter() - started) * 1000, 2),
                **seen,
            )
