"""The law of streams: chunks as lines and as chunks again, and lines as chunks and as lines, say the same in order."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.translate.chat_ollama.stream import ChatStreamTranslator, CompletionStreamTranslator
from ai_gateway.translate.ollama_chat.stream import Chunk, ChunkTranslator
from ai_gateway.translate.ollama_chat.writers import ChatWriter, GenerateWriter
from ai_gateway.translate.wires.ollama import Reply, read
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

THOUGHTFUL = ["content", "reasoning_content", "reasoning", "both", "images"]
PLAIN = ["content", "refusal", "silence", "images"]
TIMES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def as_lines(chunks: Iterable[Chunk], writer: ChatWriter | GenerateWriter) -> list[Json]:
    """What a caller of Ollama's wire reads of chunks."""
    telling = ChunkTranslator()
    found = [written(writer.line(piece)) for chunk in chunks for piece in telling.feed(chunk)]
    return [*found, written(writer.last_line(telling.end()))]


def as_chunks(lines: list[Json], teller: ChatStreamTranslator | CompletionStreamTranslator) -> list[Json]:
    """What a caller of OpenAI's wire reads of lines."""
    found = [written(chunk) for line in lines for chunk in teller.feed(read(Reply, line))]
    assert teller.done
    return found


# -- chat, from OpenAI's wire --


@st.composite
def openai_streams(draw: st.DrawFn) -> list[Json]:
    """Chunks of one answer: text, thinking and pieces of calls in any order, as upstreams send them."""
    chunks: list[Json] = []
    model = draw(names)

    def chunk(delta: Json, finish: str | None = None, shown: list[Json] | None = None, **more: Any) -> None:
        logprobs = {"content": shown, "refusal": None} if shown else None
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunks.append({"id": "chatcmpl-req-1", "object": "chat.completion.chunk", "created": AT, "model": model,
                       "choices": [choice], **more})  # fmt: skip

    kinds = st.sampled_from(draw(st.sampled_from([THOUGHTFUL, PLAIN])))
    pieces = [said_piece(draw, draw(kinds)) for _ in range(draw(st.integers(0, 5)))]
    waiting = [call_deltas(draw, at, call) for at, call in enumerate(draw(calls))]
    finishes = ["stop", "length", "content_filter"] if not waiting else ["tool_calls", "length", "stop"]
    chunk({"role": "assistant", "content": draw(st.sampled_from(["", None])), "refusal": None})
    while pieces or waiting:
        if pieces and (not waiting or draw(st.booleans())):
            delta, shown = pieces.pop(0)
            chunk(delta, shown=shown)
        else:  # pieces of parallel calls may come by turns
            turn = draw(st.sampled_from(waiting))
            chunk({"tool_calls": [turn.pop(0)]})
            waiting = [rest for rest in waiting if rest]
    chunk({}, finish=draw(st.sampled_from(finishes)))
    prompt, completion = draw(counts), draw(counts)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return [*chunks, {**chunks[-1], "choices": [], "usage": usage}]


def said_piece(draw: st.DrawFn, kind: str) -> tuple[Json, list[Json]]:
    """What one chunk says, and the tokens that its text is made of."""
    if kind == "silence":
        return {"content": ""}, draw(st.lists(tokens(st.just("")), max_size=2))
    if kind == "images":
        return {"images": draw(pictures)}, []
    if kind not in {"content", "both"}:
        return {kind: draw(words)}, []
    shown = draw(st.lists(tokens(some_words), max_size=2))
    thinking = {"reasoning_content": draw(words)} if kind == "both" else {}
    return {**thinking, "content": spelled(shown) if shown else draw(words)}, shown


def call_deltas(draw: st.DrawFn, index: int, call: Json) -> list[Json]:
    """A call in pieces: its id and name first, then its arguments."""
    text = json.dumps(call["arguments"], ensure_ascii=draw(st.booleans()))
    cuts = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=2))})
    head = {"index": index, "id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": ""}}
    return [head, *({"index": index, "function": {"arguments": text[a:b]}} for a, b in pairwise(cuts))]


