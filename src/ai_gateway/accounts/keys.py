"""Who may call: the keys a caller can present, compared in constant time."""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256

from ai_gateway.errors import InvalidApiKey, InvalidRequest, MissingApiKey

_BARE_HEADERS = ("x-api-key", "api-key")
_HOW = "Send the header Authorization: Bearer <key>."


class KeyRing:
    """The gateway's keys, held as digests only."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def holds(self, key: str) -> bool:
        """Whether the key is one of ours; takes as long for a near miss as for nonsense."""
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found

    def require(self, headers: Mapping[str, str]) -> None:
        """Raise MissingApiKey, InvalidApiKey, or InvalidRequest for two keys that differ."""
        key = presented(headers)
        if key is None:
            raise MissingApiKey(f"No API key was sent. {_HOW}")
        if not self.holds(key):
            raise InvalidApiKey(f"The API key is not valid. {_HOW}")


def presented(headers: Mapping[str, str]) -> str | None:
    """The key in the request's headers, wherever a client may put it; empty for a malformed one."""
    keys = [headers[name].strip() for name in _BARE_HEADERS if headers.get(name)]
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            keys.append(token.strip())
        elif not keys:  # beside a key of ours, another scheme is for a proxy on the way
            keys.append("")
    if len(set(keys)) > 1:
        raise InvalidRequest("Two different API keys were sent: send one.")
    return keys[0] if keys else None
