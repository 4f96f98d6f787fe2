"""Regular expressions read for two purposes: to write a string that matches, and to tell whether one does.

Patterns come from strangers and Python's `re` backtracks exponentially on some of them. Matching here follows sets of
positions instead, so its work is bounded; writing is bounded by a number of steps. What this reader does not know
(back references, look-behind, inline flags) is `UnsupportedPattern`.
"""

from dataclasses import dataclass
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

LONGEST = 4096
"""The longest string written or examined."""

_STEPS = 200_000
_POOLS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    " -_.,:;/+=@#%&!?()[]{}<>*'\"$^~|\\`",
    "\t\n",
)

_parse = lru_cache(maxsize=256)(parse)


def write(pattern: str, dice: Dice, extra: int = 2) -> str:
    """A string the pattern was written for; every repetition takes up to `extra` more rounds than it must."""
    writer = _Writer(dice, extra)
    writer.write(_parse(pattern))
    return "".join(writer.written)[:LONGEST]


def found(pattern: str, text: str) -> bool:
    """Whether the pattern occurs in the text. What cannot be told (unsupported, too long) is taken to match."""
    if len(text) > LONGEST:
        return True
    try:
        node = _parse(pattern)
    except UnsupportedPattern:
        return True
    reader = _Reader(text)
    return bool(reader.ends(node, set(range(len(text) + 1)))) or reader.steps <= 0


@lru_cache(maxsize=256)
def _letters(chars: Chars) -> str:
    """Letters to choose from: the plainest there are, else the start of the first range."""
    allowed = ("".join(letter for letter in pool if chars.has(letter)) for pool in _POOLS)
    return next(filter(None, allowed), chr(chars.ranges[0][0] if chars.ranges else 0))


@dataclass
class _Writer:
    dice: Dice
    extra: int

    def __post_init__(self) -> None:
        self.written: list[str] = []
        self.steps = LONGEST

    def write(self, node: Node) -> None:
        self.steps -= 1
        if self.steps <= 0:
            return
        match node:
            case Chars():
                self.written.append(self.dice.pick(_letters(node)))
            case Row(items):
                for item in items:
                    self.write(item)
            case Either(options):
                self.write(self.dice.pick(options))
            case Many():
                self._repeat(node)
            case Edge() | Look():
                pass  # they match between characters; whether they do is for `found` to say

    def _repeat(self, node: Many) -> None:
        most = node.low + self.extra if node.high is None else min(node.high, node.low + self.extra)
        for _ in range(min(node.low + self.dice.below(most - node.low + 1), self.steps)):
            self.write(node.item)


class _Reader:
    """Where a match may end, for all the places where it may begin at once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.steps = _STEPS

    def ends(self, node: Node, starts: set[int]) -> set[int]:
        self.steps -= 1 + len(starts)
        return self._ends(node, starts) if self.steps > 0 and starts else set()

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
                break  # one more round changes nothing, nor will the rest
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
