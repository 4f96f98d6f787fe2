"""Every request has an id and a clock; every reply says both."""

import re
import time
from collections.abc import Awaitable
from secrets import token_hex

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.config.constants import OPENAI_VERSION

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_VERSION_HEADER = (b"openai-version", OPENAI_VERSION.encode())


class RequestIdMiddleware:
    """Keeps a valid `X-Request-ID` of the caller or makes one, and puts it into `scope["request_id"]`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _given(scope) or new_request_id()
        scope["request_id"] = request_id.decode()

        def tagged(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                spent = int((time.perf_counter() - started) * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id),
                    (b"openai-processing-ms", b"%d" % spent),
                    _VERSION_HEADER,
                ]
            return send(message)

        await self.app(scope, receive, tagged)


def new_request_id() -> bytes:
    """An id that nobody can guess."""
    return b"req_" + token_hex(16).encode()


def _given(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value if _ACCEPTED.fullmatch(value) else None
    return None
