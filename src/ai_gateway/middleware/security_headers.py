"""Headers that keep browsers from doing more with a reply than its caller asked for."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
_NO_STORE = (b"cache-control", b"no-store")
# For what is refused before there is a request that this middleware could see.
REFUSAL_LINES = b"".join(b"%s: %s\r\n" % field for field in [_NO_STORE, *HEADERS])
# For pages that say nothing of their own.
_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")


class SecurityHeadersMiddleware:
    """Adds them to every reply; `Cache-Control` and a page's own policy stay as they are where they are set."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        def guarded(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_missing(message), *HEADERS]
            return send(message)

        await self.app(scope, receive, guarded)


def _missing(message: Message) -> list[tuple[bytes, bytes]]:
    fields = dict(message.get("headers", ()))
    missing = [] if b"cache-control" in fields else [_NO_STORE]
    if fields.get(b"content-type", b"").startswith(b"text/html") and b"content-security-policy" not in fields:
        missing.append(_PAGE)
    return missing
