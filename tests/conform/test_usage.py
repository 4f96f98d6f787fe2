"""Counts of tokens, class by class, from whatever form an upstream gives them."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.stream import conform_stream
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.conform.usage import ImpossibleCount, tokens_of
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.stream import Item
from ai_gateway.contract.tokens import Tokens
from ai_gateway.contract.write import to_fields
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai import models


def counted(prompt: int, completion: int, total: int | None = None, **more: Any) -> Tokens:
    total = prompt + completion if total is None else total
    fields = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}
    return tokens_of(models.CompletionUsage.model_validate(fields))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, Tokens(100, 10)),
        ({"prompt_tokens_details": {}, "completion_tokens_details": {}}, Tokens(100, 10)),
        ({"prompt_tokens_details": {"cached_tokens": 100}}, Tokens(0, 10, cache_read=100)),
        ({"prompt_tokens_details": {"text_tokens": 100}}, Tokens(100, 10)),
        ({"prompt_tokens_details": {"image_tokens": 40, "text_tokens": 60}}, Tokens(60, 10, input_image=40)),
        ({"completion_tokens_details": {"image_tokens": 7}}, Tokens(100, 3, output_image=7)),
        ({"completion_tokens_details": {"reasoning_tokens": 10}}, Tokens(100, 0, reasoning=10)),
        ({"total": 130}, Tokens(100, 10, reasoning=20)),
        ({"total": 105}, Tokens(100, 10)),
        # Beside the contract's names: Moonshot and Together, DeepSeek, and proxies of Anthropic's API.
        ({"cached_tokens": 30}, Tokens(70, 10, cache_read=30)),
        ({"prompt_cache_hit_tokens": 30, "prompt_cache_miss_tokens": 70}, Tokens(70, 10, cache_read=30)),
        ({"cache_read_input_tokens": 30}, Tokens(70, 10, cache_read=30)),
        ({"cache_creation_input_tokens": 30}, Tokens(70, 10, cache_write=30)),
        ({"prompt_tokens_details": {"cache_creation_tokens": 30}}, Tokens(70, 10, cache_write=30)),
        ({"prompt_tokens_details": {"cached_tokens": 30}, "cached_tokens": 50}, Tokens(70, 10, cache_read=30)),
        # An hour in the cache is a part of what was written.
        (
            {"cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_1h_input_tokens": 20}},
            Tokens(70, 10, cache_write=10, cache_write_1h=20),
        ),
        (
            {"cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_1h_input_tokens": 50}},
            Tokens(70, 10, cache_write_1h=30),
        ),
        # What is more than the whole was counted beside it.
        ({"cache_read_input_tokens": 101}, Tokens(100, 10, cache_read=101)),
        (
            {"cache_read_input_tokens": 5, "cache_creation_input_tokens": 300},
            Tokens(100, 10, cache_read=5, cache_write=300),
        ),
        # Audio that came from the cache is audio.
        (
            {"prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 80}},
            Tokens(0, 10, cache_read=20, input_audio=80),
        ),
        # Searches, in Anthropic's and OpenRouter's words, and in Perplexity's.
        ({"server_tool_use": {"web_search_requests": 2}}, Tokens(100, 10, searches=2)),
        ({"num_search_queries": 4}, Tokens(100, 10, searches=4)),
        ({"server_tool_use": {"web_search_requests": -2}}, Tokens(100, 10)),
        ({"server_tool_use": [1], "num_search_queries": "4"}, Tokens(100, 10)),
        # What is no count counts nothing.
        ({"cached_tokens": -5}, Tokens(100, 10)),
        ({"cached_tokens": "5"}, Tokens(100, 10)),
        ({"cached_tokens": True}, Tokens(100, 10)),
        ({"cached_tokens": 2**60}, Tokens(100, 10)),
        ({"cache_creation": 7, "cache_creation_input_tokens": None}, Tokens(100, 10)),
        ({"prompt_tokens_details": {"cache_creation_tokens": [3]}}, Tokens(100, 10)),
    ],
)  # fmt: skip
def test_every_form_of_usage_is_divided_by_class(more: dict[str, Any], expected: Tokens) -> None:
    assert counted(100, 10, **more) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": -1},
        {"completion": -1},
        {"total": -1},
        {"prompt": 2**53},
        {"total": 2**53},
        {"prompt_tokens_details": {"cached_tokens": -1}},
        {"completion_tokens_details": {"reasoning_tokens": 2**53}},
    ],
)
def test_counts_that_cannot_be_any_are_none(fields: dict[str, Any]) -> None:
    with pytest.raises(ImpossibleCount):
        counted(**{"prompt": 1, "completion": 1, **fields})


@pytest.mark.parametrize("prompt", [-1, 2**53])
def test_those_of_embeddings_too(prompt: int) -> None:
    with pytest.raises(ImpossibleCount):
        tokens_of(models.CreateEmbeddingResponseUsage(prompt_tokens=prompt, total_tokens=1))


def some(*names: str) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, st.integers(0, 200)))


@given(
    st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 600)),
    some("cached_tokens", "audio_tokens", "image_tokens", "cache_write_tokens"),
    some("reasoning_tokens", "audio_tokens", "image_tokens"),
    some("cached_tokens", "cache_creation_input_tokens"),
)
def test_no_token_that_was_counted_is_lost_and_none_is_negative(
    whole: tuple[int, int, int], read: dict[str, int], made: dict[str, int], more: dict[str, int]
) -> None:
    prompt, completion, total = whole
    tokens = counted(*whole, prompt_tokens_details=read, completion_tokens_details=made, **more)
    assert min(tokens) >= 0
    assert tokens.whole_input >= prompt
    assert tokens.whole_output >= max(completion, total - prompt)


class Broke(Exception):
    """An upstream's connection."""


