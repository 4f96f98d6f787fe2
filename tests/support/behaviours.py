"""What the fault upstream can do, by name: the good, the usual sloppiness, and every way to go wrong.

A name is the `model` of a request. `status-<code>[-nested|flat|string|detail|html|empty]` answers with that status in
that dialect; any name that is not in the table behaves well.
"""

import asyncio
import base64
import gzip
import json
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.upstream import Behaviour, Exchange, Hangup, head

CREATED = 1_760_000_000
WORDS = ["Grüße", ", ", "Welt", " 🙂!"]
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
RATE_LIMITS = {
    "retry-after": "7",
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "7s",
}
SECRET_MARK = "upstream-internal-marker"  # nothing of what a refused or broken upstream reply holds may leave
VECTORS = [[0.6, -0.8, 0.0], [0.0, 1.0, 0.0]]
MODELS = ["up/model-a:7b", "plain-model"]

TABLE: dict[str, Behaviour] = {}
BEHAVED: Counter[str] = Counter()
"""How often a flaky model has been asked for."""


def behaviour(name: str) -> Callable[[Behaviour], Behaviour]:
    def register(act: Behaviour) -> Behaviour:
        TABLE[name] = act
        return act

    return register


async def behave(exchange: Exchange) -> None:
    """The behaviour that the request's model names."""
    name = exchange.seen.model.partition("#")[0]
    if name.startswith("flaky-"):
        _, times, name = name.split("-", 2)
        BEHAVED[exchange.seen.model] += 1
        if BEHAVED[exchange.seen.model] > int(times):
            return await good(exchange)
    if name.startswith("status-"):
        return await _refuse(exchange, *name.removeprefix("status-").partition("-")[::2])
    return await TABLE.get(name, good)(exchange)


# -- the good --


