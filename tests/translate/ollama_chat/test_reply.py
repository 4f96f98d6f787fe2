"""Replies and streams on OpenAI's wire in Ollama's words: whole and in pieces they say the same."""

import json
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from ai_gateway.contract.write import to_json
from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.translate.ollama_chat import reply
from ai_gateway.translate.ollama_chat.stream import ChunkTranslator
from ai_gateway.translate.ollama_chat.timings import Stopwatch, timestamp
from ai_gateway.translate.ollama_chat.writers import ChatWriter, GenerateWriter
from gateway_contract.openai import models as openai
from tests.contract.schemas import validator

type Json = dict[str, Any]
HEAD: Json = {"id": "chatcmpl-1", "created": 1, "model": "there"}
USAGE: Json = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
LOGPROBS: Json = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
    {"token": "b", "logprob": -1.5, "bytes": None}]}], "refusal": None}  # fmt: skip


def ticking() -> Stopwatch:
    """A watch on which every look costs a millisecond, at a fixed time of day."""
    ticks = iter(range(0, 10**12, 10**6))
    return Stopwatch(lambda: next(ticks), lambda: 1_767_225_600_120_000_000)


def said(model: BaseModel) -> Json:
    """A reply as its caller reads it; the contract holds for every one."""
    found: Json = json.loads(to_json(model))
    validator(type(model).__name__).validate(found)
    return found


def whole(message: Json, finish: str = "stop", **more: object) -> Json:
    message = {"role": "assistant", "content": None, "refusal": None, **message}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": more.pop("logprobs", None)}
    body = {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE, **more}
    answer = openai.CreateChatCompletionResponse.model_validate(body)
    return said(ChatWriter("m:latest", ticking()).whole(*reply.chat(answer)))


def chunk(delta: Json, finish: str | None = None, **more: object) -> openai.CreateChatCompletionStreamResponse:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": more.pop("logprobs", None)}
    body = {**HEAD, "object": "chat.completion.chunk", "choices": [choice], **more}
    return openai.CreateChatCompletionStreamResponse.model_validate(body)


LAST = openai.CreateChatCompletionStreamResponse.model_validate(
    {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
)


def lines(*chunks: openai.CreateChatCompletionStreamResponse) -> list[Json]:
    telling, writer = ChunkTranslator(), ChatWriter("m", ticking())
    found = [said(writer.line(piece)) for chunk in chunks for piece in telling.feed(chunk)]
    return [*found, said(writer.last_line(telling.end()))]


def messages(found: list[Json]) -> list[Json]:
    return [{name: value for name, value in line["message"].items() if name != "role"} for line in found]


def calls(*bits: Json) -> Json:
    return {"tool_calls": list(bits)}


OLD: Json = {"name": "zebra", "arguments": '{"z":1,"n":2}'}
OLD_TOLD: Json = {"function": {"index": 0, "name": "zebra", "arguments": {"z": 1, "n": 2}}}
CUSTOM = calls({"id": "c1", "type": "custom", "custom": {"name": "zebra", "input": "z"}})


CITED = {
    "type": "url_citation",
    "url_citation": {"end_index": 1, "start_index": 0, "url": "https://a.example/", "title": "A"},
}
SOUND = {"id": "audio_1", "expires_at": 1, "data": "AAAA", "transcript": "said"}


def test_a_whole_answer_carries_its_measures_and_the_callers_name_of_the_model() -> None:
    assert whole({"content": "Hi"}) == {
        "model": "m:latest",
        "created_at": "2026-01-01T00:00:00.12Z",
        "message": {"role": "assistant", "content": "Hi"},
        "done": True,
        "done_reason": "stop",
        "total_duration": 1_000_000,
        "prompt_eval_count": 7,
        "eval_count": 4,
        "eval_duration": 1_000_000,
    }


@pytest.mark.parametrize(
    ("message", "finish", "more", "expected", "reason"),
    [
        ({"content": "x"}, "length", {}, {"content": "x"}, "length"),
        ({"content": "x"}, "content_filter", {}, {"content": "x"}, "content_filter"),
        ({"refusal": "No."}, "stop", {}, {"content": "No."}, "stop"),
        ({"content": "x", "reasoning_content": "hm"}, "stop", {}, {"content": "x", "thinking": "hm"}, "stop"),
        ({"content": "x", "reasoning": "hm"}, "stop", {}, {"content": "x", "thinking": "hm"}, "stop"),
        (
            calls({"id": "c1", "type": "function", "function": {"name": "zebra", "arguments": '{"z":"ä","n":1}'}},
                  {"id": "c2", "type": "function", "function": {"name": "apfel", "arguments": ""}}),
            "tool_calls", {},
            {"content": "", "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "zebra", "arguments": {"z": "ä", "n": 1}}},
                {"id": "c2", "function": {"index": 1, "name": "apfel", "arguments": {}}}]},
            "stop",
        ),
        (
            calls({"id": "c1", "type": "function", "function": {"name": "zebra", "arguments": '{"z":'}}),
            "length", {}, {"content": ""}, "length",
        ),
        ({"function_call": OLD}, "function_call", {}, {"content": "", "tool_calls": [OLD_TOLD]}, "stop"),
        ({"function_call": OLD, "content": "x"}, "stop", {}, {"content": "x", "tool_calls": [OLD_TOLD]}, "stop"),
        ({"function_call": {**OLD, "arguments": "{"}}, "length", {}, {"content": ""}, "length"),
        ({"function_call": OLD, **calls({"id": "c1", "type": "function", "function": OLD})}, "tool_calls", {},
         {"content": "", "tool_calls": [{"id": "c1", **OLD_TOLD}]}, "stop"),
        ({"content": "x", **CUSTOM}, "tool_calls", {}, {"content": "x"}, "stop"),
        ({"content": "x", "annotations": [CITED]}, "stop", {}, {"content": "x", "annotations": [CITED]}, "stop"),
        ({"content": "x", "annotations": []}, "stop", {}, {"content": "x"}, "stop"),
        ({"content": None, "audio": SOUND}, "stop", {}, {"content": "said", "audio": SOUND}, "stop"),
    ],
)  # fmt: skip
def test_what_a_message_says_is_said_in_ollamas_words(
    message: Json, finish: str, more: Json, expected: Json, reason: str
) -> None:
    found = whole(message, finish, **more)
    tools = found["message"].get("tool_calls")
    assert found["message"] == {"role": "assistant", **expected}
    assert found["done_reason"] == reason
    assert tools is None or list(tools[0]["function"]["arguments"]) == ["z", "n"]


