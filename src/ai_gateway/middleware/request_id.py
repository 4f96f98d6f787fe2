"""Ids of requests: the caller's own if it is harmless, or one that nobody can guess."""

import os
import re

from ai_gateway.redaction import strike

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# Asking the kernel for 16 bytes costs as much as for all of these.
_POOL_BYTES = 4096
_ID_BYTES = 16
_pool: list[bytes] = []

os.register_at_fork(after_in_child=_pool.clear)  # or two workers would give out the same ids


def new_request_id() -> bytes:
    """An id that nobody can guess, and that is given out once: the digits of a random UUID (RFC 9562, section 5.4)."""
    if not _pool:
        random = os.urandom(_POOL_BYTES).hex().encode()
        digits = 2 * _ID_BYTES
        _pool.extend([_as_uuid(random[at : at + digits]) for at in range(0, len(random), digits)])
    return _pool.pop()


def _as_uuid(digits: bytes) -> bytes:
    return b"req_%b4%b%c%b" % (digits[:12], digits[13:16], b"89ab"[digits[16] % 4], digits[17:])


def accepted(request_id: bytes | None) -> bytes | None:
    """The caller's id if it may come back in a header and stand in the log."""
    if request_id is None or not _ACCEPTED.fullmatch(request_id):
        return None
    text = request_id.decode()
    return request_id if strike(text) == text else None
