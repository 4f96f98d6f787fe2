"""Whether a page of another origin may call the gateway from a browser."""

import re
from collections.abc import Awaitable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_MAX_AGE_S = b"600"
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]+")
_ORIGIN, _METHOD, _HEADERS = b"origin", b"access-control-request-method", b"access-control-request-headers"
# What a page may read of a reply beside what browsers show by themselves: on every one, and where there are any.
_ALWAYS = {b"x-request-id", b"openai-processing-ms", b"openai-version"}
_SHOWN = re.compile(rb"x-(?:gateway-.+|ratelimit-.+|should-retry)|retry-after(?:-ms)?|openai-.+")

type Fields = list[tuple[bytes, bytes]]


class CorsMiddleware:
    """Answers preflights, which carry no key, and marks the replies that a page may read.

    Credentials are never allowed: a key is something that the page's own code sends, and no cookie is. An origin that
    is not allowed meets the gateway as if this were not here, and its browser does the rest.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        self._origins = {origin.encode() for origin in origins}
        self._any = b"*" in self._origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fields = dict(scope["headers"])
        grant = self._grant(fields.get(_ORIGIN))
        if scope["method"] == "OPTIONS" and grant and _METHOD in fields:
            await send({"type": "http.response.start", "status": 200, "headers": [*grant, *_preflight(fields)]})
            await send({"type": "http.response.body"})
            return

        def marked(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                shown = b", ".join(sorted(_ALWAYS | {name for name, _ in headers if _SHOWN.fullmatch(name)}))
                expose = [(b"access-control-expose-headers", shown)] if grant else []
                message["headers"] = [*headers, *grant, *expose, *self._varied()]
            return send(message)

        await self.app(scope, receive, marked)

    def _grant(self, origin: bytes | None) -> Fields:
        if origin is None:
            return []
        if self._any:
            return [(b"access-control-allow-origin", b"*")]
        return [(b"access-control-allow-origin", origin)] if origin in self._origins else []

    def _varied(self) -> Fields:
        """Where the reply depends on the origin, caches have to know, whether there was one or not."""
        return [] if self._any else [(b"vary", b"Origin")]


def _preflight(fields: dict[bytes, bytes]) -> Fields:
    """Any method and any header: the page could send them by other means, and each is judged when it comes."""
    asked = fields.get(_HEADERS, b"")
    allowed = [(b"access-control-allow-headers", asked)] if _NAMES.fullmatch(asked) else []
    return [
        (b"access-control-allow-methods", _METHODS),
        *allowed,
        (b"access-control-max-age", _MAX_AGE_S),
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"content-length", b"0"),
    ]
