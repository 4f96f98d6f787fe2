"""A server with Ollama's native wire: strict about what it is sent, as Go's decoder is, and faulty to order.

The model of a request chooses the behaviour, as in `behaviours.py`, whose faults below the wire are used as they are.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.behaviours import CALLS, RATE_LIMITS, SECRET_MARK, TABLE as ANY_WIRE, TEXT, THOUGHT, VECTORS, WORDS
from tests.support.upstream import Behaviour, Exchange, Hangup, head

CREATED_AT = "2026-03-01T12:00:00.123456789Z"
CREATED = 1_772_366_400
MODELS = ["library-model:latest", "maker/model:7b", "hf.co/maker/other:q4"]
METRICS = {"total_duration": 5, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 2}
SHOWN = {
    "license": "as it pleases its makers",
    "parameters": "num_ctx 4096",
    "template": "{{ .Prompt }}",
    "modified_at": "2026-03-01T13:00:00.123456789+01:00",
    "details": {
        "parent_model": "", "format": "gguf", "family": "fam", "families": ["fam"], "parameter_size": "7B",
        "quantization_level": "Q4_0",
    },
    "capabilities": ["completion", "tools", "insert"],
    "model_info": {"general.architecture": "fam", "fam.context_length": 8192, "fam.rope": None},
    "tensors": [{"name": "output", "type": "F16", "shape": [1, 2]}],
}  # fmt: skip
TABLE: dict[str, Behaviour] = {}
COMMON = {
    "hang-before-headers", "hang-after-headers", "html", "empty-body", "broken-json", "wrong-shape", "close-at-once",
    "reset-at-once", "redirect", "gzip-bomb", "huge-body", "loris-headers", "loris-body", "garbage", "short-body",
    "no-content", "null-body",
}  # fmt: skip


def behaviour(name: str) -> Callable[[Behaviour], Behaviour]:
    def register(act: Behaviour) -> Behaviour:
        TABLE[name] = act
        return act

    return register


async def behave(exchange: Exchange) -> None:
    """The behaviour that the request's model names, once the request itself is one that Ollama takes."""
    name = exchange.seen.model.partition("#")[0]
    if exchange.seen.path.startswith("/v1/"):  # what a server has that is older than Messages
        return await exchange.json({"error": "404 page not found"}, status=404)
    problem = complaint(exchange)
    if problem:
        return await exchange.json({"error": problem}, status=400)
    if name.startswith("status-"):
        return await _refuse(exchange, int(name.removeprefix("status-")))
    if name.startswith("ended-"):
        return await answer(exchange, [{"content": word} for word in WORDS], name.removeprefix("ended-"))
    if name in COMMON:
        return await ANY_WIRE[name](exchange)
    return await TABLE.get(name, good)(exchange)


# -- what Ollama takes --


def complaint(exchange: Exchange) -> str | None:
    """What Ollama's decoder would say to the request; None if it takes it."""
    known = {
        "/api/chat": "POST",
        "/api/generate": "POST",
        "/api/embed": "POST",
        "/api/show": "POST",
        "/api/tags": "GET",
    }
    if known.get(exchange.seen.path) != exchange.seen.method:
        return f"no such route: {exchange.seen.method} {exchange.seen.path}"
    if exchange.seen.method == "GET":
        return None
    body = exchange.seen.json
    options = body.get("options", {})
    try:
        assert isinstance(options, dict), "options"
        assert isinstance(options.get("stop", []), list), "stop"
        assert isinstance(body.get("think", False), bool) or body["think"] in {"low", "medium", "high", "max"}, "think"
        assert isinstance(body.get("format", {}), dict) or body["format"] == "json", "format"
        for message in body.get("messages", []):
            _check_message(message)
        for tool in body.get("tools", []):
            assert isinstance(tool["function"]["parameters"], dict), "parameters"
    except (AssertionError, KeyError, ValueError) as error:
        return f"json: cannot unmarshal {error}"
    return None


