"""Sealed data that a provider needs again: `encrypted_content` of reasoning and compactions.

`gw1.<provider>.<payload>.<mac>`: carriers as compressed JSON, bound to their provider, where alone their signatures are
valid, and to the caller's project. It is authenticated and not encrypted: the client has seen the content.
"""

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue
from pydantic_core import from_json, to_json

_VERSION = "gw1"
SEALED = f"{_VERSION}."
"""The prefix of sealed data."""

_MAX_BYTES = 8 * 1024 * 1024  # of a payload, unpacked


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals for one caller. `key` gives the key for each provider, `owner` is the caller's project."""

    key: Callable[[str], bytes]
    owner: str

    def seal(self, provider: str, payload: dict[str, JsonValue]) -> str:
        """Seal a provider's payload as an opaque string."""
        packed = _text(zlib.compress(to_json(payload, inf_nan_mode="null"), 6))
        head = f"{_VERSION}.{_text(provider.encode())}.{packed}"
        return f"{head}.{self._mac(provider, head)}"

    def open(self, sealed: str | None) -> tuple[str, dict[str, JsonValue]] | None:
        """The provider and its payload; None for data that was not sealed here for this owner."""
        head, _, mac = (sealed or "").rpartition(".")
        version, _, rest = head.partition(".")
        name, _, packed = rest.partition(".")
        if version != _VERSION or not mac.isascii() or (provider := _name(name)) is None:
            return None
        if not hmac.compare_digest(self._mac(provider, head), mac):
            return None
        try:
            payload = from_json(zlib.decompressobj().decompress(_bytes(packed), _MAX_BYTES))
        except ValueError:  # larger than `_MAX_BYTES`
            return None
        return provider, cast("dict[str, JsonValue]", payload)

    def _mac(self, provider: str, head: str) -> str:
        owner = hashlib.sha256(self.owner.encode()).digest()
        return _text(hmac.digest(self.key(provider), owner + head.encode("utf-8", "surrogatepass"), "sha256"))


def _name(coded: str) -> str | None:
    try:
        return _bytes(coded).decode()
    except ValueError:
        return None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