def test_log_probabilities_stand_beside_the_message() -> None:
    assert whole({"content": "a"}, logprobs=LOGPROBS)["logprobs"] == [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.5}]}
    ]


def test_counts_that_nobody_told_are_absent() -> None:
    body = {**HEAD, "object": "chat.completion", "choices": [
        {"index": 0, "finish_reason": "stop", "logprobs": None,
         "message": {"role": "assistant", "content": "x", "refusal": None}}]}  # fmt: skip
    piece, end = reply.chat(openai.CreateChatCompletionResponse.model_validate(body))
    found = said(ChatWriter("m", ticking()).whole(piece, end))
    assert not {"prompt_eval_count", "eval_count"} & found.keys()
    assert found["eval_duration"] > 0


@pytest.mark.parametrize("arguments", ["[]", '"x"', "{", "NaN", "null", '{"a":1}{}'])
def test_arguments_that_are_no_object_are_the_providers_fault(arguments: str) -> None:
    bad = {"id": "c1", "type": "function", "function": {"name": "zebra", "arguments": arguments}}
    with pytest.raises(UpstreamInvalidResponse, match="arguments"):
        whole(calls(bad), "tool_calls")


def test_a_reply_without_choices_holds_no_answer() -> None:
    body = {**HEAD, "object": "chat.completion", "choices": []}
    with pytest.raises(UpstreamInvalidResponse, match="no answer"):
        reply.chat(openai.CreateChatCompletionResponse.model_validate(body))
    with pytest.raises(UpstreamInvalidResponse, match="no answer"):
        reply.completion(
            openai.CreateCompletionResponse.model_validate({**HEAD, "object": "text_completion", "choices": []})
        )


def test_a_stream_is_a_line_for_each_piece_and_one_at_the_end() -> None:
    found = lines(
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Hi"}, logprobs=LOGPROBS),
        chunk({"content": " there"}),
        chunk({}, "stop"),
        LAST,
    )
    assert messages(found) == [
        {"content": "", "thinking": "hm"}, {"content": "Hi"}, {"content": " there"}, {"content": ""},
    ]  # fmt: skip
    assert [line["done"] for line in found] == [False, False, False, True]
    assert "logprobs" in found[1]
    assert found[-1] == {
        "model": "m", "created_at": "2026-01-01T00:00:00.12Z", "message": {"role": "assistant", "content": ""},
        "done": True, "done_reason": "stop", "total_duration": 2_000_000, "prompt_eval_count": 7, "eval_count": 4,
        "prompt_eval_duration": 1_000_000, "eval_duration": 1_000_000,
    }  # fmt: skip


