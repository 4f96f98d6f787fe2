"""An upstream that speaks the Responses API itself, and says as much of an answer as a test lets it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from tests.support.upstream import Exchange, Hangup

UPSTREAM_ID = "resp_upstream"
WORDS = 8
USAGE = {
    "input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0},
    "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 37,
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": UPSTREAM_ID, "object": "response", "created_at": 1, "completed_at": None, "status": "in_progress",
    "model": "m-2026", "output": [], "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
    "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": None,
    "background": False, "store": False, "previous_response_id": None, "own_field": {"kept": [1]},
}  # fmt: skip
SEARCH: dict[str, Any] = {
    "type": "web_search_call", "id": "ws_1", "status": "completed",
    "action": {"type": "search", "query": "q", "queries": ["q"]},
}  # fmt: skip
THOUGHT: dict[str, Any] = {
    "type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "opaque", "status": "completed",
}  # fmt: skip
TEXT = "".join(f"word{number} " for number in range(WORDS))


def said(text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": [part]}


OUTPUT = [SEARCH, THOUGHT, said(TEXT)]
FINAL = {**RESPONSE, "status": "completed", "completed_at": 2, "output": OUTPUT, "usage": USAGE}


def events() -> Iterator[dict[str, Any]]:
    """A whole answer, event by event: a search of its own, reasoning, and a text word by word."""
    yield {"type": "response.created", "response": RESPONSE}
    yield {"type": "response.in_progress", "response": RESPONSE}
    at: dict[str, Any] = {"item_id": "ws_1", "output_index": 0}
    begun = {**SEARCH, "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": 0, "item": begun}
    for state in ("in_progress", "searching", "completed"):
        yield {"type": f"response.web_search_call.{state}", **at}
    yield {"type": "response.output_item.done", "output_index": 0, "item": SEARCH}
    empty = {"type": "reasoning", "id": "rs_1", "summary": [], "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": 1, "item": empty}
    at = {"item_id": "rs_1", "output_index": 1, "summary_index": 0}
    part: dict[str, Any] = {"type": "summary_text", "text": ""}
    yield {"type": "response.reasoning_summary_part.added", **at, "part": part}
    yield {"type": "response.reasoning_summary_text.delta", **at, "delta": "hm"}
    yield {"type": "response.reasoning_summary_text.done", **at, "text": "hm"}
    yield {"type": "response.reasoning_summary_part.done", **at, "part": {**part, "text": "hm"}}
    yield {"type": "response.output_item.done", "output_index": 1, "item": THOUGHT}
    message = said("")
    empty = {**message, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 2, "item": empty}
    at = {"item_id": "msg_1", "output_index": 2, "content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": message["content"][0]}
    for number in range(WORDS):
        yield {"type": "response.output_text.delta", **at, "delta": f"word{number} ", "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": TEXT, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": said(TEXT)["content"][0]}
    yield {"type": "response.output_item.done", "output_index": 2, "item": said(TEXT)}
    yield {"type": "response.completed", "response": FINAL}


ALL = len([*events()])
BEFORE_WORDS = next(at for at, event in enumerate(events()) if "output_text.delta" in event["type"])


def framed(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


class NativeTap:
    """What the upstream may say of each model's answer by now. The part before `#` says how it ends otherwise.

    `limits` are numbers of events; what is not in it says all at once.
    """

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    async def behave(self, exchange: Exchange) -> None:
        model = exchange.seen.model
        kind = model.partition("#")[0]
        if kind == "lacks" and exchange.seen.path.endswith("/responses"):
            await exchange.json({"detail": "Not Found"}, status=404)
        elif exchange.seen.path.endswith("/chat/completions"):
            await _chat(exchange)
        elif kind == "refuses":
            error = {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            await exchange.json({"error": error}, status=429)
        elif not exchange.seen.json.get("stream"):
            await self._whole(exchange, kind)
        else:
            await self._stream(exchange, model, kind)

    async def _whole(self, exchange: Exchange, kind: str) -> None:
        if kind == "hangs":
            await exchange.hang()
        status = {"unended": "in_progress", "silent": None}.get(kind, "completed")
        await exchange.json({**FINAL, "status": status})

    async def _let(self, model: str, number: int) -> None:
        while True:
            if number < self.limits.get(model, ALL):
                return
            await asyncio.sleep(0.005)

    async def _stream(self, exchange: Exchange, model: str, kind: str) -> None:
        await exchange.open_stream()
        for number, event in enumerate(events()):
            await self._let(model, number)
            if kind == "cut" and number == BEFORE_WORDS + 2:
                raise Hangup
            if kind == "errs" and number == BEFORE_WORDS + 2:
                error = {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None}
                await exchange.chunk(framed({**error, "sequence_number": number}))
                await exchange.end_stream()
                return
            if kind == "fails" and number == BEFORE_WORDS + 2:
                failed = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "oh"}}
                await exchange.chunk(framed({"type": "response.failed", "sequence_number": 3, "response": failed}))
                await exchange.end_stream()
                return
            if kind == "forgets" and event["type"] == "response.completed":
                event["response"] = {**FINAL, "output": []}
            numbered = {} if kind == "unnumbered" else {"sequence_number": number + 7}
            await exchange.chunk(framed({**event, **numbered}))
        await exchange.end_stream()


async def _chat(exchange: Exchange) -> None:
    reported = {"role": "assistant", "content": "translated"}
    envelope: dict[str, Any] = {"id": "c", "created": 1, "model": "m"}
    if not exchange.seen.json.get("stream"):
        choice = {"index": 0, "finish_reason": "stop", "message": reported}
        await exchange.json({**envelope, "object": "chat.completion", "choices": [choice]})
        return
    await exchange.open_stream()
    choice = {"index": 0, "finish_reason": "stop", "delta": reported}
    await exchange.event({**envelope, "object": "chat.completion.chunk", "choices": [choice]})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()
