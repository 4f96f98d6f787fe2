"""Whether a page of another origin may call the gateway from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

import re
from collections.abc import Collection, Iterable, Mapping

type Fields = list[tuple[bytes, bytes]]

_METHODS = b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_MAX_AGE_S = b"600"
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]+")
_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"
# What a page may read of a reply beside what browsers show by themselves: on every one, and where there are any.
_ALWAYS = {b"x-request-id", b"openai-processing-ms", b"openai-version"}
_SHOWN = re.compile(
    rb"x-(?:gateway-.+|ratelimit-.+|should-retry)|retry-after(?:-ms)?|request-id|(?:openai|anthropic)-.+"
)


class Cors:
    """The origins that may call, `*` for any; with none of them named, CORS is off.

    Credentials are never allowed: a key is something that the page's own code sends, and no cookie is. An origin that
    is not allowed meets the gateway as if this were not here, and its browser does the rest.
    """

    def __init__(self, origins: Collection[str] = ()) -> None:
        self._origins = {origin.encode() for origin in origins}
        self._any = b"*" in self._origins

    @property
    def is_on(self) -> bool:
        """Whether any origin may call."""
        return bool(self._origins)

    def allows(self, origin: bytes | None) -> bool:
        """Whether pages of this origin may call; None is a request that comes from no page."""
        return origin is not None and (self._any or origin in self._origins)

    def preflight(self, method: str, origin: bytes | None, headers: Iterable[tuple[bytes, bytes]]) -> Fields | None:
        """The answer to a preflight, which carries no key; None if the request is none, or may not call.

        Any method and any header: the page could send them by other means, and each is judged when it comes.
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

    def marks(self, origin: bytes | None, headers: Fields) -> Fields:
        """What a reply with these headers gets: whether the page may read it, and what of it.

        Where the reply depends on the origin, caches have to know, whether there was one or not.
        """
        if not self._origins:
            return []
        varied = [] if self._any else [(b"vary", b"Origin")]
        if origin is None or not self.allows(origin):
            return varied
        shown = b", ".join(sorted(_ALWAYS | {name for name, _ in headers if _SHOWN.fullmatch(name)}))
        return [self._grant(origin), (b"access-control-expose-headers", shown), *varied]

    def _grant(self, origin: bytes) -> tuple[bytes, bytes]:
        return (b"access-control-allow-origin", b"*" if self._any else origin)
