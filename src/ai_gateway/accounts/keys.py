"""Who calls: the keys a caller can present, compared in constant time."""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256

from ai_gateway.contract.call import Caller
from ai_gateway.errors import InvalidApiKey, InvalidRequest, MissingApiKey
from ai_gateway.redaction import remember

_BARE_HEADERS = ("x-api-key", "api-key")
_HOW = "Send the header Authorization: Bearer <key>."


class KeyRing:
    """The gateway's keys: compared as digests, and struck out of whatever leaves."""

    def __init__(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        remember(*keys, beginnings=True)
        self._callers = {sha256(key.encode()).digest(): Caller(_key_id(key), "key", trusted=True) for key in keys}

    def __bool__(self) -> bool:
        return bool(self._callers)

    def find(self, key: str) -> Caller | None:
        """Whose key it is; takes as long for a near miss as for nonsense."""
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        caller = None
        for known, owner in self._callers.items():
            if hmac.compare_digest(known, digest):
                caller = owner
        return caller

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """Who calls. Raises MissingApiKey, InvalidApiKey, or InvalidRequest for two keys that differ."""
        key = presented(headers)
        if key is None:
            raise MissingApiKey(f"No API key was sent. {_HOW}")
        caller = self.find(key)
        if caller is None:
            raise InvalidApiKey(f"The API key is not valid. {_HOW}")
        return caller


def _key_id(key: str) -> str:
    """A name for the key in records, from which the key cannot be told."""
    return "key_" + sha256(b"id:" + key.encode()).hexdigest()[:12]


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
