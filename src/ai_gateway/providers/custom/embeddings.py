"""The response to an embedding request: every form of input, both encodings."""

from collections.abc import Sequence

from ai_gateway.errors import UnsupportedValue
from ai_gateway.providers.custom import faults, prompt, vectors
from gateway_contract.openai import models


def reply(body: models.CreateEmbeddingRequest) -> models.CreateEmbeddingResponse:
    """One vector per input; none for `fault-empty`."""
    dimensions = body.dimensions or vectors.DIMENSIONS
    inputs = prompt.tokenized(body.input)
    if len(inputs) * dimensions > vectors.MOST_NUMBERS:
        raise UnsupportedValue(
            f"The built-in provider makes at most {vectors.MOST_NUMBERS} numbers at once: send fewer inputs at a time, "
            "or ask for fewer dimensions.",
            param="dimensions",
        )
    counted = sum(map(len, inputs))
    return models.CreateEmbeddingResponse(
        object="list",
        model=body.model,
        data=[] if body.model == faults.EMPTY else [_embedding(at, one, body) for at, one in enumerate(inputs)],
        usage=models.CreateEmbeddingResponseUsage(prompt_tokens=counted, total_tokens=counted),
    )


def _embedding(index: int, tokens: Sequence[str], body: models.CreateEmbeddingRequest) -> models.Embedding:
    vector = vectors.embed("".join(tokens), body.dimensions or vectors.DIMENSIONS)
    encoded = vectors.as_base64(vector) if body.encoding_format == "base64" else vector
    return models.Embedding(object="embedding", index=index, embedding=encoded)
