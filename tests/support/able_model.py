"""A model that does what it is asked to, for the fakes of both wires: import it, and both know its name.

It calls the first tool it is offered and tells what the tool said, fills schemas, thinks, counts images and keeps to
limits.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support import behaviours, fake_ollama
from tests.support.behaviours import THOUGHT, USAGE, WORDS
from tests.support.upstream import Exchange

type Json = dict[str, Any]

ABLE = "able"


@dataclass(frozen=True)
class Wish:
    """What a request asks for, on either wire."""

    last: Json
    tools: list[Json]
    schema: Json | None
    thinks: bool
    images: int
    limit: int | None
    tops: int | None


@dataclass
class Answer:
    """What the model says to it."""

    words: list[str] = field(default_factory=list)
    thinking: str = ""
    call: tuple[str, Json] | None = None
    cut: bool = False
    tops: int | None = None


def answer(wish: Wish) -> Answer:
    found = Answer(list(WORDS), THOUGHT if wish.thinks else "", tops=wish.tops)
    if wish.last["role"] == "tool":
        found.words = ["It says: ", wish.last["content"]]
    elif wish.tools:
        function = wish.tools[0]["function"]
        found.words, found.call = [], (function["name"], filled(function["parameters"]))
    elif wish.schema is not None:
        found.words = [json.dumps(filled(wish.schema))]
    elif wish.images:
        found.words = [f"{wish.images} image"]
    if wish.limit is not None and wish.limit < len(found.words):
        found.words, found.cut = found.words[: wish.limit], True
    return found


def filled(schema: Json) -> Json:
    """An object with what the schema requires, each the least that its type allows."""
    least: Json = {"string": "a", "integer": 1, "number": 1.5, "array": [], "object": {}, "boolean": True}
    properties = schema.get("properties", {})
    return {name: least[properties[name]["type"]] for name in schema.get("required", [])}


# -- on OpenAI's wire --


@behaviours.behaviour(ABLE)
async def on_openai(exchange: Exchange) -> None:
    if not exchange.seen.path.endswith("/chat/completions"):
        return await behaviours.good(exchange)
    body = exchange.seen.json
    found = answer(_wish_of_openai(body))
    finish = "length" if found.cut else "tool_calls" if found.call else "stop"
    if not body.get("stream"):
        whole = behaviours.reply(exchange)
        message: Json = {"role": "assistant", "refusal": None, "content": "".join(found.words) or None}
        for delta in _deltas(found):
            message |= {name: value for name, value in delta.items() if name != "content"}
        for call in message.get("tool_calls", []):
            del call["index"]
        reported = {"content": _tokens(found), "refusal": None} if found.tops is not None else None
        whole["choices"][0] |= {"message": message, "finish_reason": finish, "logprobs": reported}
        whole["usage"] = {**USAGE, "completion_tokens": len(found.words), "total_tokens": 7 + len(found.words)}
        return await exchange.json(whole)
    return await _stream_openai(exchange, found, finish)


async def _stream_openai(exchange: Exchange, found: Answer, finish: str) -> None:
    await exchange.open_stream()
    last = behaviours.piece(exchange, None, finish=finish)
    tokens = iter(_tokens(found))
    for delta in [{"role": "assistant", "content": ""}, *_deltas(found)]:
        one = behaviours.piece(exchange, None)
        one["choices"][0]["delta"] = delta
        if found.tops is not None and delta.get("content"):
            one["choices"][0]["logprobs"] = {"content": [next(tokens)], "refusal": None}
        await exchange.event(one)
    await exchange.event(last)
    usage = {**USAGE, "completion_tokens": len(found.words), "total_tokens": 7 + len(found.words)}
    await exchange.event({**last, "choices": [], "usage": usage})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


def _wish_of_openai(body: Json) -> Wish:
    last = body["messages"][-1]
    parts = last["content"] if isinstance(last["content"], list) else []
    wanted = body.get("response_format", {})
    schema = wanted.get("json_schema", {}).get("schema", {}) if wanted else None
    return Wish(last, body.get("tools", []), schema, body.get("reasoning_effort", "none") != "none",
                sum(part["type"] == "image_url" for part in parts), body.get("max_tokens"),
                body.get("top_logprobs", 0) if body.get("logprobs") else None)  # fmt: skip


def _deltas(found: Answer) -> Iterator[Json]:
    if found.thinking:
        yield {"reasoning_content": found.thinking}
    for word in found.words:
        yield {"content": word}
    if found.call:
        function = {"name": found.call[0], "arguments": json.dumps(found.call[1])}
        yield {"tool_calls": [{"index": 0, "id": "call_able", "type": "function", "function": function}]}


# -- on Ollama's --


@fake_ollama.behaviour(ABLE)
async def on_ollama(exchange: Exchange) -> None:
    if exchange.seen.path == "/api/embed":
        return await fake_ollama.good(exchange)
    body = exchange.seen.json
    if not body.get("messages", [body.get("prompt")])[:1]:
        return await fake_ollama.loaded(exchange)
    found = answer(_wish_of_ollama(body))
    parts: list[Json] = [{"thinking": found.thinking, "content": ""}] if found.thinking else []
    tokens: list[Json] = _tokens(found) if found.tops is not None else [{}] * len(found.words)
    for word, one in zip(found.words, tokens, strict=True):
        parts.append({"content": word} | ({"logprobs": [one]} if one else {}))
    if found.call:
        name, arguments = found.call
        parts.append({"tool_calls": [{"function": {"index": 0, "name": name, "arguments": arguments}}]})
    reason = "length" if found.cut else "stop"
    return await fake_ollama.answer(exchange, parts, reason, eval_count=len(found.words) or None)


def _wish_of_ollama(body: Json) -> Wish:
    last = body["messages"][-1] if "messages" in body else {"role": "user", **body}
    wanted = body.get("format")
    return Wish(last, body.get("tools") or [], {} if wanted == "json" else wanted, bool(body.get("think")),
                len(last.get("images") or []), body.get("options", {}).get("num_predict"),
                body.get("top_logprobs", 0) if body.get("logprobs") else None)  # fmt: skip


def _tokens(found: Answer) -> list[Json]:
    others = [{"token": "x", "logprob": -2.5, "bytes": [120]}] * (found.tops or 0)
    return [{"token": word, "logprob": -0.5, "bytes": list(word.encode()), "top_logprobs": others}
            for word in found.words]  # fmt: skip
