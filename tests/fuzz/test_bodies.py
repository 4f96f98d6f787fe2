"""The reader of request bodies on any bytes in any pieces: a value that every parser agrees on, or a plain refusal."""

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from starlette.types import Message

from ai_gateway.contract.body import BodyLimits, parse_json, read_bytes, validate
from ai_gateway.contract.budget import Allocation
from ai_gateway.errors import GatewayError, InvalidRequest, PayloadTooLarge
from gateway_contract.openai import models
from tests.fuzz.examples import BOUNDED

pytestmark = pytest.mark.slow

LIMITS = BodyLimits(500, 5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=True)
    | st.text(st.characters(), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
JSON = VALUES.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
SPOILT = st.tuples(JSON, st.integers(0, 60), st.binary(max_size=4)).map(
    lambda it: it[0][: it[1]] + it[2] + it[0][it[1] :]
)
BYTES = JSON | SPOILT | st.binary(max_size=120) | st.text('{}[]",:0123456789.eE+-\\u tfn', max_size=40).map(str.encode)


def refused[Result](step: Callable[[], Result]) -> tuple[GatewayError | None, Result | None]:
    """The error of ours that the step raises, or what it returns; no other error may come."""
    try:
        return None, step()
    except GatewayError as error:
        return error, None


async def read(pieces: list[bytes]) -> bytes:
    waiting = [*pieces, b""]

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    return await read_bytes({"content-type": "application/json"}, receive, LIMITS, Allocation(LIMITS.budget))


@BOUNDED
@given(pieces=st.lists(st.binary(max_size=200), max_size=8))
def test_any_pieces_are_one_body_or_too_much(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    refusal, body = refused(lambda: asyncio.run(read(pieces)))
    assert isinstance(refusal, PayloadTooLarge) is (len(whole) > LIMITS.max_bytes)
    assert refusal is not None or body == whole


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        return type(left) is type(right) and (left == right or math.isclose(left, right, rel_tol=1e-15))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@BOUNDED
@given(raw=BYTES)
def test_what_is_taken_is_what_the_standard_library_reads_and_the_rest_is_refused(raw: bytes) -> None:
    refusal, value = refused(lambda: parse_json(raw))
    if refusal is not None:
        assert isinstance(refusal, InvalidRequest)
        assert len(refusal.message) < 200
        return
    assert finite(value)
    json.dumps(value, ensure_ascii=False).encode()  # no surrogate is left
    assert same(value, json.loads(raw))


@BOUNDED
@given(value=VALUES, at=st.sampled_from(["model", "messages", "tools", "metadata", "stop", "x-own"]))
def test_any_value_in_any_field_is_taken_or_blamed_and_never_fails(value: Any, at: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], at: value}
    refusal, _ = refused(lambda: validate(models.CreateChatCompletionRequest, body))
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.param is None or refusal.param.startswith(at)
