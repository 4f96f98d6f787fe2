"""What the gateway's own keys look like, so that people, scanners of secrets and the gateway itself know one.

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
_LEAST_SHOWN = 20  # of which seven characters are shown
_SHAPE = re.compile(rf"(sk-gw-(?:admin-)?[0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})")


def new_key(kind: Literal["caller", "administrator"] = "caller") -> str:
    """A new key. It is shown once; `digest` of it is what is kept."""
    body = _PREFIXES[kind] + _base62(secrets.randbits(_BITS), _SECRET)
    return body + _checksum(body)


def digest(key: str) -> str:
    """SHA-256 in hex. Slow hashes are for what people choose: of 256 random bits nobody can try a part."""
    return sha256(key.encode()).hexdigest()


def redacted(key: str) -> str:
    """What of a key may be shown: enough to tell it from others, too little to help anybody guess it.

    Of a short one that is nothing.
    """
    if len(key) < _LEAST_SHOWN:
        return "..."
    prefix = next((prefix for prefix in reversed(_PREFIXES.values()) if key.startswith(prefix)), key[:3])
    return f"{prefix}...{key[-4:]}"


def redacted_digest(digest: str) -> str:
    """The same of a key of which nothing but the digest is known."""
    return f"sha256:{digest[:8]}..."


def is_well_formed(key: str) -> bool:
    """Whether it is a key that this gateway, or another of its kind, has made: the checksum fits."""
    match = _SHAPE.fullmatch(key)
    return match is not None and _checksum(match[1]) == match[2]


def is_mistyped(key: str) -> bool:
    """Whether it has the form of such a key, but not its checksum: somebody has not copied it as it was."""
    return _SHAPE.fullmatch(key) is not None and not is_well_formed(key)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
