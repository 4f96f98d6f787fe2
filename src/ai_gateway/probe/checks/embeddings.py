"""Embeddings."""

import base64
import binascii
import struct
from math import isfinite, sqrt
from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.judge import exact, expect, supported
from ai_gateway.probe.probe import Probe
from ai_gateway.probe.reply import Reply, count, dig, items
from ai_gateway.probe.verdict import Failed
from gateway_contract.openai import models

_TEXTS = ("The river is wide.", "Seven is a prime number.", "Bread needs salt.")


async def _embed(probe: Probe, **fields: object) -> Reply:
    optional = ("model", *(field for field in fields if field == "dimensions"))
    return supported(await probe.embed(**fields), *optional, endpoint=True)


def _vectors(reply: Reply) -> list[list[float]]:
    """The vectors, in either encoding."""
    return [_floats(dig(one, "embedding"), reply) for one in items(reply.value(), "data")]


def _floats(encoded: object, reply: Reply) -> list[float]:
    if isinstance(encoded, str):
        return _unpacked(encoded, reply)
    if isinstance(encoded, list) and all(isinstance(number, float | int) for number in encoded):
        return [float(number) for number in encoded]
    raise Failed("a vector of numbers, or base64", reply)


def _unpacked(encoded: str, reply: Reply) -> list[float]:
    try:
        raw = base64.b64decode(encoded, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (binascii.Error, struct.error):
        raise Failed("base64 of little-endian float32 values", reply) from None


def _cosine(one: list[float], other: list[float]) -> float:
    if len(one) != len(other):
        return 0
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / ((sqrt(sum(a * a for a in one)) * sqrt(sum(b * b for b in other))) or 1)


async def _exact(probe: Probe) -> None:
    reply = await _embed(probe)
    exact(models.CreateEmbeddingResponse, reply.value(), reply)


async def _one(probe: Probe) -> None:
    reply = await _embed(probe)
    expect(len(items(reply.value(), "data")) == 1, "one vector for one text", reply)


async def _many(probe: Probe) -> None:
    reply = await _embed(probe, input=_TEXTS)
    indexes = [dig(one, "index") for one in items(reply.value(), "data")]
    expect(indexes == [0, 1, 2], "three vectors, index 0 to 2 in order", f"indexes {indexes} in {reply}")


async def _default(probe: Probe) -> None:
    _numbers(await _embed(probe))


async def _float(probe: Probe) -> None:
    _numbers(await _embed(probe, encoding_format="float"))


def _numbers(reply: Reply) -> None:
    expect(isinstance(dig(reply.value(), "data", 0, "embedding"), list), "a list of numbers", reply)


async def _base64(probe: Probe) -> None:
    reply = await _embed(probe, encoding_format="base64")
    expect(isinstance(dig(reply.value(), "data", 0, "embedding"), str), "a string of base64", reply)
    exact(models.CreateEmbeddingResponse, reply.value(), reply)


async def _same(probe: Probe) -> None:
    coded = _vectors(await _embed(probe, encoding_format="base64"))
    plain = _vectors(await _embed(probe, encoding_format="float"))
    alike = bool(coded) and len(coded) == len(plain) and _cosine(coded[0], plain[0]) > 0.99
    expect(alike, "the same vector in both encodings", f"{coded!s:.60} and {plain!s:.60}")


async def _sound(probe: Probe) -> None:
    reply = await _embed(probe, input=_TEXTS)
    vectors = _vectors(reply)
    expect(len({len(vector) for vector in vectors}) == 1, "vectors of one length", reply)
    expect(all(vector and all(map(isfinite, vector)) and any(vector) for vector in vectors), "finite numbers", reply)


async def _distinct(probe: Probe) -> None:
    reply = await _embed(probe, input=_TEXTS)
    first, *others = _vectors(reply) or [[]]
    expect(all(_cosine(first, other) < 0.9999 for other in others) and bool(others), "a vector for each text", reply)


async def _order(probe: Probe) -> None:
    forth, back = await _embed(probe, input=_TEXTS), await _embed(probe, input=_TEXTS[::-1])
    pairs = list(zip(_vectors(forth), reversed(_vectors(back)), strict=False))
    expect(bool(pairs) and all(_cosine(*pair) > 0.99 for pair in pairs), "vectors in the order of the texts", back)


async def _dimensions(probe: Probe) -> None:
    reply = await _embed(probe, dimensions=16)
    expect([len(vector) for vector in _vectors(reply)] == [16], "16 numbers", reply)


async def _tokens(probe: Probe) -> None:
    reply = supported(await probe.embed(input=[464, 7850, 318]), "input", "model", endpoint=True)
    expect(len(_vectors(reply)) == 1, "one vector for one list of tokens", reply)


async def _usage(probe: Probe) -> None:
    reply = await _embed(probe)
    used, total = (count(reply.value(), "usage", name) for name in ("prompt_tokens", "total_tokens"))
    expect(0 < used == total, "positive prompt_tokens equal to total_tokens", reply)


_REPLY = "CreateEmbeddingResponse"
CHECKS: Final = (
    Check("embeddings-reply", "embeddings", "A response is exact", _REPLY, _exact),
    Check("embeddings-one", "embeddings", "One text gets one vector", "as-many-as-asked", _one),
    Check("embeddings-many", "embeddings", "Three texts get three, in order", "as-many-as-asked", _many),
    Check("embeddings-default", "embeddings", "Vectors are numbers by default", "encoding-as-asked", _default),
    Check("embeddings-float", "embeddings", "They are numbers when requested", "encoding-as-asked", _float),
    Check("embeddings-base64", "embeddings", "They are base64 when requested", "encoding-as-asked", _base64),
    Check("embeddings-same", "embeddings", "Both encodings give the same vector", "encoding-as-asked", _same),
    Check("embeddings-sound", "embeddings", "Vectors have one length and finite numbers", "vectors-sound", _sound),
    Check("embeddings-distinct", "embeddings", "Different texts get different vectors", "vectors-sound", _distinct),
    Check("embeddings-order", "embeddings", "Vectors are in the order of their texts", "vectors-sound", _order),
    Check("embeddings-dimensions", "embeddings", "dimensions is honoured", "encoding-as-asked", _dimensions),
    Check("embeddings-tokens", "embeddings", "Tokens are accepted instead of text", "as-many-as-asked", _tokens),
    Check("embeddings-usage", "embeddings", "The usage adds up", "usage-adds-up", _usage),
)
