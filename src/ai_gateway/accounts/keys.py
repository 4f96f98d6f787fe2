"""Who calls: the keys a caller can present, compared in constant time."""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256

from ai_gateway.contract.call import Caller
from ai_gateway.errors import InvalidApiKey, InvalidRequest, MissingApiKey
from ai_gateway.redaction import remember

_BARE_HEADERS = frozenset({"x-api-key", "api-key"})
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
        digests = [sha256(key.encode("utf-8", "surrogateescape")).digest()]
        if not key.isascii():  # a header is bytes, which come here as Latin-1: the client may have written UTF-8
            digests.append(sha256(key.encode("latin-1", "replace")).digest())
        caller = None
        for known, owner in self._callers.items():
            for digest in digests:
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
            # Clients such as LiteLLM's tell a wrong key from other refusals by OpenAI's own words.
            raise InvalidApiKey(f"Incorrect API key provided: it is none of this gateway's. {_HOW}")
        return caller


def _key_id(key: str) -> str:
    """A name for the key in records, from which the key cannot be told."""
    return "key_" + sha256(b"id:" + key.encode()).hexdigest()[:12]


def presented(headers: Mapping[str, str]) -> str | None:
    """The key in the request's headers, wherever a client may put it; empty for a malformed one."""
    usual = headers.get("authorization", "")
    if usual.startswith("Bearer ") and _BARE_HEADERS.isdisjoint(headers):
        return usual[7:].strip()
    keys = [key for name in _BARE_HEADERS if (key := headers.get(name, "").strip())]
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            # An empty one is what clients send that have no key for it, such as those with the key in `api-key`.
            keys += [token.strip()] if token.strip() or not keys else []
        elif not keys:  # beside a key of ours, another scheme is for a proxy on the way
            keys.append("")
    if len(set(keys)) > 1:
        raise InvalidRequest("Two different API keys were sent: send one.")
    return keys[0] if keys else None
