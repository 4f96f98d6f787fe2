"""JSON that every parser reads the same: what two could read differently is refused."""

import re
from math import isinf

from pydantic_core import from_json

# A number overflows into infinity by its exponent or by its digits. Both are rare, and looking for them with a regular
# expression alone costs more than parsing; every digit made a 0, plain searches settle it for nearly all texts.
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE_EXPONENT = re.compile(rb"[0-9][eE]\+?0*[1-9][0-9]{2}")
# An exponent of two digits overflows with over 208 digits before it; one of three is found by itself.
_HUGE_DIGITS = b"0" * 200


def read_json(raw: bytes) -> object:
    """The value in `raw`. Of duplicate keys the last one counts.

    Raises ValueError, without quoting the input, for NaN and infinities (1e999 among them), lone surrogates, bad
    UTF-8, a byte order mark, over 201 levels and integers of over 4,300 digits.
    """
    value: object = from_json(raw, allow_inf_nan=False)
    if may_overflow(raw) and _holds_infinity(value):
        raise ValueError("a number is too large")
    return value


def may_overflow(raw: bytes) -> bool:
    """Whether a number in the text could be too large for a float; False is certain."""
    shape = raw.translate(_SHAPE)
    return (b"0e" in shape and _HUGE_EXPONENT.search(raw) is not None) or _HUGE_DIGITS in shape


def _holds_infinity(value: object) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float) and isinf(item):
            return True
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False
