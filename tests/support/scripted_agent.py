"""A chat-only upstream that works through a task with a client's tools: what to do next follows from what was done.

The model's name chooses what goes wrong on the way: `works`, `busy` (503 once), `cut` (a stream that ends in the middle
once), `picky` (no effort to think with). What follows a `-` tells one test from another.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.upstream import Behaviour, Exchange, Hangup

type Json = dict[str, Any]


def scripted(folder: Path) -> Behaviour:
    """The behaviour for a task on the files of this folder: read two, edit one and write another, then say so."""
    failed: Counter[str] = Counter()

    def fails_first(exchange: Exchange, trouble: str) -> bool:
        """Whether the request is to fail in this way, which happens once."""
        model = exchange.seen.model
        if model.partition("-")[0] != trouble or failed[model]:
            return False
        failed[model] += 1
        return True

    async def behave(exchange: Exchange) -> None:
        if exchange.seen.method == "GET":
            await exchange.json({"object": "list", "data": []})
            return
        body = exchange.seen.json
        if exchange.seen.model.startswith("picky") and "reasoning_effort" in body:
            error = {"message": "Unsupported parameter: 'reasoning_effort'.", "type": "invalid_request_error"}
            await exchange.json({"error": {**error, "param": "reasoning_effort", "code": None}}, status=400)
        elif fails_first(exchange, "busy"):
            await exchange.json({"error": {"message": "Overloaded.", "type": "overloaded"}}, status=503)
        else:
            words, calls = _next(body, folder)
            if body.get("stream"):
                await _stream(exchange, _chunks(body, words, calls), cut=not calls and fails_first(exchange, "cut"))
            else:
                await exchange.json(_whole(body, words, calls))

    return behave


async def _stream(exchange: Exchange, chunks: list[Json], *, cut: bool) -> None:
    await exchange.open_stream()
    for chunk in chunks[:2] if cut else chunks:
        await exchange.event(chunk)
    if cut:
        raise Hangup
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


def _next(body: Json, folder: Path) -> tuple[str, list[tuple[str, Json]]]:
    """What to say and which tools to call, given how many results there are."""
    if "Read" not in {tool["function"]["name"] for tool in body.get("tools") or ()}:
        return "A short title", []  # what agents ask beside their task
    results = [message for message in body["messages"] if message["role"] == "tool"]
    a, b, c = (str(folder / name) for name in ("a.txt", "b.txt", "c.txt"))
    if not results:
        return "I read both.", [("Read", {"file_path": a}), ("Read", {"file_path": b})]
    if len(results) == 2:
        edit = {"file_path": a, "old_string": "alpha", "new_string": "omega"}
        return "I change one and write another.", [("Edit", edit), ("Write", {"file_path": c, "content": "gamma\n"})]
    return "All three files are as you wanted them.", []


def _whole(body: Json, words: str, calls: list[tuple[str, Json]]) -> Json:
    message: Json = {"role": "assistant", "content": words, "refusal": None}
    if calls:
        message["tool_calls"] = [_call(number, body, *call) for number, call in enumerate(calls)]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop", "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
    return {**head, "choices": [choice], "usage": _usage()}


def _chunks(body: Json, words: str, calls: list[tuple[str, Json]]) -> list[Json]:
    """A stream in which the pieces of calls come after the text, and their arguments in halves."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    deltas: list[Json] = [{"role": "assistant", "content": ""}, {"content": words[:4]}, {"content": words[4:]}]
    for number, call in enumerate(calls):
        made = _call(number, body, *call)
        arguments = made["function"]["arguments"]
        begun = {**made, "index": number, "function": {"name": call[0], "arguments": ""}}
        halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
        deltas.append({"tool_calls": [begun]})
        deltas += [{"tool_calls": [{"index": number, "function": {"arguments": half}}]} for half in halves]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = "tool_calls" if calls else "stop"
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return [*chunks, {**head, "choices": [], "usage": _usage()}]


def _call(number: int, body: Json, name: str, arguments: Json) -> Json:
    done = sum(message["role"] == "tool" for message in body["messages"])
    # An id that Anthropic's clients would refuse, as some servers have them.
    identifier = f"functions.{name}:{done + number}"
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def _usage() -> Json:
    return {"prompt_tokens": 1200, "completion_tokens": 30, "total_tokens": 1230}
