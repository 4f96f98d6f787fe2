"""Requests whose headers are too many or too long are refused before anything looks at them."""

from starlette.types import ASGIApp, Receive, Scope, Send

from ai_gateway.config.constants import MAX_HEADER_BYTES, MAX_HEADER_COUNT
from ai_gateway.contract.render import openai_envelope
from ai_gateway.contract.write import send_error
from ai_gateway.errors import HeadersTooLarge

_REFUSAL = HeadersTooLarge(
    f"The request's headers are too large: send at most {MAX_HEADER_COUNT} headers and {MAX_HEADER_BYTES} bytes.",
    headers={"connection": "close"},
)


class HeaderLimitsMiddleware:
    """Answers 431; servers such as uvicorn take headers of any size."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _acceptable(scope):
            await self.app(scope, receive, send)
            return
        await send_error(send, _REFUSAL, openai_envelope(_REFUSAL), _REFUSAL.headers)


def _acceptable(scope: Scope) -> bool:
    headers = scope["headers"]
    size = len(scope.get("raw_path", b"")) + len(scope.get("query_string", b""))
    return len(headers) <= MAX_HEADER_COUNT and size + sum(len(n) + len(v) for n, v in headers) <= MAX_HEADER_BYTES
