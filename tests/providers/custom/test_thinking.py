"""What the built-in provider does for callers of other wires: thoughts, counts of a cache, and every way to end."""

from typing import Any

import pytest

from tests.providers.custom.asking import HELLO, WEATHER, Json, chat, streamed_chat

MARKED = [{"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]}]


def said(chunks: list[Json], name: str) -> list[Any]:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return [delta[name] for delta in deltas if delta.get(name)]


@pytest.mark.parametrize("tools", [[], [WEATHER]])
async def test_an_effort_is_answered_with_a_thought_that_is_signed(tools: list[Json]) -> None:
    asked: Json = (
        {"reasoning_effort": "low", "tools": tools, "tool_choice": "required"} if tools else {"reasoning_effort": "low"}
    )
    reply, chunks = await chat(**asked), await streamed_chat(**asked)
    message = reply["choices"][0]["message"]
    (block,) = message["thinking_blocks"]
    assert block["thinking"] == message["reasoning_content"] == "".join(said(chunks, "reasoning_content"))
    assert block["signature"]
    assert said(chunks, "thinking_blocks") == [[block]]
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert [choice["delta"].get("role") for chunk in chunks for choice in chunk["choices"]].count("assistant") == 1


@pytest.mark.parametrize("effort", [None, "none"])
async def test_without_an_effort_nothing_is_thought(effort: str | None) -> None:
    reply = await chat(reasoning_effort=effort)
    assert "reasoning_content" not in reply["choices"][0]["message"]
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


async def test_a_mark_writes_to_the_cache_and_the_next_turn_reads_it() -> None:
    first = (await chat(messages=MARKED))["usage"]
    written = first["prompt_tokens_details"]["cache_write_tokens"]
    assert (written, first["prompt_tokens_details"]["cached_tokens"]) == (first["prompt_tokens"], 0)
    again = (await chat(messages=[*MARKED, {"role": "assistant", "content": "Hi."}, *MARKED]))["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] == written
    assert "cache_write_tokens" not in (await chat(messages=HELLO))["usage"]["prompt_tokens_details"]


@pytest.mark.parametrize(
    ("model", "finish"),
    [("fault-length", "length"), ("fault-content-filter", "content_filter"), ("fault-refusal", "stop")],
)
async def test_every_end_can_be_had(model: str, finish: str) -> None:
    asked: Json = {"model": model, "tools": [WEATHER], "tool_choice": "required"}
    reply, chunks = await chat(**asked), await streamed_chat(**asked)
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == chunks[-1]["choices"][0]["finish_reason"] == finish
    name = "refusal" if model == "fault-refusal" else "content"
    assert choice["message"][name] == "".join(said(chunks, name))


async def test_the_stop_string_that_ended_an_answer_is_told() -> None:
    reply, chunks = await chat(stop=["nowhere", "gateway"]), await streamed_chat(stop=["nowhere", "gateway"])
    assert reply["choices"][0]["stop_reason"] == chunks[-1]["choices"][0]["stop_reason"] == "gateway"
    assert "stop_reason" not in (await chat())["choices"][0]
