"""The format of the gateway's keys, recognisable for people and secret scanners.

`sk-gw-` or, for administrators, `sk-gw-admin-`, then 256 random bits and a checksum, all in base 62: 43 and 6 digits.
"""

import re
import secrets
import zlib
from hashlib import sha256
from typing import Literal

_PREFIXES = {"caller": "sk-gw-", "administrator": "sk-gw-admin-"}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BITS = 256
_SECRET, _CHECKSUM = 43, 6
_LEAST_SHOWN = 20  # characters of a key of which seven may be shown
_SHAPE = re.compile(rf"(sk-gw-(?:admin-)?[0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})")


def new_key(kind: Literal["caller", "administrator"] = "caller") -> str:
    """A new key, to be shown once; its `digest` is stored."""
    body = _PREFIXES[kind] + _base62(secrets.randbits(_BITS), _SECRET)
    return body + _checksum(body)


def digest(key: str) -> str:
    """SHA-256 in hex. Slow hashes are for passwords: 256 random bits cannot be guessed."""
    return sha256(key.encode()).hexdigest()


def redacted(key: str) -> str:
    """The part of a key that may be shown: enough to recognise it, too little to guess the rest.

    Nothing of a short key is shown.
    """
    if len(key) < _LEAST_SHOWN:
        return "..."
    prefix = next((prefix for prefix in reversed(_PREFIXES.values()) if key.startswith(prefix)), key[:3])
    return f"{prefix}...{key[-4:]}"


def redacted_digest(digest: str) -> str:
    """The same for a key of which only the digest is known."""
    return f"sha256:{digest[:8]}..."


def is_well_formed(key: str) -> bool:
    """Whether it has the format and checksum of a key of this or another gateway."""
    match = _SHAPE.fullmatch(key)
    return match is not None and _checksum(match[1]) == match[2]


def is_mistyped(key: str) -> bool:
    """Whether it has the format of such a key and a wrong checksum, as after a copying mistake."""
    return _SHAPE.fullmatch(key) is not None and not is_well_formed(key)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
