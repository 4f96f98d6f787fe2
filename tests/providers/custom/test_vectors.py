"""Embeddings are unit vectors that depend on the text and put similar sentences close together."""

import base64
import math
import struct
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.errors import UnsupportedValue
from ai_gateway.providers.custom import vectors
from tests.providers.custom.asking import embeddings

SIMILAR = [
    ("The cat sat on the warm windowsill.", "A cat is sitting on a warm windowsill."),
    ("How do I reset my password?", "I forgot my password, how can I reset it?"),
    ("Stock markets fell sharply today.", "Today the stock markets have fallen."),
    ("The recipe needs two cups of flour.", "Use two cups of flour for this recipe."),
]


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_similar_sentences_are_closer_than_unrelated_ones() -> None:
    near = [cosine(vectors.embed(one), vectors.embed(other)) for one, other in SIMILAR]
    far = [
        cosine(vectors.embed(one), vectors.embed(other))
        for (one, _), (_, other) in combinations(SIMILAR, 2)
    ]  # fmt: skip
    assert min(near) > max(far) + 0.1


@given(st.text(max_size=200), st.integers(1, 64))
def test_every_text_has_a_unit_vector_of_the_size_asked_for(text: str, dimensions: int) -> None:
    vector = vectors.embed(text, dimensions)
    assert len(vector) == dimensions
    assert math.sqrt(sum(value * value for value in vector)) == pytest.approx(1, abs=1e-6)


def test_different_texts_have_different_vectors() -> None:
    texts = ["", " ", "a", "b", "a b", "b a", "Hello", "hello!", "hello"]
    assert len({tuple(vectors.embed(text)) for text in texts}) == len(texts)


async def test_the_default_is_1536_floats() -> None:
    reply = await embeddings()
    assert len(reply["data"][0]["embedding"]) == 1536
    assert reply["model"] == "custom-embedding"
    assert await embeddings() == reply


async def test_base64_is_the_same_vector_as_little_endian_floats() -> None:
    floats = (await embeddings(encoding_format="float"))["data"][0]["embedding"]
    encoded = (await embeddings(encoding_format="base64"))["data"][0]["embedding"]
    assert list(struct.unpack("<1536f", base64.b64decode(encoded))) == pytest.approx(floats, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [
        ("one two", 1, 2),
        ("", 1, 0),
        (["one two", "", "three"], 3, 3),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
    ],
)
async def test_every_form_of_input_is_embedded_and_counted(given: Any, count: int, tokens: int) -> None:
    reply = await embeddings(input=given, dimensions=16)
    assert [one["index"] for one in reply["data"]] == list(range(count))
    assert {len(one["embedding"]) for one in reply["data"]} == {16}
    assert reply["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


async def test_the_place_in_a_list_does_not_matter() -> None:
    alone = await embeddings(input="three")
    among = await embeddings(input=["one", "three"])
    assert among["data"][1]["embedding"] == alone["data"][0]["embedding"]


async def test_more_numbers_than_fit_a_reply_are_refused_by_name() -> None:
    assert len((await embeddings(dimensions=65536))["data"][0]["embedding"]) == 65536
    with pytest.raises(UnsupportedValue, match="at most 4194304 numbers") as caught:
        await embeddings(input=["x"] * 65, dimensions=65536)
    assert caught.value.param == "dimensions"


async def test_an_empty_fault_loses_every_vector() -> None:
    assert (await embeddings(model="fault-empty"))["data"] == []