def _check_message(message: dict[str, Any]) -> None:
    assert message["role"] in {"system", "user", "assistant", "tool"}, "role"
    assert isinstance(message.get("content", ""), str), "content"
    for image in message.get("images", []):
        base64.b64decode(image, validate=True)
    for call in message.get("tool_calls", []):
        assert isinstance(call["function"]["arguments"], dict), "arguments"


# -- the good --


async def good(exchange: Exchange) -> None:
    await answer(exchange, [{"content": word} for word in WORDS])


async def answer(exchange: Exchange, parts: list[dict[str, Any]], reason: str = "stop", **last: Any) -> None:
    """These parts of a message, streamed unless the request says otherwise, which is Ollama's default."""
    path, body = exchange.seen.path, exchange.seen.json
    if path == "/api/tags":
        listed = [{"name": name, "model": name, "modified_at": CREATED_AT, "size": 1} for name in MODELS]
        return await exchange.json({"models": listed})
    if path == "/api/show":
        odd = {"modified_at": "2024-01-01 00:00"} if body["model"].startswith("odd-times") else {}
        return await exchange.json(SHOWN | odd)
    if path == "/api/embed":
        return await exchange.json(vectors(body))
    end = {"done": True, "done_reason": reason, "prompt_eval_count": 7, "eval_count": 4, **METRICS, **last}
    end = {name: value for name, value in end.items() if value is not None}
    if body.get("stream", True):
        await open_lines(exchange)
        for part in parts:
            await line(exchange, {**object_of(exchange, part), "done": False})
        await line(exchange, {**object_of(exchange, {"content": ""}), **end})
        return await exchange.end_stream()
    whole: dict[str, Any] = {"content": "".join(part.get("content", "") for part in parts)}
    thought = "".join(part.get("thinking", "") for part in parts)
    calls = [call for part in parts for call in part.get("tool_calls", [])]
    tokens = [token for part in parts for token in part.get("logprobs", [])]
    whole |= ({"thinking": thought} if thought else {}) | ({"tool_calls": calls} if calls else {})
    whole |= {"logprobs": tokens} if tokens else {}
    return await exchange.json({**object_of(exchange, whole), **end})


def object_of(exchange: Exchange, part: dict[str, Any]) -> dict[str, Any]:
    """One answer of chat or of generate, whose text has another name; what stands beside a message stays there."""
    base: dict[str, Any] = {"model": exchange.seen.model, "created_at": CREATED_AT}
    beside = {name: part[name] for name in ("logprobs",) if name in part}
    message = {name: value for name, value in part.items() if name not in beside}
    if exchange.seen.path == "/api/generate":
        beside |= {"thinking": part["thinking"]} if "thinking" in part else {}
        return {**base, "response": message.get("content", ""), **beside}
    return {**base, "message": {"role": "assistant", "content": "", **message}, **beside}


def vectors(body: dict[str, Any]) -> dict[str, Any]:
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    length = body.get("dimensions", 3)
    found = [VECTORS[at % 2][:length] for at in range(len(inputs))]
    return {
        "model": body["model"],
        "embeddings": found,
        "total_duration": 5,
        "load_duration": 1,
        "prompt_eval_count": 5,
    }


