"""Generates numbers and strings within the bounds of a schema."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, islice
from typing import Final

from pydantic import JsonValue

from ai_gateway.providers.custom import pattern, text
from ai_gateway.providers.custom.dice import Dice, fingerprint
from ai_gateway.providers.custom.pattern_parser import UnsupportedPattern
from ai_gateway.providers.custom.schema import Parts, limit, number_in
from ai_gateway.providers.custom.work import Work

_SPREAD = 99
_DRAWS = 3
_MAX_ROUNDS = 64
_TRIES = 12


def scalar(kind: str, parts: Parts, dice: Dice, work: Work) -> JsonValue:
    """A value of this type; a string for an unknown type."""
    match kind:
        case "null":
            return None
        case "boolean":
            return dice.below(2) == 1
        case "integer":
            return integer(parts, dice)
        case "number":
            return number(parts, dice)
        case _:
            return string(parts, dice, work)


def integer(parts: Parts, dice: Dice) -> JsonValue:
    """An integer within the bounds, or close to them if they contradict."""
    return int(_stepped(parts, dice, _common_multiple([*_steps(parts), Fraction(1)])))


def number(parts: Parts, dice: Dice) -> JsonValue:
    """A number within the bounds, with a fraction if allowed, so that it does not look like an integer."""
    if steps := _steps(parts):
        return _plain(_stepped(parts, dice, _common_multiple(steps)))
    low, high = _range(parts)
    if low is None:
        low = Fraction(0) if high is None else high - _SPREAD
    high = low + _SPREAD if high is None else min(high, low + _SPREAD)
    return _plain(low + (high - low) * Fraction(2 * dice.below(128) + 1, 256) if low < high else low)


def _range(parts: Parts) -> tuple[Fraction | None, Fraction | None]:
    """The bounds, including exclusive ones."""
    lows = [limit(parts, keyword) for keyword in ("minimum", "exclusiveMinimum")]
    highs = [limit(parts, keyword, min) for keyword in ("maximum", "exclusiveMaximum")]
    low = max((low for low in lows if low is not None), default=None)
    high = min((high for high in highs if high is not None), default=None)
    # Bounds that only state the range of a machine integer: choose an ordinary number.
    if low is not None and low < -_WIDE and (high is None or high >= _WIDE):
        low = Fraction(0)
    return low, high


_WIDE = 2**15
_MAX_STEP = 10**100
"""Multiples of larger numbers are longer than JSON parsers accept."""


def _steps(parts: Parts) -> list[Fraction]:
    steps = (number_in(part, "multipleOf") for part in parts)
    return [step for step in steps if step is not None and 0 < step < _MAX_STEP]


def _common_multiple(steps: list[Fraction]) -> Fraction:
    denominator = math.lcm(*(step.denominator for step in steps))
    return Fraction(math.lcm(*(int(step * denominator) for step in steps)), denominator)


def _stepped(parts: Parts, dice: Dice, step: Fraction) -> Fraction:
    """A multiple of the step; an exclusive bound itself is excluded."""
    low, high = _range(parts)
    least = None if low is None else math.ceil(low / step)
    most = None if high is None else math.floor(high / step)
    if least is not None and least * step == limit(parts, "exclusiveMinimum"):
        least += 1
    if most is not None and most * step == limit(parts, "exclusiveMaximum", min):
        most -= 1
    if least is None:
        least = 1 if most is None or most >= 1 else most - _SPREAD
    most = least + _SPREAD if most is None else min(most, least + _SPREAD)
    return (least + dice.below(most - least + 1)) * step


def _plain(value: Fraction) -> JsonValue:
    if value.denominator == 1:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return int(value)


def string(parts: Parts, dice: Dice, work: Work) -> str:
    """A string of valid length: for the patterns, in the format, or of plain words."""
    longest = limit(parts, "maxLength", min)
    low = _length(limit(parts, "minLength") or Fraction(0))
    high = pattern.LONGEST if longest is None else _length(longest)
    candidates = chain(_patterned(parts, dice, low, work), _formatted(parts, dice))
    fitting = islice((written for written in candidates if low <= len(written) <= high), _TRIES)
    expressions = _expressions(parts)
    matching = (one for one in fitting if all(pattern.matches(expression, one, work) for expression in expressions))
    written = next(matching, None)
    return _words(dice, low, high) if written is None else written


def _length(wanted: Fraction) -> int:
    return int(max(min(wanted, Fraction(pattern.LONGEST)), Fraction(0)))


def _expressions(parts: Parts) -> list[str]:
    return [expression for part in parts if isinstance(expression := part.get("pattern"), str)]


def _patterned(parts: Parts, dice: Dice, low: int, work: Work) -> Iterator[str]:
    """Strings for the patterns: a few random ones, then longer ones, and padded ones for unanchored patterns."""
    rounds = [None] * _DRAWS + [*range(1, min(low, _MAX_ROUNDS) + 1), low]
    for expression in _expressions(parts):
        try:
            yield from (pattern.write(expression, dice, work, extra=extra) for extra in rounds)
            written = pattern.write(expression, dice, work)
        except UnsupportedPattern:
            continue
        padding = "x" * (low - len(written))
        yield from (written + padding, padding + written)


def _formatted(parts: Parts, dice: Dice) -> Iterator[str]:
    for part in parts:
        name = part.get("format")
        if isinstance(name, str) and name in _FORMATS:
            yield _FORMATS[name](dice)


def _words(dice: Dice, low: int, high: int) -> str:
    words = text.phrase(dice)
    while len(words) < low:
        words += " " + text.phrase(dice)
    cut = words[: max(low, min(len(words), high))].rstrip()
    return cut.ljust(low, "x")


def _date(dice: Dice) -> str:
    return f"20{dice.below(30) + 10}-{dice.below(12) + 1:02}-{dice.below(28) + 1:02}"


def _time(dice: Dice) -> str:
    return f"{dice.below(24):02}:{dice.below(60):02}:{dice.below(60):02}Z"


def _uuid(dice: Dice) -> str:
    digits = fingerprint(str(dice.below(2**62)))
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


def _ipv4(dice: Dice) -> str:
    return f"192.0.2.{dice.below(254) + 1}"  # RFC 5737: addresses for documentation


def _ipv6(dice: Dice) -> str:
    return f"2001:db8::{dice.below(0xFFFF) + 1:x}"  # RFC 3849


def _host(dice: Dice) -> str:
    return f"{dice.pick(text.WORDS)}.example.com"


def _email(dice: Dice) -> str:
    return f"{dice.pick(text.WORDS)}@example.com"


def _uri(dice: Dice) -> str:
    return f"https://example.com/{dice.pick(text.WORDS)}"


_FORMATS: Final[dict[str, Callable[[Dice], str]]] = {
    "date-time": lambda dice: f"{_date(dice)}T{_time(dice)}",
    "date": _date,
    "time": _time,
    "duration": lambda dice: f"PT{dice.below(59) + 1}M",
    "email": _email,
    "idn-email": _email,
    "hostname": _host,
    "idn-hostname": _host,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "uri": _uri,
    "uri-reference": _uri,
    "iri": _uri,
    "url": _uri,
    "uuid": _uuid,
}
