"""Regular expressions: generates a string that matches, and matches a string, both without backtracking.

Patterns are untrusted, and Python's `re` backtracks exponentially on some of them. Matching here tracks sets of
positions instead; it and generating are bounded by the work budget. Back references, look-behind and inline flags are
`UnsupportedPattern`.
"""

from functools import lru_cache, reduce

from ai_gateway.providers.custom.dice import Dice
from ai_gateway.providers.custom.pattern_parser import (
    Chars,
    Edge,
    Either,
    Look,
    Many,
    Node,
    Row,
    UnsupportedPattern,
    parse,
)
from ai_gateway.providers.custom.work import Work

LONGEST = 4096
"""The longest string that is generated or matched."""

_WRITING = 5
"""The work of generating one character."""

_READING = 2
"""The work of reading one character of a pattern."""

_DRAWN_EXTRA = 2
_POOLS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    " -_.,:;/+=@#%&!?()[]{}<>*'\"$^~|\\`",
    "\t\n",
)

_parse = lru_cache(maxsize=256)(parse)


def write(pattern: str, dice: Dice, work: Work, *, extra: int | None = None) -> str:
    """A string for the pattern. Repetitions have `extra` more rounds than required, or a few random ones."""
    writer = _Writer(dice, work, extra)
    writer.write(_parse(pattern))
    text = "".join(writer.written)[:LONGEST]
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UnsupportedPattern("half a character")
    return text


def matches(pattern: str, text: str, work: Work) -> bool:
    """Whether the pattern occurs in the text. An undecidable case (unsupported, too long) counts as a match."""
    if len(text) > LONGEST:
        return True
    work.spend(_READING * (1 + len(pattern)))
    try:
        node = _parse(pattern)
    except UnsupportedPattern:
        return True
    return bool(_Reader(text, work).ends(node, set(range(len(text) + 1))))


@lru_cache(maxsize=256)
def _letters(chars: Chars) -> str:
    """Characters to choose from: preferably letters and digits, else the start of the first range."""
    allowed = ("".join(letter for letter in pool if chars.has(letter)) for pool in _POOLS)
    return next(filter(None, allowed), chr(chars.ranges[0][0] if chars.ranges else 0))


class _Writer:
    def __init__(self, dice: Dice, work: Work, extra: int | None) -> None:
        self._dice = dice
        self._work = work
        self._extra = extra
        self._steps = LONGEST
        self.written: list[str] = []

    def write(self, node: Node) -> None:
        self._steps -= 1
        if self._steps <= 0:
            return
        self._work.spend(_WRITING)
        match node:
            case Chars():
                self.written.append(self._dice.pick(_letters(node)))
            case Row(items):
                for item in items:
                    self.write(item)
            case Either(options):
                self.write(self._dice.pick(options))
            case Many():
                self._repeat(node)
            case Edge() | Look():
                pass  # they match between characters, which `matches` checks

    def _repeat(self, node: Many) -> None:
        extra = self._dice.below(_DRAWN_EXTRA + 1) if self._extra is None else self._extra
        most = node.low + extra if node.high is None else min(node.high, node.low + extra)
        for _ in range(min(most, self._steps)):
            self.write(node.item)


class _Reader:
    """Computes the end positions of a match for a set of start positions at once."""

    def __init__(self, text: str, work: Work) -> None:
        self._text = text
        self._work = work

    def ends(self, node: Node, starts: set[int]) -> set[int]:
        """The end positions of the node's matches that start at these positions."""
        if not starts:
            return set()
        self._work.spend(1 + len(starts) * (1 + len(node.ranges) // 8 if isinstance(node, Chars) else 1))
        return self._ends(node, starts)

    def _ends(self, node: Node, starts: set[int]) -> set[int]:
        match node:
            case Chars():
                return {at + 1 for at in starts if at < len(self._text) and node.has(self._text[at])}
            case Row(items):
                return reduce(lambda reached, item: self.ends(item, reached), items, starts)
            case Either(options):
                return {end for option in options for end in self.ends(option, starts)}
            case Many():
                return self._repeated(node, starts)
            case Edge() | Look():
                return {at for at in starts if self._passes(node, at)}

    def _repeated(self, node: Many, starts: set[int]) -> set[int]:
        for _ in range(node.low):
            ends = self.ends(node.item, starts)
            if ends == starts:
                break  # another round changes nothing
            starts = ends
        reached = set(starts)
        for _ in range(LONGEST if node.high is None else node.high - node.low):
            starts = self.ends(node.item, starts) - reached
            if not starts:
                break
            reached |= starts
        return reached

    def _passes(self, node: Edge | Look, at: int) -> bool:
        if isinstance(node, Look):
            return bool(self.ends(node.item, {at})) is not node.negated
        if node.kind in "^$":
            return at == (0 if node.kind == "^" else len(self._text))
        before, after = self._text[max(at - 1, 0) : at], self._text[at : at + 1]
        return (_is_word(before) != _is_word(after)) is (node.kind == "b")


def _is_word(letter: str) -> bool:
    return letter == "_" or (letter.isascii() and letter.isalnum())
