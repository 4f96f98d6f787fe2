"""Vectors in the form that was asked for."""

import base64
import struct
from typing import Any

import pytest

from ai_gateway.conform.embedding import conform_embeddings, input_count
from ai_gateway.conform.rules import Rule
from ai_gateway.contract.stream import Item
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models

VECTORS = [[0.5, -1.25], [0.1, 3.0]]


def request(**change: Any) -> models.CreateEmbeddingRequest:
    return models.CreateEmbeddingRequest.model_validate({"model": "m", "input": ["a", "b"], **change}, strict=True)


def encoded(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def conformed(
    sent: models.CreateEmbeddingResponse, body: models.CreateEmbeddingRequest
) -> tuple[models.CreateEmbeddingResponse, list[str]]:
    """The reply as it leaves, and the rules it took."""
    repairs: list[str] = []

    def report(rule: Rule) -> None:
        repairs.append(rule.name)

    return conform_embeddings(Item(sent), body, report).model, repairs


def reply(*vectors: list[float] | str, indexes: list[int] | None = None) -> models.CreateEmbeddingResponse:
    at = indexes or list(range(len(vectors)))
    return models.CreateEmbeddingResponse(
        object="list",
        model="m",
        data=[models.Embedding(object="embedding", index=i, embedding=v) for i, v in zip(at, vectors, strict=True)],
        usage=models.CreateEmbeddingResponseUsage(prompt_tokens=2, total_tokens=2),
    )


@pytest.mark.parametrize("sent", [VECTORS, [encoded(vector) for vector in VECTORS]])
@pytest.mark.parametrize("wanted", ["float", "base64", None])
def test_whatever_the_provider_sends_the_caller_gets_the_encoding_it_asked_for(sent: Any, wanted: str | None) -> None:
    made, _ = conformed(reply(*sent), request(encoding_format=wanted))
    for item, vector in zip(made.data, VECTORS, strict=True):
        if wanted == "base64":
            assert item.embedding == encoded(vector)
        else:
            assert item.embedding == pytest.approx(vector, abs=1e-6)


def test_what_is_right_already_is_the_same_object() -> None:
    right = reply(*VECTORS)
    made, repairs = conformed(right, request())
    assert made is right
    assert repairs == []


def test_vectors_are_put_in_order() -> None:
    made, repairs = conformed(reply(VECTORS[1], VECTORS[0], indexes=[1, 0]), request())
    assert [item.embedding for item in made.data] == VECTORS
    assert repairs == ["sort-vectors"]


def test_vectors_that_nobody_numbered_are_numbered_by_their_places() -> None:
    made, repairs = conformed(reply(*VECTORS, indexes=[0, 0]), request())
    assert [(item.index, item.embedding) for item in made.data] == [(0, VECTORS[0]), (1, VECTORS[1])]
    assert repairs == ["number-vectors"]


@pytest.mark.parametrize("indexes", [[1, 1], [1, 2], [-1, 0]])
def test_vectors_that_are_numbered_wrong_are_refused(indexes: list[int]) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        conformed(reply(*VECTORS, indexes=indexes), request())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_or_too_many_vectors_are_refused(count: int) -> None:
    with pytest.raises(UpstreamInvalidResponse, match=f"{count} vectors for 2 inputs"):
        conformed(reply(*[[1.0, 2.0]] * count), request())


@pytest.mark.parametrize("sent", [VECTORS, [encoded(vector) for vector in VECTORS]])
def test_vectors_of_another_length_than_asked_for_are_refused(sent: Any) -> None:
    assert conformed(reply(*sent), request(dimensions=2))
    with pytest.raises(UpstreamInvalidResponse, match="2 dimensions where 3 were requested"):
        conformed(reply(*sent), request(dimensions=3))


@pytest.mark.parametrize("sent", ["no base64!", base64.b64encode(b"abc").decode()])
def test_text_that_is_no_vector_is_refused(sent: str) -> None:
    with pytest.raises(UpstreamInvalidResponse, match="that is n"):
        conformed(reply(sent, sent), request())


@pytest.mark.parametrize(
    ("given", "count"), [("text", 1), (["a", "b", "c"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ("", 1)]
)
def test_a_text_or_a_list_of_tokens_is_one_input(given: Any, count: int) -> None:
    assert input_count(request(input=given)) == count


@pytest.mark.parametrize("wanted", ["float", "base64", None])
@pytest.mark.parametrize(
    "sent", [encoded([1.0, float("nan")]), encoded([float("inf")]), "abc", "a b", [float("nan")], encoded([1.0])[:-3]]
)
def test_what_is_no_vector_is_refused_whatever_was_asked_for(sent: Any, wanted: str | None) -> None:
    for dimensions in ({}, {"dimensions": 1}):
        with pytest.raises(UpstreamInvalidResponse):
            conformed(reply(sent, VECTORS[0]), request(encoding_format=wanted, **dimensions))


def test_floats_that_base64_cannot_hold_are_refused_and_not_made_infinite() -> None:
    with pytest.raises(UpstreamInvalidResponse, match="ask for floats"):
        conformed(reply([1e300], [1.0]), request(encoding_format="base64"))
    assert conformed(reply([1e300], [1.0]), request())[1] == []