async def open_lines(exchange: Exchange) -> None:
    await exchange.raw(head(200, {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"}))


async def line(exchange: Exchange, value: object) -> None:
    await exchange.chunk(json.dumps(value, ensure_ascii=False).encode() + b"\n")


@behaviour("obedient")
async def obedient(exchange: Exchange) -> None:
    """An answer in the form that `format` asks for, a few characters a line, and never a call of its own."""
    form = exchange.seen.json["format"]
    arguments = {"city": "Par\u00eds", "n": [1, 2]}
    if "anyOf" in form:
        value: Any = {"name": form["anyOf"][-1]["properties"]["name"]["const"], "arguments": arguments}
    else:
        value = arguments
    text = " \n" + json.dumps(value, ensure_ascii=False)
    await answer(exchange, [{"content": text[at : at + 3]} for at in range(0, len(text), 3)])


@behaviour("obedient-cut")
async def obedient_cut(exchange: Exchange) -> None:
    await answer(exchange, [{"content": '{"city": '}, {"content": '"Par'}], "length")


@behaviour("odd-times")
async def odd_times(exchange: Exchange) -> None:
    odd: dict[str, Any] = {"total_duration": 7, "load_duration": 0, "prompt_eval_duration": "4s", "eval_duration": -1}
    await answer(exchange, [{"content": TEXT}], **odd)


@behaviour("tool-call")
async def tool_call(exchange: Exchange) -> None:
    await answer(exchange, [{"tool_calls": [call(0)]}])


@behaviour("tool-calls-two")
async def tool_calls_two(exchange: Exchange) -> None:
    """Without ids, as older servers send them, and in two lines of a stream."""
    await answer(exchange, [{"tool_calls": [call(0)]}, {"tool_calls": [call(1)]}])


@behaviour("tool-calls-ids")
async def tool_calls_ids(exchange: Exchange) -> None:
    calls = [{"id": f"call_own{at}", **call(at)} for at in range(2)]
    await answer(exchange, [{"content": "Let me see."}, {"tool_calls": calls}])


@behaviour("tool-call-text")
async def tool_call_text(exchange: Exchange) -> None:
    """Arguments as the JSON text of an object: seen from servers that only look like Ollama."""
    await answer(exchange, [{"tool_calls": [{"function": {"name": "zebra", "arguments": '{"z": 1}'}}]}])


def call(at: int) -> dict[str, Any]:
    _, name, arguments = CALLS[at]
    return {"function": {"index": 0, "name": name, "arguments": json.loads(arguments)}}


@behaviour("cut-length")
async def cut_length(exchange: Exchange) -> None:
    await answer(exchange, [{"content": word} for word in WORDS], "length")


@behaviour("loaded")
async def loaded(exchange: Exchange) -> None:
    await answer(exchange, [], "load", prompt_eval_count=None, eval_count=None)


@behaviour("cached-prompt")
async def cached_prompt(exchange: Exchange) -> None:
    await answer(exchange, [{"content": TEXT}], prompt_eval_count=None)


@behaviour("thinking")
async def thinking(exchange: Exchange) -> None:
    thoughts = [{"thinking": letter, "content": ""} for letter in THOUGHT]
    await answer(exchange, [*thoughts, *({"content": word} for word in WORDS)])


@behaviour("logprobs")
async def with_logprobs(exchange: Exchange) -> None:
    tops = [{"token": "a", "logprob": -0.1, "bytes": [97]}, {"token": "b", "logprob": -2.5}]
    tokens = [{"token": word, "logprob": -0.25, "bytes": list(word.encode()), "top_logprobs": tops} for word in WORDS]
    if exchange.seen.json.get("stream", True):
        return await answer(exchange, [{"content": t["token"], "logprobs": [t]} for t in tokens])
    return await exchange.json({**object_of(exchange, {"content": TEXT, "logprobs": tokens}), "done": True})


# -- oddities of lines --


def all_lines(exchange: Exchange) -> bytes:
    values = [{**object_of(exchange, {"content": word}), "done": False} for word in [*WORDS, "a\x85b\u2028c\x0cd"]]
    values.append({**object_of(exchange, {}), "done": True, "done_reason": "stop"})
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


async def _pieces(exchange: Exchange, *pieces: bytes) -> None:
    await open_lines(exchange)
    for piece in pieces:
        await exchange.chunk(piece)
    await exchange.end_stream()


@behaviour("line-bytes")
async def line_bytes(exchange: Exchange) -> None:
    body = all_lines(exchange)
    await _pieces(exchange, *(body[at : at + 1] for at in range(len(body))))


@behaviour("line-blank")
async def line_blank(exchange: Exchange) -> None:
    await _pieces(exchange, b"\n\r\n" + all_lines(exchange).replace(b"\n", b"\r\n\n  \n"))


@behaviour("line-together")
async def line_together(exchange: Exchange) -> None:
    """In one piece, the last line without its end."""
    await _pieces(exchange, all_lines(exchange).rstrip(b"\n"))


@behaviour("line-after-done")
async def line_after_done(exchange: Exchange) -> None:
    await _pieces(exchange, all_lines(exchange) + b'{"status":"no answer"}\n')


# -- what goes wrong --


async def _refuse(exchange: Exchange, status: int) -> None:
    text = f"told {status}"
    if status in {401, 403} or status >= 500:
        text += f" {SECRET_MARK} {exchange.seen.header('authorization')}"
    await exchange.json({"error": text}, status=status, headers=RATE_LIMITS if status == 429 else {})


async def _begin(exchange: Exchange) -> None:
    await open_lines(exchange)
    for word in WORDS[:2]:
        await line(exchange, {**object_of(exchange, {"content": word}), "done": False})


@behaviour("stream-error")
async def stream_error(exchange: Exchange) -> None:
    await _begin(exchange)
    await line(exchange, {"error": "model runner has unexpectedly stopped"})
    await exchange.end_stream()


@behaviour("stream-error-first")
async def stream_error_first(exchange: Exchange) -> None:
    await _pieces(exchange, b'{"error":"an error was encountered while running the model"}\n')


@behaviour("error-object")
async def error_object(exchange: Exchange) -> None:
    """A server that only looks like Ollama, with OpenAI's envelope and status 200."""
    await exchange.json({"error": {"message": "no capacity", "type": "server_error", "code": "full"}})


@behaviour("stream-cut")
async def stream_cut(exchange: Exchange) -> None:
    await _begin(exchange)
    raise Hangup


@behaviour("stream-reset")
async def stream_reset(exchange: Exchange) -> None:
    await _begin(exchange)
    await asyncio.sleep(0.1)
    exchange.reset()


@behaviour("stream-unfinished")
async def stream_unfinished(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.end_stream()


@behaviour("stalled-stream")
async def stalled_stream(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.hang()


@behaviour("drip")
async def drip(exchange: Exchange) -> None:
    await _begin(exchange)
    for _ in range(300):
        await line(exchange, {**object_of(exchange, {"content": "drip "}), "done": False})
        await asyncio.sleep(0.1)


ARRIVED: Counter[str] = Counter()
CROWD = 150


@behaviour("crowd")
async def crowd(exchange: Exchange) -> None:
    """Good answers, but not before as many as a crowd have asked for them: who asks one by one waits for ever."""
    model = exchange.seen.model
    ARRIVED[model] += 1
    while ARRIVED[model] < CROWD:  # noqa: ASYNC110 - any of the others may be the last
        await asyncio.sleep(0.05)
    await open_lines(exchange)
    for word in WORDS:
        await line(exchange, {**object_of(exchange, {"content": word}), "done": False})
    await line(exchange, {**object_of(exchange, {}), "done": True})
    await exchange.end_stream()


@behaviour("stream-broken-json")
async def stream_broken_json(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.chunk(b'{"message":"' + SECRET_MARK.encode() + b"\n")
    await exchange.end_stream()


@behaviour("stream-giant-line")
async def stream_giant_line(exchange: Exchange) -> None:
    await _begin(exchange)
    await exchange.chunk(b'{"message":"' + b" " * (17 * 2**20))
    await exchange.hang()


@behaviour("set-cookie")
async def set_cookie(exchange: Exchange) -> None:
    body = {**object_of(exchange, {"content": str(exchange.seen.header("cookie"))}), "done": True}
    await exchange.json(body, headers={"set-cookie": "a=b; Path=/"})


@behaviour("nan-vectors")
async def nan_vectors(exchange: Exchange) -> None:
    await exchange.reply(b'{"model":"m","embeddings":[[NaN,1.0]]}')
