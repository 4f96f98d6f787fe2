"""Legacy completions: every form of prompt, echo, logprobs and streaming."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.providers.custom import text
from tests.providers.custom.asking import Json, completion, streamed_completion


def texts_in(reply: Json) -> list[str]:
    return [choice["text"] for choice in reply["choices"]]


async def test_a_completion_has_the_shape_that_clients_know() -> None:
    reply = await completion()
    assert reply["id"].startswith("cmpl-")
    assert reply["object"] == "text_completion"
    assert reply["model"] == "custom-completion"
    (choice,) = reply["choices"]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert reply["usage"]["completion_tokens"] == text.count(choice["text"])
    assert reply["usage"]["prompt_tokens"] == 4
    assert {**reply, "created": 0} == {**await completion(), "created": 0}


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("one two", [2]),
        (["a", "b c", ""], [1, 2, 0]),
        ([1, 2, 3], [3]),
        ([[1], [2, 3]], [1, 2]),
        (None, [6]),
        ([], [6]),
    ],
)
async def test_every_form_of_prompt_is_answered_and_counted(prompt: Any, tokens: list[int]) -> None:
    reply = await completion(prompt=prompt)
    assert [choice["index"] for choice in reply["choices"]] == list(range(len(tokens)))
    assert all(texts_in(reply))
    assert len(set(texts_in(reply))) == len(tokens)
    assert reply["usage"]["prompt_tokens"] == sum(tokens)


async def test_choices_are_ordered_by_prompt_first() -> None:
    both = texts_in(await completion(prompt=["a", "b"], n=2, best_of=1))
    assert both == texts_in(await completion(prompt="a", n=2)) + texts_in(await completion(prompt="b", n=2))
    assert len(set(both)) == 4


@pytest.mark.parametrize("change", [{"suffix": "the end"}, {"seed": 1}, {"model": "other"}])
async def test_suffix_seed_and_model_change_the_text(change: Json) -> None:
    assert texts_in(await completion(**change)) != texts_in(await completion())


@pytest.mark.parametrize(("limit", "left"), [(2, 2), (0, 0)])
async def test_max_tokens_cuts_and_says_so(limit: int, left: int) -> None:
    reply = await completion(max_tokens=limit)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == left


async def test_stop_cuts_before_the_stop_string() -> None:
    whole = texts_in(await completion())[0]
    word = whole.split()[2]
    assert texts_in(await completion(stop=[word])) == [whole[: whole.index(word)]]


@pytest.mark.parametrize(
    ("prompt", "echoed"), [("Once upon", "Once upon"), ([7, 8], "<7><8>"), (None, "<|endoftext|>"), ("", "")]
)
async def test_echo_puts_the_prompt_before_the_text(prompt: Any, echoed: str) -> None:
    plain, echo = await completion(prompt=prompt), await completion(prompt=prompt, echo=True)
    assert texts_in(echo) == [echoed + texts_in(plain)[0]]
    assert echo["usage"] == plain["usage"]


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
async def test_logprobs_line_up_with_the_text(count: int, echo: bool) -> None:
    (choice,) = (await completion(logprobs=count, echo=echo))["choices"]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert choice["text"].startswith(token, offset)
    given = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    for token, logprob, top in given:
        assert logprob < 0
        assert len(top) == count
        assert list(top)[:1] == [token][:count]


async def test_logprobs_of_an_empty_text_are_empty_lists() -> None:
    (choice,) = (await completion(logprobs=1, max_tokens=0))["choices"]
    assert choice["logprobs"] == {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompt": ["a", "b"], "n": 2},
        {"echo": True, "logprobs": 2},
        {"max_tokens": 3},
        {"prompt": [1, 2], "echo": True},
    ],
)
async def test_the_chunks_add_up_to_the_reply(options: Json) -> None:
    reply, chunks = await completion(**options), await streamed_completion(**options)
    assert {(chunk["id"], chunk["object"]) for chunk in chunks} == {(reply["id"], "text_completion")}
    assert not any("usage" in chunk for chunk in chunks)
    for choice in reply["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        for key, values in (choice["logprobs"] or {}).items():
            assert [one for part in parts if part["logprobs"] for one in part["logprobs"][key]] == values


async def test_a_stream_ends_with_usage_when_asked() -> None:
    *chunks, last = await streamed_completion(stream_options={"include_usage": True})
    assert len(chunks) > 3
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]) == ([], (await completion())["usage"])


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.none()
        | st.text(max_size=5)
        | st.lists(st.text(max_size=3), max_size=3)
        | st.lists(st.integers(), min_size=1, max_size=3)
        | st.lists(st.lists(st.integers(), min_size=1, max_size=3), min_size=1, max_size=3),
        "n": st.none() | st.integers(1, 3),
        "best_of": st.none() | st.integers(0, 20),
        "echo": st.none() | st.booleans(),
        "logprobs": st.none() | st.integers(0, 5),
        "max_tokens": st.none() | st.integers(0, 2**70),
        "seed": st.none() | st.integers(),
        "suffix": st.none() | st.text(max_size=3),
        "stop": st.none() | st.just("") | st.just(["a", " "]),
        "stream_options": st.none() | st.just({"include_usage": True}),
    },
)


@settings(deadline=None, max_examples=60)
@given(OPTIONS)
async def test_every_valid_combination_of_options_is_answered_alike_whole_and_streamed(options: Json) -> None:
    reply, chunks = await completion(**options), await streamed_completion(**options)
    streamed = [""] * len(reply["choices"])
    for chunk in chunks:
        for part in chunk["choices"]:
            streamed[part["index"]] += part["text"]
    assert streamed == texts_in(reply)
