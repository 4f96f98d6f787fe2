"""Parses regular expressions: JSON Schema's dialect (ECMA-262) and common extensions."""

from dataclasses import dataclass

type Node = Chars | Row | Either | Many | Edge | Look


@dataclass(frozen=True, slots=True)
class Chars:
    """One character in these ranges of code points, or outside of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def has(self, letter: str) -> bool:
        return any(low <= ord(letter) <= high for low, high in self.ranges) is not self.negated


@dataclass(frozen=True, slots=True)
class Row:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Many:
    item: Node
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """An anchor: `^`, `$`, `b` (a word boundary) or `B` (none)."""

    kind: str


@dataclass(frozen=True, slots=True)
class Look:
    item: Node
    negated: bool


class UnsupportedPattern(ValueError):
    """The pattern is invalid or not supported."""


_DIGITS = ((48, 57),)
_WORD = ((97, 122), (48, 57), (65, 90), (95, 95))
_SPACE = ((32, 32), (9, 13))
_LETTERS = ((97, 122), (65, 90), (192, 214), (216, 246), (248, 591), (880, 1023), (1024, 1279), (19968, 40959))
_CLASSES = {
    "d": Chars(_DIGITS),
    "D": Chars(_DIGITS, negated=True),
    "w": Chars(_WORD),
    "W": Chars(_WORD, negated=True),
    "s": Chars(_SPACE),
    "S": Chars(_SPACE, negated=True),
}
_PROPERTIES = {
    "L": _LETTERS,
    "Letter": _LETTERS,
    "Ll": ((97, 122),),
    "Lu": ((65, 90),),
    "N": _DIGITS,
    "Nd": _DIGITS,
}
_ANY = Chars(((10, 10), (13, 13)), negated=True)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_HEX_DIGITS = {"x": 2, "u": 4}
_MAX_DEPTH = 40
_MAX_LENGTH = 2_000
_LAST = 0x10FFFF


def parse(pattern: str) -> Node:
    """Parse the whole pattern, or raise `UnsupportedPattern`."""
    if len(pattern) > _MAX_LENGTH:
        raise UnsupportedPattern("too long")
    parser = _Parser(pattern)
    node = parser.either(0)
    if not parser.done:
        raise UnsupportedPattern("an unmatched closing bracket")
    return node


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._pattern)

    def either(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise UnsupportedPattern("nested too deeply")
        options = [self._row(depth)]
        while self._take("|"):
            options.append(self._row(depth))
        return options[0] if len(options) == 1 else Either(tuple(options))

    def _row(self, depth: int) -> Node:
        items = []
        while not self.done and self._pattern[self._at] not in "|)":
            items.append(self._repeated(self._atom(depth)))
        return Row(tuple(items))

    def _atom(self, depth: int) -> Node:
        letter = self._next()
        match letter:
            case "(":
                return self._group(depth)
            case "[":
                return self._class()
            case ".":
                return _ANY
            case "^" | "$":
                return Edge(letter)
            case "\\":
                return self._escape()
            case "*" | "+" | "?":
                raise UnsupportedPattern("nothing to repeat")
            case _:
                return _literal(letter)

    def _group(self, depth: int) -> Node:
        look = next((look for look in ("?=", "?!") if self._take(look)), None)
        if look is None and not self._take("?:") and self._take("?"):
            self._group_name()
        item = self.either(depth + 1)
        if not self._take(")"):
            raise UnsupportedPattern("a group without its end")
        return item if look is None else Look(item, negated=look == "?!")

    def _group_name(self) -> None:
        self._take("P")
        end = self._pattern.find(">", self._at)
        if not self._take("<") or not self._pattern[self._at : end].isidentifier():
            raise UnsupportedPattern("inline flags and look-behind are not read")
        self._at = end + 1

    def _repeated(self, item: Node) -> Node:
        bounds = self._quantifier()
        while bounds is not None:
            item = Many(item, *bounds)
            self._take("?")  # lazy and greedy match the same strings
            bounds = self._quantifier()
        return item

    def _quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        end = self._pattern.find("}", self._at)
        if end < 0 or not self._pattern.startswith("{", self._at):
            return None
        low, comma, high = self._pattern[self._at + 1 : end].partition(",")
        if not _is_count(low) or (high and not _is_count(high)):
            return None  # a brace that is not a quantifier is a literal
        self._at = end + 1
        return _bounds(int(low), int(low) if not comma else int(high) if high else None)

    def _escape(self) -> Node:
        letter = self._next()
        if letter in _CLASSES:
            return _CLASSES[letter]
        if letter in "bB":
            return Edge(letter)
        if letter in "pP":
            return self._property(negated=letter == "P")
        if letter in "AZz":
            return Edge("^" if letter == "A" else "$")
        return _literal(self._escaped_literal(letter))

    def _escaped_literal(self, letter: str) -> str:
        if letter in _HEX_DIGITS:
            return self._hex(_HEX_DIGITS[letter])
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter.isascii() and letter.isalnum():
            raise UnsupportedPattern("an escape with a meaning unknown here")
        return letter

    def _hex(self, digits: int) -> str:
        if self._take("{"):
            digits = self._pattern.find("}", self._at) - self._at
            code = self._code(digits)
            self._at += 1
            return code
        return self._code(digits)

    def _code(self, digits: int) -> str:
        code = self._pattern[self._at : self._at + max(digits, 0)]
        self._at += len(code)
        try:
            return chr(int(code, 16))
        except (ValueError, OverflowError) as error:
            raise UnsupportedPattern("not a code point") from error

    def _property(self, *, negated: bool) -> Chars:
        end = self._pattern.find("}", self._at)
        name = self._pattern[self._at + 1 : end]
        if end < 0 or name not in _PROPERTIES:
            raise UnsupportedPattern("an unknown property of characters")
        self._at = end + 1
        return Chars(_PROPERTIES[name], negated=negated)

    def _class(self) -> Chars:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            ranges.extend(self._class_range())
        return Chars(tuple(ranges), negated=negated)

    def _class_range(self) -> tuple[tuple[int, int], ...]:
        first = self._class_member()
        ahead = self._pattern[self._at : self._at + 2]
        if isinstance(first, tuple) or not ahead.startswith("-") or ahead == "-]":
            return first if isinstance(first, tuple) else ((ord(first), ord(first)),)
        self._at += 1
        last = self._class_member()
        if isinstance(last, tuple) or last < first:
            raise UnsupportedPattern("a range that ends before it begins")
        return ((ord(first), ord(last)),)

    def _class_member(self) -> str | tuple[tuple[int, int], ...]:
        letter = self._next()
        if letter != "\\":
            return letter
        letter = self._next()
        if letter in _CLASSES:
            return _all_ranges(_CLASSES[letter])
        if letter in "pP":
            return _all_ranges(self._property(negated=letter == "P"))
        return "\b" if letter == "b" else self._escaped_literal(letter)

    def _next(self) -> str:
        if self.done:
            raise UnsupportedPattern("the pattern ends too early")
        self._at += 1
        return self._pattern[self._at - 1]

    def _take(self, sign: str) -> bool:
        taken = self._pattern.startswith(sign, self._at)
        self._at += len(sign) * taken
        return taken


def _literal(letter: str) -> Chars:
    return Chars(((ord(letter), ord(letter)),))


def _is_count(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) < 10


def _bounds(low: int, high: int | None) -> tuple[int, int | None]:
    if high is not None and high < low:
        raise UnsupportedPattern("a repetition whose bounds contradict")
    return low, high


def _all_ranges(chars: Chars) -> tuple[tuple[int, int], ...]:
    """The ranges, or the gaps between them if negated."""
    if not chars.negated:
        return chars.ranges
    edges = sorted(chars.ranges)
    starts = [0, *(high + 1 for _, high in edges)]
    stops = [*(low - 1 for low, _ in edges), _LAST]
    return tuple((start, stop) for start, stop in zip(starts, stops, strict=True) if start <= stop)
