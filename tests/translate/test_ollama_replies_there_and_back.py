"""The law of whole replies: from one wire to the other and back again, both say the same."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.translate.chat_ollama.reply import chat_response, completion_response, embedding_response
from ai_gateway.translate.ollama_chat import reply as to_ollama
from ai_gateway.translate.ollama_chat.writers import ChatWriter, GenerateWriter
from ai_gateway.translate.wires.ollama import Reply, Vectors, read
from gateway_contract.openai import models as openai
from tests.translate.both_wires import (
    ASKED,
    AT,
    LAW,
    Json,
    calls,
    counts,
    exact,
    names,
    on_ollama,
    pictures,
    some_words,
    spelled,
    tokens,
    watch,
    words,
    written,
)

pytestmark = pytest.mark.slow

TIMES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


# -- chat, from OpenAI's wire --


@st.composite
def openai_chats(draw: st.DrawFn) -> Json:
    """An answer with all that Ollama's wire has a word for."""
    thinking = draw(words)
    shown = draw(st.lists(tokens(some_words if thinking else words), max_size=3))
    said = draw(calls)
    content = spelled(shown) if shown else draw(words)
    message: Json = {"role": "assistant", "content": content or draw(st.sampled_from([None, ""])), "refusal": None}
    if not content:
        message["refusal"] = draw(st.none() | words)
    message |= {draw(st.sampled_from(["reasoning_content", "reasoning"])): thinking} if thinking else {}
    message |= {"images": draw(pictures)} if draw(st.booleans()) else {}
    if said:
        message["tool_calls"] = [openai_call(call, draw(st.sampled_from([None, 2]))) for call in said]
    finishes = ["stop", "length", "content_filter", *(["tool_calls"] if said else [])]
    prompt, completion = draw(counts), draw(counts)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {
        "id": "chatcmpl-req-1", "object": "chat.completion", "created": AT, "model": draw(names),
        "choices": [{"index": 0, "message": message, "finish_reason": draw(st.sampled_from(finishes)),
                     "logprobs": {"content": shown, "refusal": None} if shown else None}],
        "usage": usage,
    }  # fmt: skip