def reported(chunks: list[Json]) -> Json:
    """What a stream says: its pieces in order, and what they amount to."""
    found: Json = {"order": [], "calls": {}, "tokens": [], "images": []}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            thinking = delta.get("reasoning_content") or delta.get("reasoning")
            text = delta.get("content") or delta.get("refusal")
            found["order"] += [["thinking", thinking]] if thinking else []
            found["order"] += [["content", text]] if text else []
            found["images"] += delta.get("images", [])
            found["tokens"] += (choice["logprobs"] or {}).get("content") or []
            for call in delta.get("tool_calls", []):
                one = found["calls"].setdefault(call["index"], {"id": call.get("id"), "name": "", "arguments": ""})
                one["name"] += call["function"].get("name", "")
                one["arguments"] += call["function"].get("arguments", "")
            found["finish"] = choice["finish_reason"]
        found["usage"] = chunk.get("usage")
    for call in found["calls"].values():
        call["arguments"] = json.loads(call["arguments"])
    found["calls"] = [found["calls"][index] for index in sorted(found["calls"])]
    if found["calls"] and found["finish"] == "stop":
        found["finish"] = "tool_calls"
    return found


def form(chunks: list[Json]) -> list[str]:
    """In which order a stream tells its kinds of things."""
    found: list[str] = []
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"] if chunk["choices"] else {"usage": True}
        kinds = [name for name in ("role", "tool_calls", "usage") if name in delta] or ["text"]
        found.append("finish" if delta == {} else kinds[0])
    return found


@LAW
@given(openai_streams())
def test_a_stream_of_openais_wire_comes_back_from_ollamas(said: list[Json]) -> None:
    """The identity of every piece of text and thinking, in order, and of all that the pieces amount to.

    As in whole replies, a refusal is the content, `reasoning` is `reasoning_content`, and `stop` beside calls is
    `tool_calls`. Beyond that:

    - a call comes whole, and all of a line in one chunk, since it is to become a line again; calls follow the text, in
      the order of their indices;
    - what says nothing is left out; a chunk with thinking and content is two, in this order;
    - the role comes once, the finish reason in a chunk of its own, the usage last.

    A token that shows no text comes with the next text, or at the end. With thinking in the answer none is drawn:
    Ollama's wire does not say whether such a token was thought.
    """
    chunks = [openai.CreateChatCompletionStreamResponse.model_validate(chunk) for chunk in said]
    model = said[0]["model"]
    lines = as_lines(chunks, ChatWriter(model, watch()))
    found = as_chunks(lines, ChatStreamTranslator(ASKED, include_usage=True))
    assert exact(reported(found)) == exact(reported(said))
    texts = [kind for kind in form(found) if kind == "text"]
    made = reported(found)
    assert form(found) == ["role", *texts, *["tool_calls"] * bool(made["calls"]), "finish", "usage"]
    assert {(one["id"], one["created"], one["model"]) for one in found} == {("chatcmpl-req-1", AT, model)}


# -- chat, from Ollama's wire --


@st.composite
def ollama_streams(draw: st.DrawFn) -> list[Json]:
    """Lines of one answer: thinking, then text, with calls anywhere, each whole in a line."""
    model = draw(names)
    lines: list[Json] = []

    def line(message: Json, **more: Any) -> None:
        said = {"role": "assistant", "content": "", **message}
        head = {"model": model, "created_at": "2026-01-01T00:00:00Z", "message": said, "done": False}
        lines.append(head | {name: value for name, value in more.items() if value})

    for call in draw(calls):
        said = {"id": call["id"], "function": {"index": 0, "name": call["name"], "arguments": call["arguments"]}}
        line({"tool_calls": [said]})
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["thinking", "content", "both", "images"]))
        if kind == "images":
            line({"images": draw(pictures)})
        elif kind == "content":
            shown = draw(st.lists(tokens(some_words), max_size=2))
            line({"content": spelled(shown) if shown else draw(some_words)}, logprobs=on_ollama(shown))
        else:
            line({"thinking": draw(some_words)} | ({"content": draw(some_words)} if kind == "both" else {}))
    lines = draw(st.permutations(lines))
    line({}, done=True, done_reason=draw(st.sampled_from(["stop", "length"])), prompt_eval_count=draw(counts),
         eval_count=draw(counts), **dict.fromkeys(TIMES, 5))  # fmt: skip
    return lines