def noted(*usages: dict[str, Any] | None, leave: bool = False) -> Notes:
    """What is noted of a stream whose chunks say this, and which breaks behind them or loses its client before."""
    attempt = Attempt(Call("createChatCompletion", "r"))
    conformer = Conformer(Provider("lab", SAME_WIRE), attempt, "m")
    state = StreamState[models.CreateChatCompletionStreamResponse](1, include_usage=True, report=conformer.report)

    async def upstream() -> AsyncGenerator[dict[str, object]]:
        for usage in usages:
            choice = {"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None}
            more = {"usage": usage, "service_tier": "flex"}
            yield {
                "id": "a",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [choice],
                **more,
            }
        raise Broke

    async def drive() -> None:
        stream = conform_stream(upstream(), models.CreateChatCompletionStreamResponse, state, conformer)
        async with aclosing(stream) as items:
            async for _ in items:
                if leave and state.usage is not None:
                    return

    with suppress(Broke):
        anyio.run(drive)
    return attempt.notes


COUNTS = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}


def test_what_a_stream_has_counted_is_kept_if_it_breaks_or_its_client_leaves() -> None:
    growing = [{**COUNTS, "completion_tokens": made, "total_tokens": 5 + made} for made in (1, 2, 3)]
    assert (noted(*growing).tokens, noted(*growing).service_tier) == (Tokens(5, 3), "flex")
    assert noted(*growing, None).tokens == Tokens(5, 3)
    assert noted(*growing, leave=True).tokens == Tokens(5, 1)
    assert noted(None, None).tokens is None


def test_counts_that_cannot_be_any_are_not_noted() -> None:
    assert noted({**COUNTS, "prompt_tokens": -5}).tokens is None
    assert noted(COUNTS, {**COUNTS, "prompt_tokens": -5}).tokens == Tokens(5, 1)


def groq_stream(*said: dict[str, Any], include_usage: bool) -> tuple[Notes, list[dict[str, Any]]]:
    """What is noted and sent of a stream of Groq's form: a text, an end, and these further fields in its chunks."""
    attempt = Attempt(Call("createChatCompletion", "r"))
    conformer = Conformer(Provider("groq", SAME_WIRE), attempt, "m")
    state = StreamState[models.CreateChatCompletionStreamResponse](
        1, include_usage=include_usage, report=conformer.report
    )
    head = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    text = {"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}

    async def upstream() -> AsyncGenerator[bytes]:
        yield json.dumps({**head, "choices": [text], "x_groq": {"id": "req_1"}}).encode()
        for at, more in enumerate(said):
            yield json.dumps({**head, "choices": [] if at else [end], **more}).encode()
        yield b"[DONE]"

    async def drive() -> list[dict[str, Any]]:
        stream = conform_stream(upstream(), models.CreateChatCompletionStreamResponse, state, conformer)
        return [to_fields(item.model) async for item in stream if isinstance(item, Item)]

    return attempt.notes, anyio.run(drive)


BESIDE = {"x_groq": {"id": "req_1", "usage": {"queue_time": 0.1, **COUNTS, "total_time": 0.2}}}


def test_the_usage_that_groq_sends_in_a_field_of_its_own_is_counted_and_told_who_asked_for_it() -> None:
    notes, sent = groq_stream(BESIDE, include_usage=True)
    assert notes.tokens == Tokens(5, 1)
    assert notes.repairs == {"move-usage"}
    assert (sent[-1]["choices"], sent[-1]["usage"]["total_tokens"]) == ([], 6)
    assert sent[-2]["x_groq"] == BESIDE["x_groq"]
    notes, sent = groq_stream(BESIDE, include_usage=False)
    assert (notes.tokens, notes.repairs) == (Tokens(5, 1), set())
    assert not any("usage" in chunk for chunk in sent)


def test_a_usage_in_its_own_place_counts_before_one_beside_it() -> None:
    own = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
    for said in ([BESIDE, {"usage": own}], [{"usage": own}, BESIDE], [{**BESIDE, "usage": own}]):
        notes, sent = groq_stream(*said, include_usage=True)
        assert notes.tokens == Tokens(50, 10)
        assert [chunk["usage"]["total_tokens"] for chunk in sent if chunk.get("usage")] == [60]


@pytest.mark.parametrize(
    "beside",
    [
        5,
        None,
        {},
        {"usage": None},
        {"usage": []},
        {"usage": {"prompt_tokens": 1}},
        {"usage": {**COUNTS, "total_tokens": -6}},
    ],
)
def test_what_beside_the_usage_is_no_count_counts_nothing(beside: object) -> None:
    notes, sent = groq_stream({"x_groq": beside}, include_usage=True)
    assert notes.tokens is None
    assert not any(chunk.get("usage") for chunk in sent)
