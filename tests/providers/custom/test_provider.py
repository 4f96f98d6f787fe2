"""Models, faults, fairness, and the promises of the documentation."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ai_gateway import errors
from ai_gateway.providers.base import Provider
from ai_gateway.providers.custom import CustomProvider, chat, faults, prompt, text, vectors
from ai_gateway.providers.custom.provider import MODELS
from tests.providers.custom.asking import (
    CALL,
    Json,
    chat as ask,
    chat_request,
    completion,
    completion_request,
    embeddings,
    exactly,
    joined,
    provider,
    streamed_chat,
    streamed_completion,
)

GUIDE = (Path(__file__).parents[3] / "docs" / "custom-provider.md").read_text()
IMMEDIATE = sorted(model for model, fault in faults.FAULTS.items() if fault.failure and not fault.chunks)
TOLD_LATE = {"fault-midstream-429": 429, "fault-midstream-context": 400, "fault-midstream-overloaded": 503}
IN_STREAM = sorted(model for model, fault in faults.FAULTS.items() if fault.chunks)


def test_it_is_a_provider_named_custom_unless_told_otherwise() -> None:
    assert isinstance(provider, Provider)
    assert provider.name == "custom"
    assert CustomProvider("double").name == "double"


async def test_a_handful_of_plain_models_is_listed_and_each_can_be_retrieved() -> None:
    listed = exactly(await provider.list_models(CALL))
    assert [model["id"] for model in listed["data"]] == list(MODELS)
    for model in listed["data"]:
        assert re.fullmatch(r"[a-z-]+", model["id"])
        assert exactly(await provider.retrieve_model(CALL, model["id"])) == model


@pytest.mark.parametrize("model", sorted(faults.FAULTS.keys() - {faults.NOT_FOUND}))
async def test_a_fault_model_can_be_retrieved_although_it_is_not_listed(model: str) -> None:
    assert exactly(await provider.retrieve_model(CALL, model))["id"] == model


@pytest.mark.parametrize("model", ["gpt-4o", "a/b", "hf.co/a/b:q4", "custom-chat ", "ünï"])
async def test_a_model_that_is_neither_listed_nor_a_fault_is_not_retrieved(model: str) -> None:
    with pytest.raises(errors.ModelNotFound, match="custom-chat"):
        await provider.retrieve_model(CALL, model)


@pytest.mark.parametrize("model", ["fault-model-not-found", "fault-xyz", "fault-"])
async def test_a_model_that_is_not_there_is_not_found(model: str) -> None:
    with pytest.raises(errors.ModelNotFound):
        await provider.retrieve_model(CALL, model)
    with pytest.raises(errors.ModelNotFound):
        await ask(model=model)


async def test_an_unknown_fault_names_the_known_ones_and_does_not_echo() -> None:
    with pytest.raises(errors.ModelNotFound) as caught:
        await ask(model="fault-xyz")
    assert all(model in caught.value.message for model in faults.FAULTS)
    assert "xyz" not in caught.value.message


STATUSES = {
    "fault-400": 400,
    "fault-401": 502,
    "fault-404": 404,
    "fault-409": 409,
    "fault-413": 413,
    "fault-422": 422,
    "fault-429": 429,
    "fault-500": 502,
    "fault-503": 503,
    "fault-context": 400,
    "fault-invalid": 502,
    "fault-model-not-found": 404,
    "fault-overloaded": 503,
    "fault-quota": 429,
    "fault-timeout": 504,
    "fault-unreachable": 502,
}


def test_every_immediate_fault_has_its_status_here() -> None:
    assert sorted(STATUSES) == IMMEDIATE


@pytest.mark.parametrize("model", IMMEDIATE)
async def test_a_fault_strikes_every_operation_before_anything_is_sent(model: str) -> None:
    for operation in (ask, streamed_chat, completion, streamed_completion, embeddings):
        with pytest.raises(errors.GatewayError) as caught:
            await operation(model=model)
        assert caught.value.status == STATUSES[model]


async def test_a_rate_limit_says_when_to_come_back() -> None:
    with pytest.raises(errors.UpstreamRefused) as caught:
        await ask(model="fault-429")
    assert caught.value.headers["retry-after"] == "1"
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")


async def told_before_failing(stream: AsyncGenerator[Any]) -> tuple[list[Json], errors.UpstreamError]:
    chunks: list[Json] = []
    try:
        async for chunk in stream:
            chunks.append(exactly(chunk))  # noqa: PERF401 - what came before the failure counts
    except errors.UpstreamError as error:
        return chunks, error
    raise AssertionError("the stream ended well")


@pytest.mark.parametrize("model", IN_STREAM)
async def test_a_broken_stream_begins_well_and_never_ends(model: str) -> None:
    for stream in (
        provider.stream_chat_completion(CALL, chat_request(model=model)),
        provider.stream_completion(CALL, completion_request(model=model)),
    ):
        chunks, error = await told_before_failing(stream)
        assert len(chunks) == 3
        assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
        assert isinstance(error, errors.UpstreamStreamTruncated) is (model == "fault-truncate")


@pytest.mark.parametrize("model", IN_STREAM)
async def test_a_broken_stream_has_a_status_without_a_stream(model: str) -> None:
    for operation in (ask, completion, embeddings):
        with pytest.raises(errors.UpstreamError) as caught:
            await operation(model=model)
        assert caught.value.status == TOLD_LATE.get(model, 502)


async def test_a_broken_stream_never_tells_its_last_chunk_however_short() -> None:
    stream = provider.stream_chat_completion(CALL, chat_request(model="fault-truncate", max_tokens=0))
    assert exactly(await anext(stream))["choices"][0]["finish_reason"] is None
    with pytest.raises(errors.UpstreamStreamTruncated):
        await anext(stream)


async def test_the_empty_fault_says_nothing_and_stops() -> None:
    reply: Any = await ask(model="fault-empty", tools=[], response_format={"type": "json_object"})
    assert reply["choices"][0]["message"]["content"] == ""
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] == 0
    assert joined(await streamed_chat(model="fault-empty")) == ""
    assert (await completion(model="fault-empty"))["choices"][0]["text"] == ""


@pytest.mark.slow
async def test_the_slow_fault_waits_before_the_first_chunk_and_between_chunks() -> None:
    started = time.monotonic()
    times = [
        time.monotonic() - started
        async for _ in provider.stream_chat_completion(CALL, chat_request(model="fault-slow"))
    ]
    assert times[0] > 1.4
    assert all(later - earlier > 0.01 for earlier, later in pairwise(times[:10]))


@pytest.mark.slow
async def test_the_slow_fault_delays_other_replies_too() -> None:
    started = time.monotonic()
    await asyncio.gather(ask(model="fault-slow"), completion(model="fault-slow"), embeddings(model="fault-slow"))
    assert time.monotonic() - started > 1.4


async def test_streams_take_turns() -> None:
    finished: list[int] = []

    async def drained(number: int) -> None:
        async for _ in provider.stream_chat_completion(CALL, chat_request(n=5 if number == 0 else 1)):
            pass
        finished.append(number)

    await asyncio.gather(*(drained(number) for number in range(10)))
    assert finished[-1] == 0


async def test_a_stream_can_be_left_in_the_middle() -> None:
    stream = provider.stream_chat_completion(CALL, chat_request())
    await anext(stream)
    await stream.aclose()
    assert [chunk async for chunk in stream] == []


async def test_audio_is_refused_before_a_stream_begins() -> None:
    stream = provider.stream_chat_completion(CALL, chat_request(modalities=["audio"]))
    with pytest.raises(errors.UnsupportedValue):
        await anext(stream)


def test_an_answer_is_a_function_of_its_request_but_for_the_time() -> None:
    one, two = chat.answer(chat_request()), chat.answer(chat_request())
    assert (one.id, one.choices, one.usage) == (two.id, two.choices, two.usage)


PRINTED = """
import asyncio
from tests.providers.custom.asking import WEATHER, chat, embeddings
async def main():
    reply = await chat(tools=[WEATHER], tool_choice="required", n=3)
    print({**reply, "created": 0}, await embeddings(input="one two three one two", dimensions=9))
asyncio.run(main())
"""


@pytest.mark.slow
def test_every_process_gives_the_same_reply() -> None:
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join([root, *sys.path])
    reported = {
        subprocess.run(
            [sys.executable, "-c", PRINTED],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(reported) == 1


def test_the_guide_names_every_fault_model_and_every_figure() -> None:
    for model in (*faults.FAULTS, *MODELS):
        assert f"`{model}`" in GUIDE
    for figure in (prompt.MESSAGE_TOKENS, prompt.PART_TOKENS, vectors.DIMENSIONS, vectors.MAX_NUMBERS):
        assert re.search(rf"\b{figure}\b|\b{figure:,}\b", GUIDE)


def test_the_guides_example_of_the_estimate_is_true() -> None:
    example = re.search(r"`(.+?)` is (\d+) tokens", GUIDE)
    assert example is not None
    assert text.count(example[1]) == int(example[2])


def test_the_guides_fault_table_has_the_right_statuses() -> None:
    rows = dict(re.findall(r"^\| `(fault-[a-z0-9-]+)` \| (\d{3}) ", GUIDE, re.MULTILINE))
    assert {model: int(status) for model, status in rows.items() if model in STATUSES} == STATUSES
