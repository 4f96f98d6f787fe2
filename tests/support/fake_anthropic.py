"""Anthropic's Messages API on loopback, as strict as the real one, with the behaviours of `behaviours.py` by name."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.support.anthropic_types import request_fault
from tests.support.behaviours import CALLS, SECRET_MARK, TABLE, TEXT, THOUGHT, WORDS
from tests.support.upstream import Behaviour, Exchange, Hangup

MODELS = ["claude-opus-4-5-20251101", "claude-sonnet-4-6", "claude-haiku-4-5"]
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
# Seven tokens of prompt, of which two came from the cache and one went into it; four of answer.
USAGE = {"input_tokens": 4, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 4}
ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# What goes wrong with any wire in the same way.
_ANYWHERE = {
    "hang-before-headers",
    "hang-after-headers",
    "close-at-once",
    "reset-at-once",
    "html",
    "empty-body",
    "broken-json",
    "wrong-shape",
    "redirect",
    "gzip-bomb",
}


async def behave(exchange: Exchange) -> None:
    """What the request's model names, unless the API would refuse the request."""
    seen = exchange.seen
    name = seen.model.partition("#")[0]
    if name in _ANYWHERE:
        return await TABLE[name](exchange)
    if name.startswith("status-"):
        return await refuse(exchange, int(name.removeprefix("status-")))
    problem = _problem(exchange)
    if problem is not None:
        return await refuse(exchange, *problem)
    if seen.method == "GET":
        return await _models(exchange)
    return await _BEHAVIOURS.get(name, _answer)(exchange)


def _problem(exchange: Exchange) -> tuple[int, str] | None:
    """The status and the message, if the API would not take the request."""
    seen = exchange.seen
    if not (seen.header("x-api-key") or seen.header("authorization")):
        return 401, "x-api-key header is required"
    if seen.header("anthropic-version") is None:
        return 400, "anthropic-version: header is required"
    if seen.method == "GET":
        return None
    if seen.path != "/v1/messages":
        return 404, "Not found"
    fault = fault_in(seen.json)
    return None if fault is None else (400, fault)


# -- what the API refuses --


def fault_in(body: dict[str, Any]) -> str | None:
    """Why the API would refuse the request; None if it would not."""
    return request_fault(body) or next(_faults(body), None)


def _faults(body: dict[str, Any]) -> Iterator[str]:
    turns = [_blocks(turn) for turn in body["messages"]]
    roles = [turn["role"] for turn in body["messages"]]
    if body["max_tokens"] < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    if not roles:
        yield "messages: at least one message is required"
    elif roles[0] != "user":
        yield 'messages: first message must use the "user" role'
    if any(role not in {"user", "assistant"} for role in roles):
        yield "messages: role 'system' is not supported on this model"
    if any(one == other for one, other in pairwise(roles)):
        yield "messages: roles must alternate between user and assistant"
    yield from _content_faults(body, turns)
    yield from _call_faults(turns)
    yield from _tool_faults(body, turns)
    yield from _sampling_faults(body)
    yield from _thinking_faults(body, turns)


def _blocks(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _content_faults(body: dict[str, Any], turns: list[list[dict[str, Any]]]) -> Iterator[str]:
    system = body.get("system") or []
    inner = [
        block
        for turn in turns
        for block in turn
        if block["type"] == "tool_result" and isinstance(block.get("content"), list)
    ]
    for blocks in [*turns, system, *(block["content"] for block in inner)]:
        for block in blocks:
            if block["type"] == "text" and not block["text"]:
                yield "messages: text content blocks must be non-empty"
            elif block["type"] == "text" and not block["text"].strip():
                yield "messages: text content blocks must contain non-whitespace text"
    if not all(turns):
        yield "messages: all messages must have non-empty content"
    elif body["messages"][-1]["role"] == "assistant" and turns[-1][-1].get("text", "x")[-1].isspace():
        yield "messages: final assistant content cannot end with trailing whitespace"


def _call_faults(turns: list[list[dict[str, Any]]]) -> Iterator[str]:
    calls = [[block["id"] for block in turn if block["type"] == "tool_use"] for turn in turns]
    results = [[block["tool_use_id"] for block in turn if block["type"] == "tool_result"] for turn in turns]
    every = [ident for turn in calls for ident in turn]
    if len(set(every)) < len(every):
        yield "messages: `tool_use` ids must be unique"
    if not all(re.fullmatch(r"[a-zA-Z0-9_-]+", ident) for ident in every):
        yield "messages: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    if not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", block["name"]) for block in _of(turns, "tool_use")):
        yield "messages: tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"
    for called, answered in zip([[], *calls], [*results, []], strict=True):
        if set(called) - set(answered):
            yield "messages: `tool_use` ids were found without `tool_result` blocks immediately after"
        if set(answered) - set(called) or len(set(answered)) < len(answered):
            yield "messages: unexpected `tool_use_id` found in `tool_result` blocks"
    places = [[block["type"] == "tool_result" for block in turn] for turn in turns]
    if any(kinds != sorted(kinds, reverse=True) for kinds in places):
        yield "messages: `tool_result` blocks must come first"


