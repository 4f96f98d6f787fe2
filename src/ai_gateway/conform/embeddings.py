"""The gateway owns the form of vectors: as many as inputs, in order, encoded and as long as was asked for."""

import base64
import sys
from array import array
from math import inf, isfinite

from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


def conform_embeddings(
    reply: models.CreateEmbeddingResponse, body: models.CreateEmbeddingRequest
) -> tuple[models.CreateEmbeddingResponse, list[str]]:
    """The reply in the form that was asked for, and the rules it took. Raises UpstreamInvalidResponse."""
    data, repairs = _in_order(reply.data, input_count(body))
    _check_vectors(data, body.dimensions)
    wanted = body.encoding_format or "float"
    if any(isinstance(item.embedding, str) is not (wanted == "base64") for item in data):
        recode = to_base64 if wanted == "base64" else _to_floats
        data = [item.model_copy(update={"embedding": recode(item.embedding)}) for item in data]
        repairs.append("recode-vectors")
    return (reply.model_copy(update={"data": data}) if repairs else reply), repairs


def input_count(body: models.CreateEmbeddingRequest) -> int:
    """How many vectors the request asks for: a text or a list of tokens is one input."""
    given = body.input
    return 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)


def _in_order(data: list[models.Embedding], count: int) -> tuple[list[models.Embedding], list[str]]:
    indexes = [item.index for item in data]
    places = list(range(count))
    if indexes == places:
        return data, []
    if len(data) == count and set(indexes) == {0}:  # numbered by nobody, so their order is all there is
        return [item.model_copy(update={"index": at}) for at, item in enumerate(data)], ["number-vectors"]
    if sorted(indexes) != places:
        sent = f"The provider sent {len(data)} vectors for {count} inputs, or numbered them wrong."
        raise UpstreamInvalidResponse(sent)
    return sorted(data, key=lambda item: item.index), ["sort-vectors"]


def _check_vectors(data: list[models.Embedding], dimensions: int | None) -> None:
    for item in data:
        vector = _to_floats(item.embedding)
        if not isfinite(sum(vector)):  # one that is none makes the sum none
            raise UpstreamInvalidResponse("The provider sent a vector that holds something else than numbers.")
        if dimensions is not None and len(vector) != dimensions:
            raise UpstreamInvalidResponse(
                f"The provider sent vectors of {len(vector)} dimensions where {dimensions} were asked for: "
                "leave `dimensions` out, or choose a model that can."
            )


def to_base64(vector: list[float] | str) -> str:
    """The vector as base64 of little-endian floats of 32 bits, as OpenAI's API gives it."""
    if isinstance(vector, str):
        return vector
    try:
        floats = array("f", vector)
    except OverflowError:
        floats = array("f", [inf])
    if not isfinite(sum(floats)):
        raise UpstreamInvalidResponse("The provider sent a vector that base64 cannot hold: ask for floats.")
    return base64.b64encode(_little_endian(floats).tobytes()).decode()


def _to_floats(vector: list[float] | str) -> list[float]:
    if not isinstance(vector, str):
        return vector
    try:
        floats = array("f", base64.b64decode(vector, validate=True))
    except ValueError:  # not the alphabet, or not the length
        raise UpstreamInvalidResponse(
            "The provider sent a vector that is neither floats nor base64 of floats."
        ) from None
    return list(_little_endian(floats))


def _little_endian(values: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