def test_calls_arrive_whole_however_many_pieces_they_came_in() -> None:
    found = lines(
        chunk({"role": "assistant", "content": None, **calls(
            {"index": 0, "id": "c1", "type": "function", "function": {"name": "zebra", "arguments": ""}})}),
        chunk(calls({"index": 0, "function": {"arguments": '{"z":'}})),
        chunk(calls({"index": 1, "id": "c2", "type": "function", "function": {"name": "apfel", "arguments": "{"}})),
        chunk(calls({"index": 0, "function": {"arguments": '"ä"}'}}, {"index": 1, "function": {"arguments": "}"}})),
        chunk({}, "tool_calls"),
    )  # fmt: skip
    assert messages(found) == [
        {"content": "", "tool_calls": [
            {"id": "c1", "function": {"index": 0, "name": "zebra", "arguments": {"z": "ä"}}},
            {"id": "c2", "function": {"index": 1, "name": "apfel", "arguments": {}}}]},
        {"content": ""},
    ]  # fmt: skip
    assert found[-1]["done_reason"] == "stop"


def test_a_call_in_the_older_form_arrives_whole_too() -> None:
    found = lines(
        chunk({"role": "assistant", "content": None, "function_call": {"name": "zebra", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"z"'}}),
        chunk({"function_call": {"arguments": ':1,"n":2}'}}),
        chunk({}, "function_call"),
    )
    assert messages(found) == [{"content": "", "tool_calls": [OLD_TOLD]}, {"content": ""}]
    assert found[-1]["done_reason"] == "stop"


def test_a_call_in_both_forms_is_one() -> None:
    both = {"function_call": OLD, **calls({"index": 0, "id": "c1", "type": "function", "function": OLD})}
    assert messages(lines(chunk(both), chunk({}, "tool_calls")))[0]["tool_calls"] == [{"id": "c1", **OLD_TOLD}]


@pytest.mark.parametrize("finish", ["tool_calls", "function_call"])
def test_a_call_that_cannot_be_told_is_no_silent_answer(finish: str) -> None:
    late = calls({"index": 0, "id": "c1", "type": "function", "function": OLD})
    with pytest.raises(UpstreamInvalidResponse, match="cannot say"):
        whole(CUSTOM, finish)
    for chunks in ([chunk({}, finish)], [chunk({}, finish), chunk(late)], [chunk({"content": ""}, finish)]):
        with pytest.raises(UpstreamInvalidResponse, match="cannot say"):
            lines(*chunks)
    assert messages(lines(chunk({"content": "x"}), chunk({}, finish))) == [{"content": "x"}, {"content": ""}]


def test_a_call_that_the_limit_cut_in_two_is_none() -> None:
    begun = {"index": 0, "id": "c1", "type": "function", "function": {"name": "zebra", "arguments": '{"z"'}}
    found = lines(chunk(calls(begun)), chunk({}, "length"))
    assert messages(found) == [{"content": ""}]
    assert found[-1]["done_reason"] == "length"
    with pytest.raises(UpstreamInvalidResponse):
        lines(chunk(calls(begun)), chunk({}, "tool_calls"))


def test_a_stream_that_never_says_why_it_ends_has_no_last_line() -> None:
    with pytest.raises(UpstreamStreamTruncated):
        lines(chunk({"content": "Hi"}))


def test_endless_arguments_are_not_collected_for_ever() -> None:
    telling = ChunkTranslator()
    begun = {"index": 0, "id": "c", "type": "function", "function": {"name": "z", "arguments": ""}}
    assert not list(telling.feed(chunk(calls(begun))))
    piece = chunk(calls({"index": 0, "function": {"arguments": "x" * 2**20}}))
    with pytest.raises(UpstreamInvalidResponse, match="endless"):
        list(chain.from_iterable(map(telling.feed, [piece] * 9)))


def test_a_continued_text_is_told_as_a_response() -> None:
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [None, -1.0], "top_logprobs": [None, {"c": -2.0}]}
    choice = {"index": 0, "text": "ab", "finish_reason": "length", "logprobs": logprobs, "reasoning_content": "hm"}
    body = {**HEAD, "object": "text_completion", "choices": [choice], "usage": USAGE, "context": [1, 2]}
    answer = openai.CreateCompletionResponse.model_validate(body)
    found = said(GenerateWriter("m", ticking()).whole(*reply.completion(answer)))
    assert {name: found[name] for name in ("response", "thinking", "done_reason", "context", "logprobs")} == {
        "response": "ab", "thinking": "hm", "done_reason": "length", "context": [1, 2],
        "logprobs": [{"token": "b", "logprob": -1.0, "top_logprobs": [{"token": "c", "logprob": -2.0}]}],
    }  # fmt: skip


def test_a_continued_text_streams_as_responses() -> None:
    def part(text: str, finish: str | None, **more: object) -> openai.CreateCompletionStreamResponse:
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        return openai.CreateCompletionStreamResponse.model_validate(
            {**HEAD, "object": "text_completion", "choices": [choice], **more}
        )

    telling, writer = ChunkTranslator(), GenerateWriter("m", ticking())
    chunks = [part("a", None), part("b", None), part("", "stop", context=[3], usage=USAGE)]
    found = [said(writer.line(piece)) for chunk in chunks for piece in telling.feed(chunk)]
    last = said(writer.last_line(telling.end()))
    assert [line["response"] for line in found] == ["a", "b"]
    assert (last["response"], last["done"], last["context"], last["eval_count"]) == ("", True, [3], 4)


def test_nothing_asked_is_nothing_measured() -> None:
    assert said(ChatWriter("m", ticking()).empty("load")) == {
        "model": "m", "created_at": "2026-01-01T00:00:00.12Z", "message": {"role": "assistant", "content": ""},
        "done": True, "done_reason": "load",
    }  # fmt: skip
    assert said(GenerateWriter("m", ticking()).empty("unload"))["response"] == ""


def test_vectors_come_in_order_and_only_as_numbers() -> None:
    def answer(*items: Json) -> openai.CreateEmbeddingResponse:
        data = [{"object": "embedding", **item} for item in items]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return openai.CreateEmbeddingResponse.model_validate(
            {"object": "list", "model": "m", "data": data, "usage": usage}
        )

    found = answer({"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]})
    assert reply.embeddings(found) == [[1.0], [2.0]]
    with pytest.raises(UpstreamInvalidResponse):
        reply.embeddings(answer({"index": 0, "embedding": "AACAPw=="}))


@pytest.mark.parametrize(
    ("nanoseconds", "written"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_767_225_600_120_000_000, "2026-01-01T00:00:00.12Z"),
        (1_767_225_600_000_000_000, "2026-01-01T00:00:00Z"),
    ],
)
def test_times_are_written_as_go_writes_them(nanoseconds: int, written: str) -> None:
    assert timestamp(nanoseconds) == written


def test_the_time_before_the_call_is_the_loading_time() -> None:
    watch = ticking()
    watch.provider_called()
    watch.output_received()
    watch.output_received()
    assert watch.measures(0, 3) == {
        "total_duration": 3_000_000, "load_duration": 1_000_000, "prompt_eval_duration": 1_000_000,
        "eval_count": 3, "eval_duration": 1_000_000,
    }  # fmt: skip


text = st.text(max_size=30)
objects = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-9, 9), text, st.none()), max_size=3)
ANSWER = st.fixed_dictionaries(
    {"content": text, "thinking": text, "calls": st.lists(st.tuples(st.sampled_from("ab"), objects), max_size=3)}
)


