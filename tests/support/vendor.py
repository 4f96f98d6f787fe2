"""A vendor's API as its clients meet it when it refuses or fails: what it says itself, to compare a gateway with.

The model names the kind of failure; with `mid-` in front it comes in the middle of a stream. What is said is what
OpenAI and Azure document in "Error codes", or what their public threads quote, in 2026-11; Ollama's form of it is that
of its docs/api.md.
"""

import json
from typing import Any

from tests.support.behaviours import behave
from tests.support.upstream import Exchange

KEY = "sk-vendor-0123456789"


def said(message: str, kind: str | None, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


# The status, and the body.
KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "key": (401, said("Incorrect API key provided: sk-wrong.", "invalid_request_error", "invalid_api_key")),
    "region": (
        403,
        said(
            "Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"
        ),
    ),
    "model": (
        404,
        said(
            "The model `x` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"
        ),
    ),
    "rate": (429, said("Rate limit reached for gpt-4o on tokens per min.", "tokens", "rate_limit_exceeded")),
    "quota": (429, said("You exceeded your current quota.", "insufficient_quota", "insufficient_quota")),
    "context": (
        400,
        said(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
        ),
    ),
    "filter": (
        400,
        said(
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            None,
            "content_filter",
            "prompt",
        ),
    ),
    "policy": (
        400,
        said(
            "Your request was rejected as a result of our safety system.",
            "invalid_request_error",
            "content_policy_violation",
        ),
    ),
    "overload": (503, said("The engine is currently overloaded, please try again later", "server_error", None)),
    "failure": (500, said("The server had an error while processing your request", "server_error", None)),
    "late": (504, said("Gateway timeout", "server_error", None)),
}


async def vendor(exchange: Exchange) -> None:
    """The failure that the model names, after two chunks with `mid-`; a wrong key comes first."""
    if exchange.seen.header("authorization") != f"Bearer {KEY}":
        await _fail(exchange, "key")
        return
    kind, mid = exchange.seen.model.removeprefix("mid-"), exchange.seen.model.startswith("mid-")
    if kind == "silence":
        await exchange.hang()
    elif kind not in KINDS:
        await behave(exchange)
    elif mid:
        await _fail_midway(exchange, kind)
    else:
        await _fail(exchange, kind)


async def ollama_vendor(exchange: Exchange) -> None:
    """The same failures on Ollama's wire: an object with the words alone, as a reply or as a line of a stream."""
    kind, mid = exchange.seen.model.removeprefix("mid-"), exchange.seen.model.startswith("mid-")
    if exchange.seen.method == "GET":
        await exchange.json({"models": []})
        return
    if exchange.seen.header("authorization") != f"Bearer {KEY}":
        kind, mid = "key", False
    if kind == "silence":
        await exchange.hang()
    status, body = KINDS[kind]
    words = {"error": body["error"]["message"]}
    if not mid:
        await exchange.json(words, status=status, headers={"retry-after": "1"} if status == 429 else {})
        return
    part = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "done": False}
    lines = [{**part, "message": {"role": "assistant", "content": text}} for text in ("Hel", "lo")]
    body_sent = b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, words])
    await exchange.reply(body_sent, content_type="application/x-ndjson")


async def _fail_midway(exchange: Exchange, kind: str) -> None:
    await exchange.open_stream()
    for text in ("", "Hello"):
        delta = {"role": "assistant", "content": text}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        await exchange.event({**base, "choices": [choice]})
    await exchange.event(KINDS[kind][1])
    await exchange.end_stream()


async def _fail(exchange: Exchange, kind: str) -> None:
    status, body = KINDS[kind]
    await exchange.json(body, status=status, headers={"retry-after": "1"} if status == 429 else {})