def _of(turns: list[list[dict[str, Any]]], kind: str) -> list[dict[str, Any]]:
    return [block for turn in turns for block in turn if block["type"] == kind]


def _tool_faults(body: dict[str, Any], turns: list[list[dict[str, Any]]]) -> Iterator[str]:
    tools = body.get("tools") or []
    names = [tool["name"] for tool in tools]
    if any(block["type"] in {"tool_use", "tool_result"} for turn in turns for block in turn) and not tools:
        yield "Requests which include `tool_use` or `tool_result` blocks must define tools"
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    if not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name) for name in names):
        yield "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"
    if not all(tool["input_schema"].get("type") == "object" for tool in tools):
        yield "tools.0.custom.input_schema.type: Input should be 'object'"
    choice = body.get("tool_choice")
    if choice and not tools:
        yield "tool_choice may only be specified while providing tools"
    if choice and choice["type"] == "tool" and choice["name"] not in names:
        yield "Tool not found in provided tools"


def _sampling_faults(body: dict[str, Any]) -> Iterator[str]:
    if not 0 <= body.get("temperature", 1) <= 1:
        yield "temperature: range: 0..1"
    if not 0 <= body.get("top_p", 1) <= 1:
        yield "top_p: range: 0..1"
    if not all(one.strip() for one in body.get("stop_sequences", [])):
        yield "stop_sequences: each stop sequence must contain non-whitespace"


def _thinking_faults(body: dict[str, Any], turns: list[list[dict[str, Any]]]) -> Iterator[str]:
    thinking = body.get("thinking") or {"type": "disabled"}
    old = re.search(r"claude-(3|(opus|sonnet|haiku)-4-5)", body["model"]) is not None
    if thinking["type"] == "disabled":
        return
    if old is (thinking["type"] == "adaptive"):
        yield f'"thinking.type.{thinking["type"]}" is not supported for this model.'
    if not 1024 <= thinking.get("budget_tokens", 1024) < max(body["max_tokens"], 1025):
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if (body.get("tool_choice") or {}).get("type") in {"any", "tool"}:
        yield "Thinking may not be enabled when tool_choice forces tool use."
    if old and _must_think_on(body, turns):
        yield "Expected `thinking` or `redacted_thinking`. A final `assistant` message must start with thinking."
    yield from _thinking_sampling_faults(body)


def _thinking_sampling_faults(body: dict[str, Any]) -> Iterator[str]:
    if body.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled."
    if body.get("top_p", 1) < 0.95:
        yield "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."


def _must_think_on(body: dict[str, Any], turns: list[list[dict[str, Any]]]) -> bool:
    """Whether the reply that is to be continued lacks the thinking that it began with."""
    replies = [turn for turn, one in zip(turns, body["messages"], strict=True) if one["role"] == "assistant"]
    if not replies or not (replies[-1] is turns[-1] or any(block["type"] == "tool_use" for block in replies[-1])):
        return False
    return replies[-1][0]["type"] not in {"thinking", "redacted_thinking"}


async def refuse(exchange: Exchange, status: int, message: str = "") -> None:
    """An error of the API. What its operator only is to read holds the mark, and the key."""
    reported = message or f"told {status}"
    if status in {401, 403} or status >= 500:
        reported += f" {SECRET_MARK} {exchange.seen.header('x-api-key')}"
    error = {"type": ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error"), "message": reported}
    headers = {"request-id": "req_011CS", **(limits() if status == 429 else {})}
    await exchange.json({"type": "error", "error": error, "request_id": "req_011CS"}, status=status, headers=headers)


def limits() -> dict[str, str]:
    """The API's own headers for limits, used up and open again in seven seconds."""
    reset = (datetime.now(UTC) + timedelta(seconds=7)).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "retry-after": "7",
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": reset,
        "anthropic-ratelimit-input-tokens-remaining": "9000",
    }


