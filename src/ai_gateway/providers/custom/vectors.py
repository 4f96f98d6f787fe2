"""Embeddings without a model: words and their trigrams, hashed into signed buckets, scaled to unit length.

Texts that share words, or parts of words, share buckets, so similar sentences lie closer than unrelated ones.
"""

import base64
import math
import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from zlib import crc32

DIMENSIONS = 1536
MAX_NUMBERS = 4_194_304
"""The limit for one response: the contract's largest number of inputs with more than the default dimensions."""

_WORD = re.compile(r"\w+")
_LONG_WORD = 8
_TRIGRAM_WEIGHT = 0.3
_PAIR_WEIGHT = 0.3
_WHOLE_WEIGHT = 0.05
"""Distinguishes texts of the same words, and gives the empty text a direction."""


def embed(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """The unit vector of a text."""
    vector = [0.0] * dimensions
    for feature, weight in _features(text):
        hashed = crc32(feature.encode("utf-8", "surrogatepass"))
        vector[hashed % dimensions] += weight if hashed & 0x80000000 else -weight
    return _unit(vector)


def as_base64(vector: Sequence[float]) -> str:
    """The vector as little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _features(text: str) -> Iterator[tuple[str, float]]:
    words = _WORD.findall(text.casefold())
    for word, times in Counter(words).items():
        weight = (1 + math.log(times)) * min(len(word), _LONG_WORD) / _LONG_WORD  # short words carry little meaning
        yield f"word {word}", weight
        padded = f"<{word}>"
        for start in range(len(padded) - 2):
            yield f"part {padded[start : start + 3]}", weight * _TRIGRAM_WEIGHT
    for pair in dict.fromkeys(pairwise(words)):  # not a set: its order, and so the rounding, differs per process
        yield f"pair {pair}", _PAIR_WEIGHT
    yield f"text {text}", _WHOLE_WEIGHT


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    if length < 1e-9:  # all features cancelled out, which happens in few dimensions
        return [1.0, *vector[1:]]
    # Zeros are one shared 0.0 object, which saves memory in a long list of vectors.
    return [round(value / length, 8) if value else 0.0 for value in vector]