def openai_call(call: Json, indent: int | None = None) -> Json:
    text = json.dumps(call["arguments"], indent=indent, ensure_ascii=indent is None)
    return {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": text}}


def there_and_back(said: Json) -> Json:
    """OpenAI's wire, Ollama's, and OpenAI's again."""
    answer = openai.CreateChatCompletionResponse.model_validate(said)
    line = written(ChatWriter(said["model"], watch()).whole(*to_ollama.chat(answer)))
    return written(chat_response(read(Reply, line), ASKED))


def parsed(reply: Json) -> Json:
    """A reply with its calls' arguments as values."""
    for choice in reply["choices"]:
        for call in choice["message"].get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return reply


def normal(reply: Json) -> Json:
    """What is the same on Ollama's wire, in one form."""
    found: Json = parsed(json.loads(json.dumps(reply)))
    choice = found["choices"][0]
    message = choice["message"]
    message["content"] = message["content"] or message["refusal"] or (None if "tool_calls" in message else "")
    message["refusal"] = None
    if "reasoning" in message:
        message["reasoning_content"] = message.pop("reasoning")
    if "tool_calls" in message and choice["finish_reason"] == "stop":
        choice["finish_reason"] = "tool_calls"
    return found


@LAW
@given(openai_chats())
def test_an_answer_of_openais_wire_comes_back_from_ollamas(said: Json) -> None:
    """The identity, for one choice. Ollama's wire has one word each for some things that OpenAI's has two for:

    - content that is null or empty: null beside calls, empty without them;
    - a refusal: it is the content;
    - `reasoning`: it is `reasoning_content`;
    - the finish reason `stop` beside calls: it is `tool_calls`;
    - a call's arguments: the same value, however it is spaced and escaped.

    Beyond it, nobody has a word for: the id and `created` are those of the reply that is written, so they are drawn as
    that reply's; the usage's details, `system_fingerprint`, `service_tier`, annotations, the log probabilities of a
    refusal and other choices than the first. Beside thinking, tokens that show no text are not drawn: Ollama mixes
    the thinking's tokens with the answer's, and those cannot be told apart (see below).
    """
    assert exact(parsed(there_and_back(said))) == exact(normal(said))


@LAW
@given(openai_chats())
def test_a_second_journey_changes_nothing_at_all(said: Json) -> None:
    once = there_and_back(said)
    assert there_and_back(once) == once


# -- chat, from Ollama's wire --


@st.composite
def ollama_chats(draw: st.DrawFn) -> Json:
    """An answer with all that OpenAI's wire has a word for; what is zero, null or empty is left out, as Ollama does."""
    thinking = draw(words)
    thought = draw(st.lists(tokens(some_words), max_size=2)) if thinking else []
    shown = draw(st.lists(tokens(some_words if thinking else words), max_size=3))
    content = spelled(shown) if shown or thought else draw(words)
    message: Json = {"role": "assistant", "content": content}
    message |= {"thinking": thinking} if thinking else {}
    message |= {"images": draw(pictures)} if draw(st.booleans()) else {}
    said = [
        {**({"id": call["id"]} if draw(st.booleans()) else {}),
         "function": {"index": at, "name": call["name"], "arguments": call["arguments"]}}
        for at, call in enumerate(draw(calls))
    ]  # fmt: skip
    message |= {"tool_calls": said} if said else {}
    found: Json = {"model": draw(names), "created_at": "2026-01-01T00:00:00Z", "message": message, "done": True,
                   "done_reason": draw(st.sampled_from(["stop", "length", "load", "unload"]))}  # fmt: skip
    found |= {name: count for name in ("prompt_eval_count", "eval_count") if (count := draw(counts))}
    found |= dict.fromkeys(TIMES, 5) if draw(st.booleans()) else {}
    listed = on_ollama([*thought, *shown]) if content else []
    return found | ({"logprobs": listed} if listed else {}) | {"told": on_ollama(shown)}


def of_ollama(line: Json) -> Json:
    """What a reply says, apart from the times it took."""
    return {name: value for name, value in line.items() if name not in TIMES}


@LAW
@given(ollama_chats())
def test_an_answer_of_ollamas_wire_comes_back_from_openais(said: Json) -> None:
    """The identity, with these differences:

    - a call without an id has one when it comes back, and calls are numbered by their order;
    - `load` and `unload` are answers that are over: `stop`;
    - durations are not compared: where the server says none, they are measured; `created_at` is, below the second;
    - of log probabilities only the answer's are told, as OpenAI does: those of the thinking before it go.
    """
    reported = said.pop("told")
    answer = chat_response(read(Reply, said), ASKED)
    found = written(ChatWriter(written(answer)["model"], watch()).whole(*to_ollama.chat(answer)))
    expected: Json = {**of_ollama(said), "done_reason": {"length": "length"}.get(said["done_reason"], "stop")}
    for was, call in zip(said["message"].get("tool_calls", []), found["message"].get("tool_calls", []), strict=True):
        assert call["id"]
        was.setdefault("id", call["id"])
    if "logprobs" in said:
        expected["logprobs"] = reported
    if not expected.get("logprobs"):
        expected.pop("logprobs", None)
    assert exact(of_ollama(found)) == exact(expected)


# -- texts --


@st.composite
def ollama_texts(draw: st.DrawFn) -> Json:
    thinking = draw(words)
    shown = draw(st.lists(tokens(some_words if thinking else words), max_size=3))
    found: Json = {"model": draw(names), "created_at": "2026-01-01T00:00:00Z", "done": True,
                   "response": spelled(shown) if shown else draw(words),
                   "done_reason": draw(st.sampled_from(["stop", "length"]))}  # fmt: skip
    found |= {"thinking": thinking} if thinking else {}
    found |= {name: count for name in ("prompt_eval_count", "eval_count") if (count := draw(counts))}
    found |= {"context": draw(st.lists(st.integers(0, 2**31), min_size=1, max_size=3))} if draw(st.booleans()) else {}
    return found | ({"logprobs": on_ollama(shown)} if shown else {})


def in_columns(found: list[Json]) -> list[Json]:
    """Log probabilities as legacy completions can say them: alternatives by their text, and no bytes."""
    kept: list[Json] = []
    for one in found:
        others: dict[str, float] = {other["token"]: other["logprob"] for other in one.get("top_logprobs", [])}
        best: list[Json] = [{"token": text, "logprob": chance} for text, chance in others.items()]
        bare: Json = {"token": one["token"], "logprob": one["logprob"]}
        kept.append(bare | ({"top_logprobs": best} if best else {}))
    return kept


@LAW
@given(ollama_texts())
def test_a_text_of_ollamas_wire_comes_back_from_openais(said: Json) -> None:
    """The identity; log probabilities lose their bytes, and of alternatives that show one text the last one counts."""
    there = completion_response(read(Reply, said), ASKED)
    found = of_ollama(written(GenerateWriter(said["model"], watch()).whole(*to_ollama.completion(there))))
    expected = {**said, "logprobs": in_columns(said["logprobs"])} if "logprobs" in said else said
    assert exact(found) == exact(expected)


@LAW
@given(ollama_texts())
def test_a_text_of_openais_wire_comes_back_from_ollamas(said: Json) -> None:
    """The identity, of all that a legacy completion holds when one was made of any text."""
    there: Any = completion_response(read(Reply, said), ASKED)
    line = written(GenerateWriter(said["model"], watch()).whole(*to_ollama.completion(there)))
    assert written(completion_response(read(Reply, line), ASKED)) == written(there)


# -- vectors --


@LAW
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4), max_size=3), counts, names)
def test_vectors_come_back(vectors: list[list[float]], count: int, model: str) -> None:
    there = embedding_response(
        read(Vectors, {"model": model, "embeddings": vectors, "prompt_eval_count": count}), ASKED
    )
    assert to_ollama.embeddings(there) == vectors
    assert there.usage.prompt_tokens == count
