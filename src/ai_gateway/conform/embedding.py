"""Embeddings: one vector for each input, in order, in the requested encoding and dimensions."""

import base64
import sys
from array import array
from math import inf, isfinite

from ai_gateway.conform.rules import NUMBER_VECTORS, RECODE_VECTORS, SORT_VECTORS, Report
from ai_gateway.contract.stream import Item
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


def conform_embeddings(
    item: Item[models.CreateEmbeddingResponse], body: models.CreateEmbeddingRequest, report: Report
) -> Item[models.CreateEmbeddingResponse]:
    """The reply in the form that was requested. Raises UpstreamInvalidResponse."""
    received = item.model.data
    data = _in_order(received, input_count(body), report)
    _check_vectors(data, body.dimensions)
    encoding = body.encoding_format or "float"
    if any(isinstance(vector.embedding, str) is not (encoding == "base64") for vector in data):
        recode = to_base64 if encoding == "base64" else _to_floats
        data = [vector.model_copy(update={"embedding": recode(vector.embedding)}) for vector in data]
        report(RECODE_VECTORS)
    return item if data is received else Item(item.model.model_copy(update={"data": data}))


def input_count(body: models.CreateEmbeddingRequest) -> int:
    """How many vectors the request asks for: a text or a list of tokens is one input."""
    given = body.input
    return 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)


def _in_order(data: list[models.Embedding], count: int, report: Report) -> list[models.Embedding]:
    indexes = [item.index for item in data]
    places = list(range(count))
    if indexes == places:
        return data
    if len(data) == count and set(indexes) == {0}:  # not numbered: their order is used
        report(NUMBER_VECTORS)
        return [item.model_copy(update={"index": at}) for at, item in enumerate(data)]
    if sorted(indexes) != places:
        sent = f"The provider sent {len(data)} vectors for {count} inputs, or numbered them wrong."
        raise UpstreamInvalidResponse(sent)
    report(SORT_VECTORS)
    return sorted(data, key=lambda item: item.index)


def _check_vectors(data: list[models.Embedding], dimensions: int | None) -> None:
    for item in data:
        vector = _to_floats(item.embedding)
        if not isfinite(sum(vector)):  # a NaN or infinity makes the sum one
            raise UpstreamInvalidResponse("The provider sent a vector that holds something else than numbers.")
        if dimensions is not None and len(vector) != dimensions:
            raise UpstreamInvalidResponse(
                f"The provider sent vectors of {len(vector)} dimensions where {dimensions} were requested: "
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