# -- models --


def model_info(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2025-11-24T00:00:00Z",
        "lifecycle": "active",
    }


async def _models(exchange: Exchange) -> None:
    """The list in pages of two, whatever limit was asked for; one model; or none."""
    path, _, query = exchange.seen.path.partition("?")
    if path == "/v1/models":
        after = re.search(r"after_id=([^&]+)", query)
        start = MODELS.index(after[1]) + 1 if after else 0
        page = MODELS[start : start + 2]
        return await exchange.json(
            {
                "data": [model_info(name) for name in page],
                "has_more": start + 2 < len(MODELS),
                "first_id": page[0],
                "last_id": page[-1],
            }
        )
    if exchange.seen.model not in MODELS:
        return await refuse(exchange, 404, f"model: {exchange.seen.model}")
    return await exchange.json(model_info(exchange.seen.model))


# -- answers --


def text(said: str = TEXT) -> dict[str, Any]:
    return {"type": "text", "text": said}


def call(at: int) -> dict[str, Any]:
    _, name, arguments = CALLS[at]
    return {"type": "tool_use", "id": f"toolu_0{at + 1}", "name": name, "input": json.loads(arguments)}


def thought() -> dict[str, Any]:
    return {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE}


def message(model: str, content: list[dict[str, Any]], reason: str | None, **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": dict(USAGE) | {"service_tier": "standard"},
        **more,
    }


