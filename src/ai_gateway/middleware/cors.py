"""CORS: which web pages may call the gateway (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

import re
from collections.abc import Collection, Iterable, Mapping

type Fields = list[tuple[bytes, bytes]]

_METHODS = b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_MAX_AGE_S = b"600"
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]+")
_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"
# The reply headers that pages may read besides the default ones: always exposed, and exposed if present.
_ALWAYS_EXPOSED = {b"x-request-id", b"openai-processing-ms", b"openai-version"}
_EXPOSED_IF_PRESENT = re.compile(
    rb"x-(?:gateway-.+|ratelimit-.+|should-retry)|retry-after(?:-ms)?|request-id|(?:openai|anthropic)-.+"
)


class Cors:
    """The allowed origins, `*` for any; without any, CORS is off.

    Credentials are never allowed: keys are sent by the page's own code, and there are no cookies. Requests of other
    origins are served without CORS headers, so that the browser blocks the page from reading the reply.
    """

    def __init__(self, origins: Collection[str] = ()) -> None:
        self._origins = {origin.encode() for origin in origins}
        self._any = b"*" in self._origins

    @property
    def is_on(self) -> bool:
        """Whether any origin is allowed."""
        return bool(self._origins)

    def allows(self, origin: bytes | None) -> bool:
        """Whether pages of this origin may call; None is a request without an origin."""
        return origin is not None and (self._any or origin in self._origins)

    def preflight(self, method: str, origin: bytes | None, headers: Iterable[tuple[bytes, bytes]]) -> Fields | None:
        """The reply to a preflight, which carries no key; None for another request, or an origin that is not allowed.

        All methods and headers are allowed: each request is authorised when it arrives.
        """
        if method != "OPTIONS" or origin is None or not self.allows(origin):
            return None
        fields: Mapping[bytes, bytes] = dict(headers)
        if _METHOD not in fields:
            return None
        requested = fields.get(_HEADERS, b"")
        return [
            self._grant(origin),
            (b"access-control-allow-methods", _METHODS),
            *([(b"access-control-allow-headers", requested)] if _NAMES.fullmatch(requested) else []),
            (b"access-control-max-age", _MAX_AGE_S),
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
            (b"content-length", b"0"),
        ]

    def headers_for(self, origin: bytes | None, headers: Fields) -> Fields:
        """The CORS headers for a reply with these headers.

        `Vary` is set if the reply depends on the origin, also without one, so that caches distinguish them.
        """
        if not self._origins:
            return []
        varied = [] if self._any else [(b"vary", b"Origin")]
        if origin is None or not self.allows(origin):
            return varied
        exposed = b", ".join(
            sorted(_ALWAYS_EXPOSED | {name for name, _ in headers if _EXPOSED_IF_PRESENT.fullmatch(name)})
        )
        return [self._grant(origin), (b"access-control-expose-headers", exposed), *varied]

    def _grant(self, origin: bytes) -> tuple[bytes, bytes]:
        return (b"access-control-allow-origin", b"*" if self._any else origin)