def pieces_of(lines: list[Json]) -> list[Json]:
    """Lines without the times they took, one piece each, calls at the end and numbered."""
    found: list[Json] = []
    said: list[Json] = []
    for line in lines:
        message = line["message"]
        said += message.get("tool_calls", [])
        for name in ("thinking", "content", "images"):
            if message.get(name):
                piece = {"role": "assistant", "content": "", name: message[name]}
                beside = {} if name != "content" else {key: line[key] for key in ("logprobs",) if key in line}
                found.append({"model": line["model"], "message": piece, "done": False, **beside})
    numbered = [{**call, "function": {**call["function"], "index": at}} for at, call in enumerate(said)]
    if numbered:
        message = {"role": "assistant", "content": "", "tool_calls": numbered}
        found.append({"model": lines[-1]["model"], "message": message, "done": False})
    return [*found, untimed(lines[-1])]


def untimed(line: Json) -> Json:
    return {name: value for name, value in line.items() if name not in {*TIMES, "created_at"}}


@LAW
@given(ollama_streams())
def test_a_stream_of_ollamas_wire_comes_back_from_openais(said: list[Json]) -> None:
    """The identity of every line, with these differences:

    - calls come in one line behind the text, numbered by their order, because on OpenAI's wire more of them may follow;
    - a line that says two things is two, thinking first; one that says nothing is none;
    - times are not compared: where the server says none, they are measured.
    """
    teller = ChatStreamTranslator(ASKED, include_usage=True)
    chunks = list(map(openai.CreateChatCompletionStreamResponse.model_validate, as_chunks(said, teller)))
    found = as_lines(chunks, ChatWriter(said[0]["model"], watch()))
    assert exact([untimed(line) for line in found]) == exact(pieces_of(said))


# -- texts --


@st.composite
def ollama_text_streams(draw: st.DrawFn) -> list[Json]:
    head = {"model": draw(names), "created_at": "2026-01-01T00:00:00Z", "done": False}
    lines: list[Json] = []
    for _ in range(draw(st.integers(0, 4))):
        shown = draw(st.lists(tokens(some_words), max_size=2))
        columns = [{name: one[name] for name in ("token", "logprob")} for one in shown]
        text = {"response": spelled(shown) if shown else draw(words)}
        thinking = {} if shown else {"thinking": draw(words)}
        said = text | ({"logprobs": columns} if shown else thinking)
        lines.append(head | {name: value for name, value in said.items() if value or name == "response"})
    end: Json = {"done_reason": draw(st.sampled_from(["stop", "length"])), "prompt_eval_count": draw(counts),
                 "eval_count": draw(counts)}  # fmt: skip
    end |= {"context": draw(st.lists(st.integers(0, 2**31), min_size=1, max_size=3))} if draw(st.booleans()) else {}
    done = {name: value for name, value in end.items() if value}
    return [*lines, {**head, "response": "", "done": True, **done}]


@LAW
@given(ollama_text_streams())
def test_a_streamed_text_comes_back_from_either_wire(said: list[Json]) -> None:
    """The identity of every line that says something; alternatives and bytes of tokens are those of whole texts."""
    model = said[0]["model"]
    chunks = as_chunks(said, CompletionStreamTranslator(ASKED, include_usage=True))
    there = map(openai.CreateCompletionStreamResponse.model_validate, chunks)
    lines = as_lines(there, GenerateWriter(model, watch()))
    full = [line for line in said if line["response"] or "thinking" in line or line["done"]]
    assert exact([untimed(line) for line in lines]) == exact([untimed(line) for line in full])
    assert exact(as_chunks(lines, CompletionStreamTranslator(ASKED, include_usage=True))) == exact(chunks)