async def good(exchange: Exchange) -> None:
    path = exchange.seen.path
    if path.endswith("/models"):
        await exchange.json({"object": "list", "data": [_model(name) for name in MODELS]})
    elif "/models/" in path:
        await exchange.json(_model(exchange.seen.model))
    elif path.endswith("/embeddings"):
        await exchange.json(embeddings(exchange.seen.json))
    elif exchange.seen.json.get("stream"):
        await stream(exchange)
    else:
        await exchange.json(reply(exchange))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "upstream"}


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    count = len(body["input"]) if isinstance(body["input"], list) else 1
    coded = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(VECTORS[i % 2]) if coded else VECTORS[i % 2]}
        for i in range(count)
    ]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def reply(exchange: Exchange) -> dict[str, Any]:
    """A whole answer that the contract accepts as it is."""
    model = exchange.seen.model
    if exchange.seen.path.endswith("/chat/completions"):
        message: dict[str, Any] = {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return _envelope("chatcmpl-up1", "chat.completion", model, [choice], usage=USAGE)
    choice = {"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}
    return _envelope("cmpl-up1", "text_completion", model, [choice], usage=USAGE)


def _envelope(ident: str, kind: str, model: str, choices: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    return {"id": ident, "object": kind, "created": CREATED, "model": model, "choices": choices, **more}


def piece(exchange: Exchange, text: str | None, *, finish: str | None = None, first: bool = False) -> dict[str, Any]:
    """One streamed chunk of either wire."""
    model = exchange.seen.model
    if exchange.seen.path.endswith("/chat/completions"):
        delta: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None} if first else {}
        delta |= {} if text is None else {"content": text}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _envelope("chatcmpl-up1", "chat.completion.chunk", model, [choice])
    choice = {"index": 0, "text": text or "", "logprobs": None, "finish_reason": finish}
    return _envelope("cmpl-up1", "text_completion", model, [choice])


def pieces(exchange: Exchange) -> list[dict[str, Any]]:
    """A whole stream without its terminator."""
    chat = exchange.seen.path.endswith("/chat/completions")
    made = [piece(exchange, None, first=True)] if chat else []
    made += [piece(exchange, word) for word in WORDS]
    made.append(piece(exchange, None, finish="stop"))
    if not (exchange.seen.json.get("stream_options") or {}).get("include_usage"):
        return made
    made = [{**one, "usage": None} for one in made]
    return [*made, {**made[-1], "choices": [], "usage": USAGE}]


async def stream(exchange: Exchange) -> None:
    await exchange.open_stream()
    for one in pieces(exchange):
        await exchange.event(one)
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


async def _begin(exchange: Exchange) -> None:
    """A stream's head, its role chunk and two words."""
    await exchange.open_stream()
    for one in pieces(exchange)[:3]:
        await exchange.event(one)


def _sse(exchange: Exchange, *, newline: bytes = b"\n", prefix: bytes = b"data: ") -> bytes:
    lines = [json.dumps(one, ensure_ascii=False).encode() for one in pieces(exchange)]
    return b"".join(prefix + line + newline * 2 for line in [*lines, b"[DONE]"])


# -- usual sloppiness, which must arrive exact --


@behaviour("sloppy")
async def sloppy(exchange: Exchange) -> None:
    """Required nulls left out, forbidden nulls sent; seen from many compatible servers."""
    if exchange.seen.json.get("stream"):
        return await sloppy_stream(exchange)
    message = {"role": "assistant", "content": TEXT, "tool_calls": None, "function_call": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = _envelope("x-1", "chat.completion", exchange.seen.model, [choice])
    return await exchange.json({**body, "system_fingerprint": None, "usage": None, "service_tier": None})


async def sloppy_stream(exchange: Exchange) -> None:
    """No role, a null fingerprint, the finish reason left out while unfinished, usage inside the finish chunk."""
    await exchange.open_stream()
    base = {"id": "x-1", "object": "chat.completion.chunk", "created": CREATED, "model": exchange.seen.model}
    for word in WORDS:
        choice: dict[str, Any] = {"index": 0, "delta": {"content": word, "tool_calls": None}}
        await exchange.event({**base, "choices": [choice], "system_fingerprint": None, "usage": None})
    final = {"index": 0, "delta": {"content": None}, "finish_reason": "stop"}
    await exchange.event({**base, "choices": [final], "usage": USAGE})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


# -- legal oddities of event streams --


async def _odd_stream(exchange: Exchange, *parts: bytes) -> None:
    await exchange.open_stream()
    for part in parts:
        await exchange.chunk(part)
        await asyncio.sleep(0.002)
    await exchange.end_stream()


@behaviour("sse-crlf")
async def sse_crlf(exchange: Exchange) -> None:
    await _odd_stream(exchange, _sse(exchange, newline=b"\r\n"))


@behaviour("sse-comments")
async def sse_comments(exchange: Exchange) -> None:
    body = _sse(exchange).replace(b"data: ", b": keepalive\n\nevent: message\nid: 1\ndata: ")
    await _odd_stream(exchange, b":\n\n: OPENROUTER PROCESSING\n\n", body)


@behaviour("sse-no-space")
async def sse_no_space(exchange: Exchange) -> None:
    await _odd_stream(exchange, _sse(exchange, prefix=b"data:"))


@behaviour("sse-bytes")
async def sse_bytes(exchange: Exchange) -> None:
    """Every byte in a chunk of its own: no boundary that can be split stays whole."""
    body = _sse(exchange)
    await exchange.open_stream()
    for at in range(len(body)):
        await exchange.chunk(body[at : at + 1])
    await exchange.end_stream()


@behaviour("sse-split-utf8")
async def sse_split_utf8(exchange: Exchange) -> None:
    body = _sse(exchange)
    cut = body.index("ü".encode()) + 1
    smile = body.index("🙂".encode()) + 2
    await _odd_stream(exchange, body[:cut], body[cut:smile], body[smile:])


@behaviour("finished-without-done")
async def finished_without_done(exchange: Exchange) -> None:
    await exchange.open_stream()
    for one in pieces(exchange):
        await exchange.event(one)
    await exchange.end_stream()


# -- slow --


@behaviour("hang-before-headers")
async def hang_before_headers(exchange: Exchange) -> None:
    await exchange.hang()


@behaviour("hang-after-headers")
async def hang_after_headers(exchange: Exchange) -> None:
    await exchange.raw(head(200, {"content-type": _kind(exchange), "content-length": "500"}))
    await exchange.hang()


@behaviour("stalled-stream")
async def stalled_stream(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.hang()


@behaviour("drip")
async def drip(exchange: Exchange) -> None:
    """A stream that goes on, ten words a second, until someone leaves (30 s at most)."""
    await _begin(exchange)
    for _ in range(300):
        await exchange.event(piece(exchange, "drip "))
        await asyncio.sleep(0.1)


@behaviour("flood")
async def flood(exchange: Exchange) -> None:
    """As many words as the reader will take, up to about 200 MB."""
    await _begin(exchange)
    word = piece(exchange, "flood " * 1000)
    for _ in range(32_000):
        await exchange.event(word)


@behaviour("paced")
async def paced(exchange: Exchange) -> None:
    """A good stream that takes about a second and a half."""
    await exchange.open_stream()
    for one in pieces(exchange):
        await exchange.event(one)
        await asyncio.sleep(0.25)
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@behaviour("loris-headers")
async def loris_headers(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\nx-slow: ")
    await _loris(exchange)


@behaviour("loris-body")
async def loris_body(exchange: Exchange) -> None:
    await exchange.raw(head(200, {"content-type": _kind(exchange), "content-length": "5000"}) + b'{"id":"')
    await _loris(exchange)


async def _loris(exchange: Exchange) -> None:
    for _ in range(300):
        await exchange.raw(b"a")
        await asyncio.sleep(0.1)


def _kind(exchange: Exchange) -> str:
    return "text/event-stream" if exchange.seen.json.get("stream") else "application/json"


# -- broken connections --


@behaviour("close-at-once")
async def close_at_once(exchange: Exchange) -> None:
    raise Hangup


@behaviour("reset-at-once")
async def reset_at_once(exchange: Exchange) -> None:
    exchange.reset()


@behaviour("garbage")
async def garbage(exchange: Exchange) -> None:
    await exchange.raw(b"\x16\x03\x01 " + SECRET_MARK.encode() + b"\r\n\r\n")
    raise Hangup


@behaviour("bad-status-line")
async def bad_status_line(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 abc " + SECRET_MARK.encode() + b"\r\ncontent-length: 0\r\n\r\n")
    raise Hangup


@behaviour("short-body")
async def short_body(exchange: Exchange) -> None:
    body = json.dumps(reply(exchange)).encode()
    await exchange.raw(head(200, {"content-type": "application/json", "content-length": str(len(body) + 50)}) + body)
    raise Hangup


@behaviour("stream-reset")
async def stream_reset(exchange: Exchange) -> None:
    await _begin(exchange)
    await asyncio.sleep(0.1)
    exchange.reset()


@behaviour("stream-cut")
async def stream_cut(exchange: Exchange) -> None:
    """The connection closes inside the chunked body."""
    await _begin(exchange)
    raise Hangup


@behaviour("stream-unfinished")
async def stream_unfinished(exchange: Exchange) -> None:
    """A clean end of the body, but neither a finish reason nor `[DONE]`."""
    await _begin(exchange)
    await exchange.end_stream()


@behaviour("stream-empty")
async def stream_empty(exchange: Exchange) -> None:
    await exchange.open_stream()
    await exchange.end_stream()


@behaviour("looks-up")
async def looks_up(exchange: Exchange) -> None:
    """An upstream that searches the web as often as there may be tokens, in Anthropic's and OpenRouter's words."""
    usage = {**USAGE, "server_tool_use": {"web_search_requests": exchange.seen.json["max_tokens"]}}
    if not exchange.seen.json.get("stream"):
        await exchange.json({**reply(exchange), "usage": usage})
        return
    await exchange.open_stream()
    for one in pieces(exchange):
        await exchange.event({**one, "usage": usage} if one.get("usage") else one)
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@behaviour("tiered")
async def tiered(exchange: Exchange) -> None:
    """An upstream that serves by its flexible tier, whatever was asked for."""
    tier = {"service_tier": "flex"}
    if not exchange.seen.json.get("stream"):
        await exchange.json({**reply(exchange), **tier})
        return
    await exchange.open_stream()
    counted = "uncounted" not in exchange.seen.model
    for one in pieces(exchange):
        if counted or not one.get("usage"):
            await exchange.event({**one, **tier})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@behaviour("no-usage-option")
async def no_usage_option(exchange: Exchange) -> None:
    """An older server: it refuses the option that asks for usage."""
    if "stream_options" in exchange.seen.json:
        error = {"message": "Unknown field", "type": "invalid_request_error", "param": "stream_options", "code": None}
        await exchange.json({"error": error}, status=400)
        return
    await stream(exchange)


# -- broken replies --


@behaviour("broken-json")
async def broken_json(exchange: Exchange) -> None:
    await exchange.reply(b'{"id":"' + SECRET_MARK.encode() + b'","object":')


@behaviour("html")
async def html(exchange: Exchange) -> None:
    await exchange.reply(f"<html><body>{SECRET_MARK}</body></html>".encode(), content_type="text/html")


@behaviour("empty-body")
async def empty_body(exchange: Exchange) -> None:
    await exchange.reply(b"")


@behaviour("no-content")
async def no_content(exchange: Exchange) -> None:
    await exchange.raw(head(204, {}))


@behaviour("null-body")
async def null_body(exchange: Exchange) -> None:
    await exchange.reply(b"null")


@behaviour("wrong-shape")
async def wrong_shape(exchange: Exchange) -> None:
    await exchange.json({"id": 5, "object": SECRET_MARK, "choices": "none", "data": {"a": 1}})


@behaviour("error-in-200")
async def error_in_200(exchange: Exchange) -> None:
    await exchange.json({"error": {"message": "no capacity", "type": "server_error", "param": None, "code": "full"}})


@behaviour("redirect")
async def redirect(exchange: Exchange) -> None:
    await exchange.reply(b"", status=302, headers={"location": "http://169.254.169.254/latest/meta-data"})


@behaviour("gzip")
async def gzipped(exchange: Exchange) -> None:
    await exchange.reply(gzip.compress(json.dumps(reply(exchange)).encode()), headers={"content-encoding": "gzip"})


@behaviour("gzip-bomb")
async def gzip_bomb(exchange: Exchange) -> None:
    await exchange.reply(_bomb(), headers={"content-encoding": "gzip"})


def _bomb() -> bytes:
    """Two hundred members of a megabyte each, which is one gzip text: made in no time, unlike one of 200 MB."""
    return gzip.compress(bytes(1_000_000)) * 200


@behaviour("huge-body")
async def huge_body(exchange: Exchange) -> None:
    """300 MB of white space where JSON was expected, announced as what it is."""
    await exchange.raw(head(200, {"content-type": "application/json", "content-length": str(300 * 2**20)}))
    for _ in range(4800):
        await exchange.raw(b" " * 2**16)


@behaviour("endless-body")
async def endless_body(exchange: Exchange) -> None:
    """The same, unannounced."""
    await exchange.raw(head(200, {"content-type": "application/json", "transfer-encoding": "chunked"}))
    for _ in range(4800):
        await exchange.chunk(b" " * 2**16)


@behaviour("fat-header")
async def fat_header(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\nx-fat: " + b"a" * 2_000_000 + b"\r\n\r\n")
    raise Hangup


@behaviour("wrong-vectors")
async def wrong_vectors(exchange: Exchange) -> None:
    """One vector fewer than asked for."""
    body = embeddings(exchange.seen.json)
    await exchange.json({**body, "data": body["data"][:-1]})


@behaviour("floats-only")
async def floats_only(exchange: Exchange) -> None:
    """Ignores `encoding_format`, as many servers do."""
    await exchange.json(embeddings({**exchange.seen.json, "encoding_format": "float"}))


# -- broken streams --


@behaviour("stream-error")
async def stream_error(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.event({"error": {"message": "overloaded", "type": "server_error", "param": None, "code": "busy"}})
    await exchange.end_stream()


@behaviour("stream-broken-json")
async def stream_broken_json(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.chunk(b'data: {"id":"' + SECRET_MARK.encode() + b'",\n\n')
    await exchange.end_stream()


@behaviour("stream-wrong-shape")
async def stream_wrong_shape(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.event({"id": 5, "choices": SECRET_MARK})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@behaviour("stream-giant-line")
async def stream_giant_line(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.chunk(b"data: ")
    for _ in range(4800):  # 300 MB
        await exchange.chunk(b" " * 2**16)


@behaviour("stream-error-first")
async def stream_error_first(exchange: Exchange) -> None:
    await exchange.open_stream()
    await exchange.event({"error": {"message": "overloaded", "type": "server_error", "param": None, "code": "busy"}})
    await exchange.end_stream()


@behaviour("stream-refused-first")
async def stream_refused_first(exchange: Exchange) -> None:
    await exchange.open_stream()
    said = {"message": "too long", "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}
    await exchange.event({"error": said})
    await exchange.end_stream()


# -- refusals --


async def _refuse(exchange: Exchange, status: str, dialect: str) -> None:
    code = int(status)
    text = f"upstream refuses with {code}"
    if code in {401, 403}:  # real upstreams quote the key, or a part of it
        text += f": key {exchange.seen.header('authorization')} is wrong"
    inner = {"message": text, "type": "upstream_type", "param": "messages[0].content", "code": "upstream_code"}
    bodies = {
        "": json.dumps({"error": inner}),
        "nested": json.dumps({"error": inner}),
        "flat": json.dumps(inner),
        "string": json.dumps({"error": text}),
        "detail": json.dumps({"detail": text}),
        "html": f"<html><body>{SECRET_MARK}</body></html>",
        "empty": "",
    }
    kind = "text/html" if dialect == "html" else "application/json"
    limits = RATE_LIMITS if code == 429 else {}
    await exchange.reply(bodies[dialect].encode(), status=code, content_type=kind, headers=limits)


# -- answers that are more than text --

CALLS = [("call_up1", "zebra", '{"z":"ä","n":1}'), ("call_up2", "apfel", "{}")]
THOUGHT = "hm"


@behaviour("tool-call")
async def tool_call(exchange: Exchange) -> None:
    await _message(exchange, {"content": None, "tool_calls": _calls(CALLS[:1])}, "tool_calls")


@behaviour("tool-calls-two")
async def tool_calls_two(exchange: Exchange) -> None:
    await _message(exchange, {"content": None, "tool_calls": _calls(CALLS)}, "tool_calls")


@behaviour("cut-length")
async def cut_length(exchange: Exchange) -> None:
    if exchange.seen.path.endswith("/chat/completions"):
        return await _message(exchange, {"content": TEXT}, "length")
    if not exchange.seen.json.get("stream"):
        whole = reply(exchange)
        whole["choices"][0]["finish_reason"] = "length"
        return await exchange.json(whole)
    return await _events(exchange, [piece(exchange, TEXT), piece(exchange, None, finish="length")])


@behaviour("thinking")
async def thinking(exchange: Exchange) -> None:
    await _message(exchange, {"content": TEXT, "reasoning_content": THOUGHT}, "stop")


def _calls(wanted: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [
        {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}
        for ident, name, arguments in wanted
    ]


async def _message(exchange: Exchange, fields: dict[str, Any], finish: str) -> None:
    """A chat message with these fields, whole or in as many deltas as it has parts."""
    if not exchange.seen.json.get("stream"):
        whole = reply(exchange)
        message = {"role": "assistant", "refusal": None, **fields}
        whole["choices"][0] |= {"message": message, "finish_reason": finish}
        return await exchange.json(whole)
    deltas: list[dict[str, Any]] = [{"reasoning_content": THOUGHT}] if "reasoning_content" in fields else []
    deltas += [{"content": word} for word in WORDS] if fields["content"] else []
    for index, call in enumerate(fields.get("tool_calls", [])):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        head = {"index": index, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
        halves = [arguments[:4], arguments[4:]]
        deltas.append({"tool_calls": [head]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": half}}]} for half in halves]
    chunks = [piece(exchange, None, first=True)]
    for delta in deltas:
        chunks.append(piece(exchange, None))
        chunks[-1]["choices"][0]["delta"] = delta
    return await _events(exchange, [*chunks, piece(exchange, None, finish=finish)])


async def _events(exchange: Exchange, chunks: list[dict[str, Any]]) -> None:
    if (exchange.seen.json.get("stream_options") or {}).get("include_usage"):
        chunks = [*({**one, "usage": None} for one in chunks), {**chunks[-1], "choices": [], "usage": USAGE}]
    await exchange.open_stream()
    for one in chunks:
        await exchange.event(one)
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()
