"""Reading a request body strictly."""

import asyncio
import json
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from typing import Annotated

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, StringConstraints, ValidationError, create_model
from starlette.types import Message

from ai_gateway.contract.body import BodyLimits, parse_json, read_bytes, validate
from ai_gateway.contract.budget import Allocation, ByteBudget
from ai_gateway.contract.disconnect import ClientDisconnected
from ai_gateway.contract.types import ClosedModel
from ai_gateway.errors import (
    InvalidRequest,
    MissingParameter,
    Overloaded,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from gateway_contract.openai import models

LIMITS = BodyLimits(max_bytes=64, timeout_s=0.2)
JSON = {"content-type": "application/json"}


class Sent:
    """What a client sends, message by message, and then nothing more."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    async def __call__(self) -> Message:
        if not self._messages:
            await asyncio.sleep(60)
        return self._messages.pop(0)


def parts(*bodies: bytes) -> Sent:
    last = len(bodies) - 1
    return Sent(*({"type": "http.request", "body": body, "more_body": i < last} for i, body in enumerate(bodies)))


@pytest.mark.anyio
async def test_a_body_in_parts_is_put_together() -> None:
    assert await read_bytes(JSON, parts(b'{"a"', b":1", b"}"), LIMITS, Allocation(LIMITS.budget)) == b'{"a":1}'


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "Application/JSON; charset=UTF-8"},
        {"content-type": "application/vnd.api+json"},
        {"content-type": "application/json", "content-encoding": "identity"},
        {"content-type": 'application/json; charset="utf-8"'},
    ],
)
async def test_json_by_any_honest_name_is_taken(headers: dict[str, str]) -> None:
    assert await read_bytes(headers, parts(b"{}"), LIMITS, Allocation(LIMITS.budget)) == b"{}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_anything_else_is_415_before_a_byte_is_read(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read_bytes(headers, Sent(), LIMITS, Allocation(LIMITS.budget))


@pytest.mark.anyio
async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        await read_bytes({**JSON, "content-length": "65"}, Sent(), LIMITS, Allocation(LIMITS.budget))
    assert caught.value.headers["connection"] == "close"


@pytest.mark.anyio
async def test_a_body_that_grows_too_large_is_cut() -> None:
    with pytest.raises(PayloadTooLarge):
        await read_bytes(JSON, parts(b"x" * 40, b"x" * 40, b"x"), LIMITS, Allocation(LIMITS.budget))


@pytest.mark.anyio
async def test_a_body_that_stalls_is_given_up() -> None:
    with pytest.raises(RequestTimeout):
        await read_bytes(
            JSON, Sent({"type": "http.request", "body": b"{", "more_body": True}), LIMITS, Allocation(LIMITS.budget)
        )


@pytest.mark.anyio
async def test_a_client_that_leaves_is_not_answered() -> None:
    with pytest.raises(ClientDisconnected):
        await read_bytes(JSON, Sent({"type": "http.disconnect"}), LIMITS, Allocation(LIMITS.budget))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"  \n", b"{", b"nope", b'{"a":1} x', b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":Infinity}',
        b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":[{"b":-1E+0400}]}', b'{"a":"\\ud800"}', b'{"a":"\xff"}',
        b"[" * 100_000, b'{"a":' + b"9" * 5_000 + b"}", b'{"a":' + b"9" * 400 + b".5}",
        '{"a":1}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_not_plain_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_json(raw)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":"1e999"}', {"a": "1e999"}),
        (b'{"a":1e-999}', {"a": 0.0}),
        (b'{"a":1e300}', {"a": 1e300}),
        (b'{"a":18446744073709551616}', {"a": 2**64}),
        ('{"a":"\U0001f600"}'.encode(), {"a": "\U0001f600"}),
    ],
)
def test_what_is_odd_but_json_is_read(raw: bytes, value: object) -> None:
    assert parse_json(raw) == value


def message(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "nobody"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [message("x"), message(5)]}, "messages[1].content", "invalid_type"),
        (
            {"messages": [message([{"type": "text", "text": "a"}, {"type": "text", "text": 1}])]},
            "messages[0].content[1].text",
            "invalid_type",
        ),
        ({"messages": [message([{"type": "video"}])]}, "messages[0].content[0].type", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"n": 0}, "n", "invalid_value"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
        (
            {"tools": [{"type": "function", "function": {}}]},
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.function", "missing_required_parameter"),
        ({"tool_choice": {"type": "function", "function": {"name": 5}}}, "tool_choice.function.name", "invalid_type"),
        *[
            (
                {"messages": [message("x"), {"role": "assistant", "tool_calls": [call]}]},
                f"messages[1].tool_calls[0].{at}",
                code,
            )
            for call, at, code in (
                (
                    {"type": "function", "function": {"name": "f", "arguments": "{}"}},
                    "id",
                    "missing_required_parameter",
                ),
                ({"id": 5, "type": "function", "function": {"name": "f", "arguments": "{}"}}, "id", "invalid_type"),
                (
                    {"id": "a", "type": "function", "function": {"arguments": "{}"}},
                    "function.name",
                    "missing_required_parameter",
                ),
                (
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}},
                    "function.arguments",
                    "invalid_type",
                ),
                ({"id": "a", "type": "function"}, "function", "missing_required_parameter"),
                ({"type": "custom", "custom": {"name": "f", "input": "x"}}, "id", "missing_required_parameter"),
                ({"id": "a", "type": "custom", "custom": {"name": "f"}}, "custom.input", "missing_required_parameter"),
            )
        ],
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type", "missing_required_parameter"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        ({"logit_bias": {"50256": 1.5}}, "logit_bias.50256", "invalid_type"),
        ({"metadata": {"a": "\x00"}}, "metadata.a", "invalid_value"),
    ],
)
def test_the_field_to_blame_is_named(change: dict[str, object], param: str, code: str) -> None:
    body = {"model": "m", "messages": [message("x")], **change}
    with pytest.raises(InvalidRequest) as caught:
        validate(models.CreateChatCompletionRequest, body)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("given", "param", "expected"),
    [
        (["a"] * 2049, "input", "a string or an array of at most 2048"),
        ([1] * 2049, "input", "a string or an array of at most 2048"),
        ([[1]] * 2049, "input", "a string or an array of at most 2048"),
        (["a", "b", 5], "input[2]", "a string"),
        ([1, 2, "a"], "input[2]", "an integer"),
        ([[1], [2], "a"], "input[2]", "an array"),
        ([[1], [2, "a"]], "input[1][1]", "an integer"),
        ([], "input", "a string or an array of at least 1"),
    ],
)
def test_of_several_kinds_of_lists_the_one_that_was_meant_is_explained(
    given: list[object], param: str, expected: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validate(models.CreateEmbeddingRequest, {"model": "m", "input": given})
    assert refused.value.param == param
    assert refused.value.message == f"Invalid value for '{param}': expected {expected}."


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"an odd\nkey": 1}, None, "Unknown parameter: one whose name is not plain. Leave it out."),
        (
            {"stream_options": {"an odd key": 1}},
            "stream_options",
            "Unknown parameter in 'stream_options': one whose name is not plain. Leave it out.",
        ),
    ],
)
def test_an_unknown_field_is_not_taken_for_the_object_that_it_is_in(
    change: dict[str, object], param: str | None, words: str
) -> None:
    class Closed(ClosedModel):
        stream_options: ClosedOptions | None = None

    with pytest.raises(InvalidRequest) as refused:
        validate(Closed, change)
    assert (refused.value.param, refused.value.message) == (param, words)


class ClosedOptions(ClosedModel):
    include_usage: bool = False


def test_every_pattern_of_the_contract_is_explained() -> None:
    contract = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))
    patterns = set(_patterns(contract))
    assert len(patterns) >= 10
    for pattern in patterns:
        model = create_model("Model", name=(Annotated[str, StringConstraints(pattern=pattern)], ...))
        with pytest.raises(InvalidRequest, match=r"expected (?!text of another form)") as refused:
            validate(model, {"name": "\0 !"})
        assert len(refused.value.message) < 160


def _patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for inner in schema.values():
            yield from _patterns(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _patterns(inner)


def test_a_missing_field_has_its_own_class() -> None:
    with pytest.raises(MissingParameter) as caught:
        validate(models.CreateChatCompletionRequest, {"model": "m"})
    assert caught.value.param == "messages"


def test_an_unknown_field_is_named_where_the_schema_is_closed() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(models.CreateEmbeddingRequest, {"model": "m", "input": "x", "extra": 1})
    assert (caught.value.param, caught.value.code) == ("extra", "unknown_parameter")


@pytest.mark.parametrize("value", [[], "text", 3, None, True])
def test_a_body_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(models.CreateChatCompletionRequest, value)
    assert caught.value.param is None


def test_many_bad_items_are_one_complaint_and_not_as_many() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": [0] * 10_000}]}
    with pytest.raises(ValidationError) as caught:
        models.CreateChatCompletionRequest.model_validate(body, strict=True)
    assert caught.value.error_count() < 10


def test_many_bad_values_of_a_map_are_one_complaint_too() -> None:
    biased = {"model": "m", "messages": [message("x")], "logit_bias": dict.fromkeys(map(str, range(5_000)), "x")}
    with pytest.raises(ValidationError) as caught:
        models.CreateChatCompletionRequest.model_validate(biased, strict=True)
    assert caught.value.error_count() < 10


def test_a_body_that_is_wrong_in_very_many_places_is_not_explained_in_all() -> None:
    class Loose(BaseModel):
        places: list[int]

    with pytest.raises(InvalidRequest, match="very many places") as caught:
        validate(Loose, {"places": ["x"] * 5_000})
    assert caught.value.param is None


CANARIES: list[dict[str, object]] = [
    {"model": ["canary-7f3a"]},
    {"messages": [{"role": "canary-7f3a", "content": "x"}]},
    {"messages": "canary-7f3a"},
    {"tool_choice": {"type": "canary-7f3a"}},
    {"reasoning_effort": "canary-7f3a"},
    {"metadata": {"canary 7f3a": 1}},
]


@pytest.mark.parametrize("change", CANARIES)
def test_what_was_sent_is_never_quoted(change: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(models.CreateChatCompletionRequest, {"model": "m", "messages": [message("x")], **change})
    assert "7f3a" not in caught.value.message + str(caught.value.param)


def test_integral_floats_are_integers_and_nulls_are_absent() -> None:
    body = validate(
        models.CreateChatCompletionRequest,
        {"model": "m", "messages": [message("x")], "max_tokens": 5.0, "tools": None, "user": None, "own": {"a": 1}},
    )
    assert body.max_tokens == 5
    assert body.tools is None
    assert body.model_dump(exclude_unset=True)["own"] == {"a": 1}


def test_numbers_that_stand_in_texts_do_not_count() -> None:
    assert parse_json(b'{"a":"' + b"9" * 400 + b'e999","b":"' + b"5e+00999" * 1_000 + b'"}')


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-400", "0e999", "123e2", "9" * 308, "1E+0000300"])
def test_numbers_that_a_float_can_hold_are_read(number: str) -> None:
    assert parse_json(f'{{"a":{number}}}'.encode())


@pytest.mark.parametrize(
    "number", ["1e309", "-1e309", "1E+00309", "0.1e310", "9" * 309 + ".0", "12345e305", "9" * 250 + "e99"]
)
def test_numbers_that_overflow_are_refused(number: str) -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        parse_json(f'{{"a":[{{"b":{number}}}]}}'.encode())


ROOMY = 32 * 2**20
# How many bytes of room there are for each of the body: for all values that it could have, or for those it has.
PLENTY, SCARCE = 1_000, 62


async def weight(body: bytes, spare: int) -> float:
    """How many times its bytes a body takes of the room; without end if it can never have so much."""
    limits = BodyLimits(max_bytes=ROOMY, timeout_s=5, budget=ByteBudget(spare * len(body)))
    allocation = Allocation(limits.budget)
    try:
        parse_json(await read_bytes(JSON, parts(body), limits, allocation), allocation)
    except PayloadTooLarge:
        return math.inf
    assert limits.budget.used == allocation.size
    return allocation.size / len(body)


@pytest.mark.anyio
@pytest.mark.parametrize("spare", [PLENTY, SCARCE])
@pytest.mark.parametrize("size", [3_000, 60_000, 600_000])
@pytest.mark.parametrize(
    "value",
    [
        b'{"role":"user","content":""},',
        b"{},",
        b"0,",
        b"[" * 190 + b"]" * 190 + b",",
        b'{"a":' * 100 + b"1" + b"}" * 100 + b",",
    ],
    ids=["messages", "objects", "numbers", "lists in lists", "objects in objects"],
)
async def test_many_values_weigh_far_more_than_their_bytes(value: bytes, size: int, spare: int) -> None:
    assert await weight(b"[" + value * (size // len(value)) + b"0]", spare) > 5


@pytest.mark.anyio
@pytest.mark.parametrize("spare", [PLENTY, SCARCE])
@pytest.mark.parametrize(
    "text",
    ["12,7,,[3],{}\n", 'he said "a, b", then \\', "\\", '"', ",", "\u00e4,"],
    ids=["table", "quotes", "backslashes", "only quotes", "only commas", "accents"],
)
async def test_what_a_text_holds_weighs_no_more_than_its_bytes(text: str, spare: int) -> None:
    messages = [{"role": "user", "content": text * 100_000}] * 3
    assert await weight(json.dumps({"model": "m", "messages": messages}).encode(), spare) < 1.02


@pytest.mark.anyio
@pytest.mark.parametrize("spare", [PLENTY, SCARCE])
@pytest.mark.parametrize(
    "piece", [b'"', b'\\"', b'"\\', b'"",', b'"a,', b"\\", b",", b"[", b"a"], ids=lambda piece: piece.decode()
)
@pytest.mark.parametrize("end", [b"", b'"}'], ids=["cut", "whole"])
async def test_weighing_takes_no_longer_than_the_bytes_do(piece: bytes, end: bytes, spare: int) -> None:
    body = b'{"a":"' + piece * (4 * 2**20 // len(piece)) + end
    started = time.process_time()
    with suppress(InvalidRequest):
        await weight(body, spare)
    assert time.process_time() - started < 20  # quadratic, it would take hours


@pytest.mark.anyio
@pytest.mark.parametrize("spare", [1, 3, 20])
async def test_values_that_there_is_no_room_for_are_refused_before_they_are_made(spare: int) -> None:
    body = b"[" + b"1," * 100_000 + b"0]"
    budget = ByteBudget(spare * len(body))
    other, allocation = Allocation(budget), Allocation(budget)
    other.charge(1)
    raw = await read_bytes(JSON, parts(body), BodyLimits(ROOMY, 5, budget=budget), allocation) if spare > 1 else body
    with pytest.raises(Overloaded):
        parse_json(raw, allocation)
    allocation.release()
    other.release()
    assert budget.used == 0
    parse_json(raw, allocation)  # alone it has all the room
    assert budget.used == budget.limit


@given(
    value=st.recursive(
        st.none() | st.integers() | st.text(st.sampled_from('a,[{"\\'), max_size=20),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=5),
        max_leaves=60,
    )
)
def test_values_that_are_not_parsed_are_counted_high_rather_than_low(value: object) -> None:
    def values(of: object, more: int = 0) -> int:
        inner = of.values() if isinstance(of, dict) else of if isinstance(of, list) else ()
        return 1 + (more if isinstance(of, dict | list) else 0) + sum(values(each, more) for each in inner)

    raw = json.dumps([value, "x" * 3_000]).encode()
    budget = ByteBudget(len(raw) * SCARCE)
    allocation = Allocation(budget)
    parse_json(raw, allocation)
    assert values([value, ""]) - 1 <= allocation.size / 64 <= 2 * values([value, ""], more=8)


@pytest.mark.parametrize("value", [b"{}", b"[]", b'{"role":"user","content":""}', b'{"a":[{}]}'])
def test_objects_and_arrays_that_can_never_fit_are_refused_before_they_are_made(value: bytes) -> None:
    raw = b"[" + b",".join([value] * 100_000) + b"]"
    allocation = Allocation(ByteBudget(8 * 2**20))
    with pytest.raises(PayloadTooLarge):
        parse_json(raw, allocation)
    assert allocation.size == 0
