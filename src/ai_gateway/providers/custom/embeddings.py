"""The response to an embedding request: every form of input, both encodings."""

import asyncio

from ai_gateway.errors import UnsupportedValue
from ai_gateway.providers.custom import faults, prompt, vectors
from ai_gateway.providers.custom.work import Work
from gateway_contract.openai import models

_STEPS = 3_000_000  # of all inputs; other requests are served in between
_MAX_LENGTH = 400_000  # of one input, which is not interrupted
_TURN = 20_000
_NUMBERS_EACH = 8
"""How many numbers of a vector are one step of work; a letter of its text is another."""


async def reply(body: models.CreateEmbeddingRequest) -> models.CreateEmbeddingResponse:
    """One vector per input; none for `fault-empty`."""
    dimensions = body.dimensions or vectors.DIMENSIONS
    inputs = prompt.separate(body.input)
    if len(inputs) * dimensions > vectors.MAX_NUMBERS:
        raise UnsupportedValue(
            f"The built-in provider makes at most {vectors.MAX_NUMBERS} numbers at once: send fewer inputs at a time, "
            "or ask for fewer dimensions.",
            param="dimensions",
        )
    work, done = Work(_STEPS, "input"), 0
    data: list[models.Embedding] = []
    for index, one in enumerate(inputs if body.model != faults.EMPTY else ()):
        text = one.text
        if len(text) > _MAX_LENGTH:
            raise UnsupportedValue(
                f"The built-in provider reads at most {_MAX_LENGTH} characters of one input: send it in parts.",
                param="input",
            )
        steps = len(text) + dimensions // _NUMBERS_EACH
        work.spend(steps)
        data.append(_embedding(index, text, body))
        done += steps
        if done > _TURN:
            done = 0
            await asyncio.sleep(0)
    counted = sum(one.count for one in inputs)
    return models.CreateEmbeddingResponse(
        object="list",
        model=body.model,
        data=data,
        usage=models.CreateEmbeddingResponseUsage(prompt_tokens=counted, total_tokens=counted),
    )


def _embedding(index: int, text: str, body: models.CreateEmbeddingRequest) -> models.Embedding:
    vector = vectors.embed(text, body.dimensions or vectors.DIMENSIONS)
    encoded = vectors.as_base64(vector) if body.encoding_format == "base64" else vector
    return models.Embedding(object="embedding", index=index, embedding=encoded)
