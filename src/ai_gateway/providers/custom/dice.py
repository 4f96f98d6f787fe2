"""Seeded pseudo-random numbers: the same on every machine and Python version."""

from collections.abc import Sequence
from hashlib import sha256


def fingerprint(*facts: str) -> str:
    """A hash of these facts."""
    digest = sha256()
    for fact in facts:
        encoded = fact.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded) + encoded)  # the length keeps ("ab", "c") apart from ("a", "bc")
    return digest.hexdigest()


class Dice:
    """Numbers from SHA-256 of seed and count; `random` guarantees no sequence across Python versions."""

    def __init__(self, seed: str) -> None:
        self._seed = bytes.fromhex(fingerprint(seed))
        self._drawn = 0

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1; 0 when there is nothing to choose."""
        self._drawn += 1
        drawn = sha256(self._seed + self._drawn.to_bytes(8, "big")).digest()
        return int.from_bytes(drawn[:8], "big") % max(limit, 1)

    def pick[T](self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def shuffled[T](self, options: Sequence[T]) -> list[T]:
        """The options rotated by a random amount: enough variety, and the order stays legible."""
        start = self.below(len(options))
        return [*options[start:], *options[:start]]
