"""Chat answers: what every option does, and that nothing valid is refused."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.errors import MissingParameter, UnsupportedValue
from ai_gateway.providers.custom import prompt, text
from tests.providers.custom.asking import (
    HELLO,
    NOTE,
    WEATHER,
    Json,
    chat,
    completion,
    embeddings,
    streamed_chat,
    streamed_completion,
    text_of,
)

PICTURE: Json = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
SOUND: Json = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
FILE: Json = {"type": "file", "file": {"file_id": "f"}}


def user(content: str | Sequence[Json]) -> list[Json]:
    return [{"role": "user", "content": content}]


async def test_an_answer_has_the_shape_that_clients_know() -> None:
    reply = await chat()
    assert reply["id"].startswith("chatcmpl-")
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "custom-chat"
    assert reply["system_fingerprint"]
    (choice,) = reply["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": text_of(reply), "refusal": None, "annotations": [],
    }  # fmt: skip
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert "Hello, what is a gateway?" in text_of(reply)


async def test_the_same_request_gets_the_same_answer_and_id() -> None:
    one, two = await chat(), await chat()
    assert {**one, "created": 0} == {**two, "created": 0}


async def test_the_first_answer_of_a_conversation_says_what_answers() -> None:
    assert text_of(await chat()).startswith(text.INTRODUCTION)
    again = [*HELLO, {"role": "assistant", "content": "Hi."}, *HELLO]
    assert text.INTRODUCTION not in text_of(await chat(messages=again))


@pytest.mark.parametrize("ask", [chat, completion, embeddings, streamed_chat, streamed_completion])
async def test_an_empty_model_is_refused(ask: Any) -> None:
    with pytest.raises(MissingParameter) as caught:
        await ask(model="")
    assert caught.value.param == "model"


async def test_thirty_prompts_get_thirty_answers() -> None:
    answers = {text_of(await chat(messages=user(f"Question {number}"))) for number in range(30)}
    assert len(answers) == 30


@pytest.mark.parametrize("change", [{"seed": 7}, {"model": "other"}, {"messages": [*HELLO, *HELLO]}])
async def test_seed_model_and_messages_change_the_text(change: Json) -> None:
    assert text_of(await chat(**change)) != text_of(await chat())


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"max_tokens": 500}, {"user": "ann"}, {"x_unknown": [1]}])
async def test_other_options_change_the_id_but_not_the_text(change: Json) -> None:
    changed, plain = await chat(**change), await chat()
    assert text_of(changed) == text_of(plain)
    assert changed["id"] != plain["id"]


async def test_n_answers_are_all_different_and_numbered() -> None:
    reply = await chat(n=128)
    assert [choice["index"] for choice in reply["choices"]] == list(range(128))
    assert len({text_of(reply, index) for index in range(128)}) == 128
    assert text_of(reply) == text_of(await chat())


async def test_each_of_n_answers_ends_for_its_own_reason() -> None:
    reply = await chat(n=20, max_tokens=65)
    reasons = {choice["finish_reason"] for choice in reply["choices"]}
    assert reasons == {"stop", "length"}
    for choice in reply["choices"]:
        assert (choice["finish_reason"] == "length") is (text.count(choice["message"]["content"]) == 65)


@pytest.mark.parametrize("stop", ["gateway", ["never said", "gateway", "what is a gateway"]])
async def test_stop_cuts_before_the_first_stop_string(stop: Any) -> None:
    whole = text_of(await chat())
    reply = await chat(stop=stop)
    end = min(whole.index(one) for one in ([stop] if isinstance(stop, str) else stop) if one in whole)
    assert text_of(reply) == whole[:end]
    assert reply["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"max_tokens": 3}, 3),
        ({"max_completion_tokens": 4}, 4),
        ({"max_tokens": 5, "max_completion_tokens": 2}, 2),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": -1}, 0),
    ],
)
async def test_a_token_limit_cuts_the_answer_and_says_so(limits: Json, left: int) -> None:
    whole, reply = await chat(), await chat(**limits)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert text_of(whole).startswith(text_of(reply))
    assert reply["usage"]["completion_tokens"] == left


async def test_a_limit_that_cuts_nothing_is_not_a_length_stop() -> None:
    count = (await chat())["usage"]["completion_tokens"]
    assert (await chat(max_tokens=count))["choices"][0]["finish_reason"] == "stop"
    assert (await chat(max_tokens=count - 1))["choices"][0]["finish_reason"] == "length"


async def test_usage_is_the_documented_estimate_and_adds_up() -> None:
    usage = (await chat(n=2))["usage"]
    both = sum([text.count(text_of(await chat(n=2), index)) for index in range(2)])
    assert usage["prompt_tokens"] == prompt.MESSAGE_TOKENS + text.count(HELLO[0]["content"])
    assert usage["completion_tokens"] == both
    assert usage["total_tokens"] == usage["prompt_tokens"] + both
    assert set(usage["prompt_tokens_details"]) == {"audio_tokens", "cached_tokens"}
    assert len(usage["completion_tokens_details"]) == 4


async def test_parts_that_are_not_text_count_a_flat_amount() -> None:
    reply = await chat(messages=user([{"type": "text", "text": "Look"}, PICTURE, SOUND, FILE]))
    assert reply["usage"]["prompt_tokens"] == prompt.MESSAGE_TOKENS + 1 + 3 * prompt.PART_TOKENS
    assert '"Look"' in text_of(reply)


async def test_every_kind_of_message_is_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    noted = {"id": "d", "type": "custom", "custom": {"name": "note", "input": "x y"}}
    messages = [
        {"role": "developer", "content": "a"},
        {"role": "system", "content": [{"type": "text", "text": "b c"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "tool_calls": [call, noted]},
        {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": ""}},
        {"role": "tool", "content": "d", "tool_call_id": "c"},
        {"role": "function", "content": None, "name": "f"},
    ]
    words = 1 + 2 + 1 + (1 + 2) + (1 + 2) + 1 + 1
    assert (await chat(messages=messages))["usage"]["prompt_tokens"] == 6 * prompt.MESSAGE_TOKENS + words


async def test_json_object_is_an_object_that_depends_on_the_prompt() -> None:
    one = json.loads(text_of(await chat(response_format={"type": "json_object"})))
    other = json.loads(text_of(await chat(response_format={"type": "json_object"}, messages=user("Other"))))
    assert isinstance(one, dict)
    assert one != other


async def test_json_schema_content_is_valid_for_the_schema() -> None:
    schema = {
        "$defs": {"Step": {"type": "object", "properties": {"say": {"type": "string"}}, "required": ["say"]}},
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}, "minItems": 2}},
        "required": ["steps"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema, "strict": True}}
    content = json.loads(text_of(await chat(response_format=wanted)))
    assert len(content["steps"]) >= 2
    assert all(isinstance(step["say"], str) for step in content["steps"])
    cut = await chat(response_format=wanted, max_tokens=2)
    assert cut["choices"][0]["finish_reason"] == "length"


async def test_json_schema_without_a_schema_is_any_object() -> None:
    assert text_of(await chat(response_format={"type": "json_schema", "json_schema": {"name": "x"}})) == "{}"


async def test_response_format_text_is_text() -> None:
    assert text_of(await chat(response_format={"type": "text"})) == text_of(await chat())


@pytest.mark.parametrize("count", [0, 1, 20])
async def test_logprobs_cover_the_text_with_as_many_alternatives_as_asked(count: int) -> None:
    reply = await chat(logprobs=True, top_logprobs=count)
    logprobs = reply["choices"][0]["logprobs"]
    assert logprobs["refusal"] is None
    assert "".join(one["token"] for one in logprobs["content"]) == text_of(reply)
    for one in logprobs["content"]:
        tokens = [each["token"] for each in one["top_logprobs"]]
        assert bytes(one["bytes"]).decode() == one["token"]
        assert one["logprob"] < 0
        assert len(set(tokens)) == count
        assert tokens[:1] == [one["token"]][:count]
        values = [each["logprob"] for each in one["top_logprobs"]]
        assert values == sorted(values, reverse=True)


async def test_top_logprobs_without_logprobs_is_passed_over() -> None:
    assert (await chat(top_logprobs=3))["choices"][0]["logprobs"] is None
    assert (await chat(logprobs=True))["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


async def test_the_tier_that_served_is_named_when_one_was_asked_for() -> None:
    assert (await chat(service_tier="flex"))["service_tier"] == "default"
    assert "service_tier" not in await chat()


async def test_audio_is_refused_by_name_and_text_is_not() -> None:
    with pytest.raises(UnsupportedValue, match="text only") as caught:
        await chat(modalities=["text", "audio"])
    assert caught.value.param == "modalities"
    assert await chat(modalities=["text"], audio={"voice": "alloy", "format": "wav"})


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["a/b:c", "custom-chat"]),
        "n": st.none() | st.integers(1, 3),
        "max_tokens": st.none() | st.integers(-3, 9),
        "max_completion_tokens": st.none() | st.integers(),
        "stop": st.none() | st.text(max_size=2) | st.lists(st.text(max_size=2), min_size=1, max_size=4),
        "logprobs": st.none() | st.booleans(),
        "top_logprobs": st.none() | st.integers(0, 20),
        "tools": st.none() | st.just([]) | st.just([WEATHER, NOTE]),
        "tool_choice": st.sampled_from([None, "none", "auto"]),
        "stream_options": st.none() | st.just({"include_usage": True}),
        "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
        "modalities": st.none() | st.just([]) | st.just(["text"]),
        "functions": st.just([{"name": "get_weather"}]),
        "function_call": st.sampled_from(["none", "auto"]),
        "prediction": st.just({"type": "content", "content": "x"}),
    },
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(OPTIONS)
async def test_every_valid_combination_of_options_is_answered(options: Json) -> None:
    reply = await chat(**options)
    assert len(reply["choices"]) == (options.get("n") or 1)
