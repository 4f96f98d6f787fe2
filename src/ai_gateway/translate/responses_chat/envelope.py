"""What a provider wants back unread, sealed: `encrypted_content` of reasoning, and of compactions.

`gw1.<provider>.<payload>.<mac>`: the hub's carriers as compressed JSON, bound to the provider that made them, whose
signatures are good there alone, and to the caller's project. It is a seal and no secret: a client has seen all of it.
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
"""How all of it begins."""

_MOST_BYTES = 8 * 1024 * 1024  # of a payload, unpacked


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals for one caller. `key` has the key for each provider, `owner` is the project that may have it read again."""

    key: Callable[[str], bytes]
    owner: str

    def seal(self, provider: str, payload: dict[str, JsonValue]) -> str:
        """The payload of a provider as an opaque text."""
        packed = _text(zlib.compress(to_json(payload, inf_nan_mode="null"), 6))
        head = f"{_VERSION}.{_text(provider.encode())}.{packed}"
        return f"{head}.{self._mac(provider, head)}"

    def open(self, sealed: str | None) -> tuple[str, dict[str, JsonValue]] | None:
        """The provider and its payload; None for what was not sealed here, or for somebody else."""
        head, _, mac = (sealed or "").rpartition(".")
        version, _, rest = head.partition(".")
        name, _, packed = rest.partition(".")
        if version != _VERSION or not mac.isascii() or (provider := _name(name)) is None:
            return None
        if not hmac.compare_digest(self._mac(provider, head), mac):
            return None
        try:
            payload = from_json(zlib.decompressobj().decompress(_bytes(packed), _MOST_BYTES))
        except ValueError:  # more than is unpacked
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