def events(
    model: str, content: list[dict[str, Any]], reason: str, details: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The whole stream for a message of these blocks."""
    head = message(model, [], None) | {"usage": {**USAGE, "output_tokens": 1, "service_tier": "standard"}}
    made: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for at, block in enumerate(content):
        made += [{**event, "index": at} for event in _told(block)]
        made += [{"type": "ping"}] if at == 0 else []
    delta = {"stop_reason": reason, "stop_sequence": None, **({"stop_details": details} if details else {})}
    made.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": USAGE["output_tokens"]}})
    return [*made, {"type": "message_stop"}]


def _told(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    empty: dict[str, Any] = {**block}
    deltas: list[dict[str, Any]] = []
    if block["type"] == "text":
        empty["text"] = ""
        empty["citations"] = None
        pieces = WORDS if block["text"] == TEXT else [block["text"]]
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        deltas += [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
    elif block["type"] == "thinking":
        empty |= {"thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in block["thinking"]]
        deltas += [{"type": "signature_delta", "signature": block["signature"]}]
    elif block["type"] in {"tool_use", "server_tool_use"}:
        empty["input"] = {}
        given = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", given[:4], given[4:])]
    yield {"type": "content_block_start", "content_block": empty}
    yield from ({"type": "content_block_delta", "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop"}


async def send(exchange: Exchange, made: list[dict[str, Any]]) -> None:
    """Named events, as the API sends them."""
    for event in made:
        data = json.dumps(event, ensure_ascii=False).encode()
        await exchange.chunk(b"event: " + event["type"].encode() + b"\ndata: " + data + b"\n\n")


async def _reply(exchange: Exchange, content: list[dict[str, Any]], reason: str, **more: Any) -> None:
    model = exchange.seen.model
    if not exchange.seen.json.get("stream"):
        return await exchange.json(message(model, content, reason, **more))
    await exchange.open_stream()
    await send(exchange, events(model, content, reason, more.get("stop_details")))
    return await exchange.end_stream()


async def _answer(exchange: Exchange) -> None:
    await _reply(exchange, [text()], "end_turn")


async def _tool_call(exchange: Exchange) -> None:
    await _reply(exchange, [call(0)], "tool_use")


async def _tool_calls_two(exchange: Exchange) -> None:
    await _reply(exchange, [text("Let me look."), call(0), call(1)], "tool_use")


async def _cut_length(exchange: Exchange) -> None:
    await _reply(exchange, [text()], "max_tokens")


async def _thinking(exchange: Exchange) -> None:
    redacted = {"type": "redacted_thinking", "data": "EmwKAhgB"}
    await _reply(exchange, [thought(), redacted, text()], "end_turn")


async def _thinking_call(exchange: Exchange) -> None:
    """A turn of a model that thinks: it must get its thinking back with the result."""
    turns = exchange.seen.json["messages"]
    called = any(block["type"] == "tool_use" for turn in turns for block in _blocks(turn))
    await (_answer(exchange) if called else _reply(exchange, [thought(), call(0)], "tool_use"))


async def _refusal(exchange: Exchange) -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "This could do harm."}
    await _reply(exchange, [text("I")], "refusal", stop_details=details)


async def _pause(exchange: Exchange) -> None:
    """A turn of the API's own tools, paused half way: with blocks that OpenAI's API has no place for."""
    search = {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {"query": "zebra"}}
    page = {"type": "web_search_result", "url": "https://example.com/z", "title": "Zebras", "encrypted_content": "e"}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": [page]}
    cite = {
        "type": "web_search_result_location",
        "url": "https://example.com/z",
        "title": "Zebras",
        "cited_text": "striped",
        "encrypted_index": "i",
    }
    cited = {"type": "text", "text": "They are striped.", "citations": [cite]}
    await _reply(exchange, [text("I search. "), search, found, cited], "pause_turn")


async def _context(exchange: Exchange) -> None:
    await _reply(exchange, [text()], "model_context_window_exceeded")


async def _new_reason(exchange: Exchange) -> None:
    await _reply(exchange, [text()], "tired")


async def _begin(exchange: Exchange) -> None:
    """A stream's head and two words."""
    await exchange.open_stream()
    await send(exchange, events(exchange.seen.model, [text()], "end_turn")[:4])


async def _stream_error(exchange: Exchange) -> None:
    await _begin(exchange)
    await send(exchange, [_error("api_error")])
    await exchange.end_stream()


async def _stream_overloaded(exchange: Exchange) -> None:
    await _begin(exchange)
    await send(exchange, [_error("overloaded_error")])
    await exchange.end_stream()


async def _stream_overloaded_first(exchange: Exchange) -> None:
    await exchange.open_stream()
    await send(exchange, [_error("overloaded_error")])
    await exchange.end_stream()


def _error(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": f"told {kind}"}, "request_id": "req_011CS"}


async def _stream_cut(exchange: Exchange) -> None:
    await _begin(exchange)
    raise Hangup


async def _stream_cut_late(exchange: Exchange) -> None:
    """Everything but the event that says it was everything."""
    await exchange.open_stream()
    await send(exchange, events(exchange.seen.model, [text()], "end_turn")[:-1])
    raise Hangup


async def _stream_reset(exchange: Exchange) -> None:
    await _begin(exchange)
    await asyncio.sleep(0.1)
    exchange.reset()


async def _stream_unfinished(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.end_stream()


async def _stalled(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.hang()


async def _drip(exchange: Exchange) -> None:
    await _begin(exchange)
    word = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "drip "}}
    for _ in range(300):
        await send(exchange, [word])
        await asyncio.sleep(0.1)


async def _news(exchange: Exchange) -> None:
    """Events and deltas that this API may have one day, of any shape."""
    made = events(exchange.seen.model, [text()], "end_turn")
    made.insert(1, {"type": "weather", "index": "tomorrow", "delta": 5})
    made.insert(4, {"type": "content_block_delta", "index": 0, "delta": {"type": "smell_delta", "smell": "pine"}})
    await exchange.open_stream()
    await send(exchange, made)
    await exchange.end_stream()


async def _garbled(exchange: Exchange) -> None:
    """A delta of a block that nobody opened."""
    made = events(exchange.seen.model, [text()], "end_turn")
    await exchange.open_stream()
    await send(exchange, [made[0], made[2]])
    await exchange.end_stream()


_BEHAVIOURS: dict[str, Behaviour] = {
    "tool-call": _tool_call,
    "tool-calls-two": _tool_calls_two,
    "cut-length": _cut_length,
    "thinking": _thinking,
    "claude-sonnet-4-5-thinking-call": _thinking_call,
    "refusal": _refusal,
    "pause": _pause,
    "context": _context,
    "new-reason": _new_reason,
    "stream-error": _stream_error,
    "stream-overloaded": _stream_overloaded,
    "stream-overloaded-first": _stream_overloaded_first,
    "stream-cut": _stream_cut,
    "stream-cut-late": _stream_cut_late,
    "stream-reset": _stream_reset,
    "stream-unfinished": _stream_unfinished,
    "stalled-stream": _stalled,
    "drip": _drip,
    "news": _news,
    "garbled": _garbled,
}
