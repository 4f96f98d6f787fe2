"""A chat-only upstream that has Codex work through a task: what to do next follows from how much was done.

The last word of the model's name says what goes wrong: `works`; `cut`, a stream that ends in the middle once;
`failing`, an error in a stream once; `limited`, a 429; `full`, a context that is too long. The name before it, such as
`gpt-5.5`, decides which tools Codex offers.
"""

import json
from collections import Counter
from typing import Any

from tests.support.upstream import Behaviour, Exchange, Hangup

type Json = dict[str, Any]

PATCH = "*** Begin Patch\n*** Update File: a.txt\n@@\n-alpha\n+omega\n*** End Patch"
_STEPS: list[tuple[str, str, Json]] = [
    ("I look at it.", "exec_command", {"cmd": "cat a.txt"}),
    ("I change it.", "apply_patch", {"input": PATCH}),
    ("I copy it.", "exec_command", {"cmd": "cp a.txt c.txt"}),
]


def scripted() -> Behaviour:
    """The behaviour: read a file, patch it, run a command, then say so."""
    failed: Counter[str] = Counter()

    async def behave(exchange: Exchange) -> None:
        if exchange.seen.method == "GET":
            await exchange.json({"object": "list", "data": []})
            return
        body, model = exchange.seen.json, exchange.seen.model
        trouble = model.rpartition("-")[2]
        done = sum(message["role"] == "tool" for message in body["messages"])
        if trouble in REFUSALS:
            status, code = REFUSALS[trouble]
            error = {"message": f"Not now: {code}.", "type": "invalid_request_error", "param": None, "code": code}
            await exchange.json({"error": error}, status=status)
            return
        await exchange.open_stream()
        chunks = _chunks(body, done)
        if trouble in {"cut", "failing"} and done == len(_STEPS) and not failed[model]:
            failed[model] += 1
            await exchange.event(chunks[0])
            if trouble == "failing":
                await exchange.event({"error": {"message": "The engine stumbled.", "type": "server_error"}})
            raise Hangup
        for chunk in chunks:
            await exchange.event(chunk)
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end_stream()

    return behave


REFUSALS = {"limited": (429, "rate_limit_exceeded"), "full": (400, "context_length_exceeded")}


def _chunks(body: Json, done: int) -> list[Json]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    is_over = done >= len(_STEPS) or not body.get("tools")
    words = "All is as you wanted it." if is_over else _STEPS[done][0]
    deltas: list[Json] = [{"role": "assistant", "content": words[:5]}, {"content": words[5:]}]
    if not is_over:
        _, name, arguments = _STEPS[done]
        text = json.dumps(arguments)
        call = {"index": 0, "id": f"call_{done}", "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [call]})
        halves = (text[: len(text) // 2], text[len(text) // 2 :])
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": half}}]} for half in halves]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = "stop" if is_over else "tool_calls"
    usage = {"prompt_tokens": 1200, "completion_tokens": 30, "total_tokens": 1230}
    return [
        *chunks,
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        {**head, "choices": [], "usage": usage},
    ]