def split(words: str, at: list[int]) -> list[str]:
    """The text in pieces, cut at these places."""
    places = sorted({place % (len(words) + 1) for place in at} | {0, len(words)})
    return [words[start:end] for start, end in pairwise(places)]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(ANSWER, st.lists(st.integers(0, 99), max_size=4))
def test_an_answer_is_the_same_whole_and_in_pieces(answer: Json, cuts: list[int]) -> None:
    reported: list[Json] = [
        {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for at, (name, given) in enumerate(answer["calls"])
    ]
    finish = "tool_calls" if reported else "stop"
    thinking = {"reasoning_content": answer["thinking"]} if answer["thinking"] else {}
    tools = {"tool_calls": reported} if reported else {}
    one = whole({"content": answer["content"], **thinking, **tools}, finish)
    deltas: list[Json] = [{"role": "assistant"}]
    deltas += [{"reasoning_content": piece} for piece in split(answer["thinking"], cuts)]
    deltas += [{"content": piece} for piece in split(answer["content"], cuts)]
    for at, call in enumerate(reported):
        arguments = split(call["function"]["arguments"], cuts)
        deltas.append(calls({**call, "index": at, "function": {**call["function"], "arguments": ""}}))
        deltas += [calls({"index": at, "function": {"arguments": piece}}) for piece in arguments]
    found = lines(*map(chunk, deltas), chunk({}, finish), LAST)
    assert "".join(line["message"]["content"] for line in found) == one["message"]["content"] == answer["content"]
    assert "".join(line["message"].get("thinking", "") for line in found) == one["message"].get("thinking", "")
    streamed = [call for line in found for call in line["message"].get("tool_calls", [])]
    assert streamed == one["message"].get("tool_calls", [])
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in streamed] == [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in reported
    ]
    assert {line["done"] for line in found[:-1]} <= {False}
    assert found[-1]["done_reason"] == one["done_reason"]
    assert (found[-1]["prompt_eval_count"], found[-1]["eval_count"]) == (7, 4)
