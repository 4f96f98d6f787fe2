"""The headers that every reply carries, whoever writes it: the application, or the parser that refuses a request."""

from collections.abc import Collection, Mapping

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
    """What a reply gets beside its own headers. With `security`, this includes what guards browsers."""

    def __init__(self, *, security: bool = True, origins: Collection[str] = ()) -> None:
        self.cors = Cors(origins)
        self._security = security

    def common(self, own: Mapping[bytes, bytes], request_id: bytes, spent_ms: int) -> Fields:
        """The request's id and clock, and headers for browsers where the reply has none of its `own`."""
        added = [(b"x-request-id", request_id), (b"openai-processing-ms", b"%d" % spent_ms), _VERSION]
        if self._security:
            if b"cache-control" not in own:
                added.append(_NO_STORE)
            if own.get(b"content-type", b"").startswith(b"text/html") and b"content-security-policy" not in own:
                added.append(_PAGE)
            added += _SECURITY
        return added
