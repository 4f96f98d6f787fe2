"""The headers that every reply carries, whoever writes it: the application, or the parser that refuses a request."""

from collections.abc import Collection

from ai_gateway.config.constants import OPENAI_VERSION
from ai_gateway.middleware.cors import Cors, Fields

_VERSION = (b"openai-version", OPENAI_VERSION.encode())
_NO_STORE = (b"cache-control", b"no-store")
# Keep browsers from doing more with a reply than its caller asked for.
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
# For pages that bring no policy of their own.
_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")


class ReplyHeaders:
    """Adds them to a reply's own: CORS, the request's id and clock, and with `security` what guards browsers."""

    def __init__(self, *, security: bool = True, origins: Collection[str] = ()) -> None:
        self.cors = Cors(origins)
        self._security = security

    def complete(self, headers: Fields, request_id: bytes, spent_ms: int, origin: bytes | None = None) -> Fields:
        """All headers of a reply to a request from this origin."""
        if self.cors:
            headers = [*headers, *self.cors.marks(origin, headers)]
        return self.common(headers, request_id, spent_ms)

    def common(self, headers: Fields, request_id: bytes, spent_ms: int) -> Fields:
        """The same without CORS. What a reply says of its own about caches, and a page about its policy, stays."""
        added = [(b"x-request-id", request_id), (b"openai-processing-ms", b"%d" % spent_ms), _VERSION]
        if self._security:
            own = dict(headers)
            if b"cache-control" not in own:
                added.append(_NO_STORE)
            if own.get(b"content-type", b"").startswith(b"text/html") and b"content-security-policy" not in own:
                added.append(_PAGE)
            added += _SECURITY
        return headers + added
