"""JSON that every parser reads the same: what two could read differently is refused."""

import re
from math import isinf

from pydantic_core import from_json

# A number can overflow into infinity by its exponent or by its digits. Neither is common, so only then is the value
# searched.
_MAY_OVERFLOW = re.compile(rb"[eE]\+?0*[1-9][0-9]{2}|[0-9]{309}")


def read_json(raw: bytes) -> object:
    """The value in `raw`. Of duplicate keys the last one counts.

    Raises ValueError, without quoting the input, for NaN and infinities (1e999 among them), lone surrogates, bad
    UTF-8, a byte order mark, over 200 levels and integers of over 4,300 digits.
    """
    value: object = from_json(raw, allow_inf_nan=False)
    if _MAY_OVERFLOW.search(raw) and _holds_infinity(value):
        raise ValueError("a number is too large")
    return value


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
