"""Strict JSON: input that two parsers could read differently is refused."""

import re
import sys
from itertools import chain
from math import inf
from typing import Any

import orjson
from pydantic_core import from_json

# A number overflows into infinity by its exponent or by its digits. Both are rare, and searching them with a regular
# expression alone costs more than parsing: with every digit replaced by 0, plain searches decide it for nearly all
# texts.
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE_EXPONENT = re.compile(rb"[0-9][eE]\+?0*[1-9][0-9]{2}")
# An exponent of two digits overflows with over 208 digits before it; one of three digits is found by itself.
_HUGE_DIGITS, _MANY_DIGITS = b"0" * 200, b"0" * 32  # searching for the longer text alone takes twice as long
# Longer JSON is mostly texts: there it is cheaper to check the parsed values than to search the text, unless there is
# more than one value in so many bytes. Visiting an array or object costs as much as so many values.
_LONG = 2 * 1024
_SPARSE = 8
_HOLDER = 8
# A reply with a comma in this many first bytes is mostly numbers, as embeddings are.
_MANY = 32


def read_json(raw: bytes) -> object:
    """The value in `raw`. Of duplicate keys the last one counts.

    Raises ValueError, without quoting the input, for NaN and infinities (1e999 among them), lone surrogates, bad
    UTF-8, a byte order mark, over 201 levels and integers of over 4,300 digits.
    """
    return read_json_counted(raw)[0]


def read_json_counted(raw: bytes) -> tuple[object, int | None]:
    """The same, and the number of values if they are few for its length; None if they are many, or the JSON is short.

    An array or object counts for as many as it costs to visit.
    """
    value: object = from_json(raw, allow_inf_nan=False)
    count = _count_finite(value, len(raw) // _SPARSE) if len(raw) > _LONG else None
    if count is None:
        _check_finite(value, raw)
    return value, count


def read_json_written(raw: bytes) -> tuple[object, bytes | None]:
    """The value in short JSON, and its compact form; None for one that orjson cannot write.

    The written form shows for most values that no number is too large, at half of the cost of searching for one.
    """
    value: object = from_json(raw, allow_inf_nan=False)
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # see `to_wire`
        written = None
    # An infinity is written as null, which few values contain otherwise.
    if written is None or written.find(b"null") >= 0:
        _check_finite(value, raw)
    return value, written


def _check_finite(value: object, raw: bytes) -> None:
    if _may_overflow(raw) and _count_finite(value, sys.maxsize) is None:
        raise ValueError("a number is too large")


def may_be_refused(raw: bytes) -> bool:
    """Whether `read_json` might refuse what others accept: too large numbers, NaN, Infinity. False is certain."""
    if len(raw) > _LONG and raw.count(b",", 0, _LONG) < _LONG // _MANY:
        try:
            read_json(raw)
        except ValueError:
            return True
        return False
    # A single letter is found far faster than a word. `in` on bytes would cost an exception: CPython first tries to
    # read the operand as a number.
    find = raw.find
    return _may_overflow(raw) or (find(b"N") >= 0 and find(b"NaN") >= 0) or (find(b"I") >= 0 and find(b"Infinity") >= 0)


def _may_overflow(raw: bytes) -> bool:
    """Whether a number in the text could be too large for a float; False is certain."""
    find = raw.translate(_SHAPE).find
    # An exponent is rare in numbers, but `e` is frequent in the hexadecimal digits of ids.
    if find(b"0e") >= 0 and (find(b"0e000") >= 0 or find(b"0e+000") >= 0) and _HUGE_EXPONENT.search(raw) is not None:
        return True
    return find(_MANY_DIGITS) >= 0 and find(_HUGE_DIGITS) >= 0


def _count_finite(value: object, most: int) -> int | None:
    """The number of values; None if counting costs more than `most` of them would, or if one is infinite.

    Values of the same depth are counted together, which is several times as fast as one by one.
    """
    values: list[Any] = [value]
    cost = 1
    while True:
        kinds = set(map(type, values))
        if float in kinds and (inf in values or -inf in values):
            return None
        if dict not in kinds and list not in kinds:
            return cost
        holders = [value for value in values if type(value) is dict or type(value) is list]
        cost += sum(map(len, holders)) + _HOLDER * len(holders)
        if cost > most:
            return None
        values = list(chain.from_iterable([each.values() if type(each) is dict else each for each in holders]))
