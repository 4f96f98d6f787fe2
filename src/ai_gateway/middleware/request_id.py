"""Ids of requests: the caller's own if it is harmless, or an unguessable one."""

import os
import re
import time

from ai_gateway.redaction import redact

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Asking the kernel for 10 bytes costs as much as for all of these.
_POOL_BYTES = 2560
_RANDOM_BYTES = 10
# What marks a UUID as random: its 7th byte begins with its version, and its 9th with two bits for its variant.
_MARKED = {
    0: bytes(0x40 | byte & 0x0F for byte in range(256)),
    2: bytes(0x80 | byte & 0x3F for byte in range(256)),
}
_pool: list[bytes] = []

os.register_at_fork(after_in_child=_pool.clear)  # or two workers would give out the same ids


def new_request_id() -> bytes:
    """An unguessable id that is given out once: in the form of a random UUID (RFC 9562, version 4).

    Those that are made at once begin with the time, in 65,536ths of a second: an index of a million records then
    grows at its end, and not all over. 74 bits of each are random.
    """
    if not _pool:
        beginning = b"req_%012x" % int(time.time() * 0x1_0000)
        random = bytearray(os.urandom(_POOL_BYTES))
        for place, marked in _MARKED.items():
            random[place::_RANDOM_BYTES] = random[place::_RANDOM_BYTES].translate(marked)
        text, digits = random.hex().encode(), 2 * _RANDOM_BYTES
        _pool.extend([beginning + text[at : at + digits] for at in range(0, len(text), digits)])
    return _pool.pop()


def accepted(request_id: str | None) -> bytes | None:
    """The caller's id if it may come back in a header and stand in the log."""
    if request_id is None or not _ACCEPTED.fullmatch(request_id):
        return None
    return request_id.encode() if redact(request_id) == request_id else None
