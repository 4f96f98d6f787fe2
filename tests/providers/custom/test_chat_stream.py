"""A streamed chat is the same answer, told in the order clients rely on."""

import json
from typing import Any

import pytest

from tests.providers.custom.asking import CLOCK, NOTE, WEATHER, Json, chat, joined, streamed_chat

BOTH = [{"role": "user", "content": "get_weather and get_time"}]


def parts_of(chunks: list[Json], choice: int = 0) -> list[Json]:
    return [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n": 3},
        {"max_tokens": 5},
        {"stop": "gateway"},
        {"logprobs": True, "top_logprobs": 2},
        {"seed": 3, "service_tier": "auto"},
        {"response_format": {"type": "json_object"}},
    ],
)
async def test_the_chunks_add_up_to_the_reply(options: Json) -> None:
    reply, chunks = await chat(**options), await streamed_chat(**options)
    for index, choice in enumerate(reply["choices"]):
        assert joined(chunks, index) == choice["message"]["content"]
        assert parts_of(chunks, index)[-1]["finish_reason"] == choice["finish_reason"]
    assert {(chunk["id"], chunk["model"], chunk["system_fingerprint"]) for chunk in chunks} == {
        (reply["id"], reply["model"], reply["system_fingerprint"])
    }
    assert len({chunk["created"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.get("service_tier") for chunk in chunks} == {reply.get("service_tier")}


async def test_a_stream_begins_with_the_role_and_ends_with_the_reason_alone() -> None:
    first, *middle, last = parts_of(await streamed_chat())
    assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(list(part["delta"]) == ["content"] and part["finish_reason"] is None for part in middle)
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")


async def test_even_three_words_make_more_than_three_chunks() -> None:
    assert len(await streamed_chat(max_tokens=3)) == 5


async def test_an_empty_answer_still_begins_and_ends() -> None:
    first, last = parts_of(await streamed_chat(max_tokens=0))
    assert (first["finish_reason"], last["finish_reason"]) == (None, "length")


async def test_choices_are_told_side_by_side() -> None:
    indices = [chunk["choices"][0]["index"] for chunk in await streamed_chat(n=3)]
    assert indices[:6] == [0, 1, 2, 0, 1, 2]


async def test_usage_is_null_until_the_last_chunk_when_asked_for() -> None:
    *chunks, last = await streamed_chat(stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == (await chat())["usage"]


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_obfuscation": True}])
async def test_usage_is_absent_when_not_asked_for(options: Any) -> None:
    assert not any("usage" in chunk for chunk in await streamed_chat(stream_options=options))


async def test_stream_options_without_a_stream_and_streaming_itself_change_nothing() -> None:
    plain, asked = await chat(), await chat(stream_options={"include_usage": True})
    assert {**plain, "created": 0} == {**asked, "created": 0}


async def test_every_token_brings_its_logprobs() -> None:
    chunks = await streamed_chat(logprobs=True, top_logprobs=2)
    reply = await chat(logprobs=True, top_logprobs=2)
    reported = [part["logprobs"]["content"] for part in parts_of(chunks) if part["logprobs"]]
    assert [one for content in reported for one in content] == reply["choices"][0]["logprobs"]["content"]
    assert {len(content) for content in reported} == {1}


async def test_tool_calls_are_opened_one_by_one_and_filled_bit_by_bit() -> None:
    options: Json = {"messages": BOTH, "tools": [WEATHER, CLOCK]}
    reply, parts = await chat(**options), parts_of(await streamed_chat(**options))
    first = parts[0]["delta"]
    assert (first["role"], first["content"]) == ("assistant", None)
    items = [item for part in parts for item in part["delta"].get("tool_calls", [])]
    assert len(items) > 4
    for index, call in enumerate(reply["choices"][0]["message"]["tool_calls"]):
        opened, *bits = [item for item in items if item["index"] == index]
        assert opened == {
            "index": index,
            "id": call["id"],
            "type": "function",
            "function": {"name": call["function"]["name"], "arguments": ""},
        }
        assert all(set(bit) == {"index", "function"} for bit in bits)
        arguments = "".join(bit["function"]["arguments"] for bit in bits)
        assert json.loads(arguments) == json.loads(call["function"]["arguments"])
    assert (parts[-1]["delta"], parts[-1]["finish_reason"]) == ({}, "tool_calls")


async def test_a_custom_tool_call_is_told_in_its_own_field_without_a_type() -> None:
    options: Json = {"tools": [NOTE], "tool_choice": "required"}
    (call,) = (await chat(**options))["choices"][0]["message"]["tool_calls"]
    parts = parts_of(await streamed_chat(**options))
    opened, *bits = [item for part in parts for item in part["delta"].get("tool_calls", [])]
    assert opened == {"index": 0, "id": call["id"], "custom": {"name": "take_note", "input": ""}}
    assert "".join(bit["custom"]["input"] for bit in bits) == call["custom"]["input"]


async def test_an_older_function_call_is_told_bit_by_bit() -> None:
    options: Json = {"functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}}
    call = (await chat(**options))["choices"][0]["message"]["function_call"]
    first, *middle, last = parts_of(await streamed_chat(**options))
    assert first["delta"]["function_call"] == {"name": "get_weather", "arguments": ""}
    assert "".join(part["delta"]["function_call"]["arguments"] for part in middle) == call["arguments"]
    assert last["finish_reason"] == "function_call"
