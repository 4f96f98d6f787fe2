"""Random attacks from a seed: connections, upstream replies and bodies that nobody means well with, and their judge.

Each maker takes dice and gives bytes; what came of them is held to the wire it came on. The same seed makes the same
attacks, so a failure can be made again: it names its seed and number.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.attacks.wires import WIRES, Wire
from tests.contract.test_header_fuzz import KNOWN
from tests.support.gateway import HOST, TEST_KEY

VALUES = [
    *("", " ", "\t", "close", "keep-alive", "chunked", "gzip, chunked", "chunked, chunked", "identity", "100-continue"),
    *("0", "-1", "+5", "5, 5", "00000000000000000005", "0x5", "9" * 400, "h2c", "a\0b", "a\rb", "a\nb", "é", "\x7f"),
    *(
        "x" * 9_000,
        "application/json",
        "text/plain",
        "application/json; charset=utf-16",
        f"Bearer {TEST_KEY}",
        "Bearer",
    ),
]
METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PRI", "get", "G\0T", "PROPFIND"]
TARGETS = [
    *("/custom/v1/chat/completions", "/v1/models", "/api/chat", "/api/generate", "/api/embed", "/custom/v1/embeddings"),
    *(
        "/",
        "*",
        "http://evil.example/v1/models",
        "//x",
        "/%00",
        "/%2e%2e/",
        "/v1/models/%ff",
        "/docs",
        "/" + "x" * 5_000,
    ),
    *("/custom/v1/completions", "/healthz", "/openapi.json", "/?a=%zz", "/v1/models?limit=-1", "\\", "/a b", ""),
]
PROTOCOLS = ["HTTP/1.1"] * 60 + ["HTTP/1.0", "HTTP/2.0", "RTSP/1.0", "HTTP/1.1 ", "", "HTTP/0.9", "XTTP/1.1"]
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        1e308,
        10**30,
        2**53,
        "",
        "x",
        "\0",
        "\ud800".encode("utf-16", "surrogatepass").hex(),
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"a": None},
        {"type": {}},
        {"type": []},
        [{}] * 50,
        "x" * 5_000,
        {"": ""},
        ["\u2028", "\x9b"],
    ),
]


# -- what clients send --


def chat(dice: random.Random) -> dict[str, Any]:
    body = {"model": dice.choice(["m", "fault-truncate", "fault-500", "fault-429", ""]), "stream": dice.random() < 0.4}
    return {**body, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "array"}}, "required": ["a"]}


def rich_chat(dice: random.Random) -> dict[str, Any]:
    """A chat of OpenAI's API with nearly all that one may have."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":"x"}'}}
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
    ]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}], "name": "d"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is"}], "reasoning_content": "hm"},
        {"role": "user", "content": "Hello"},
    ]
    function = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": False}
    more = {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": dice.choice(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]),
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": False}},
        "stop": ["\n", "x"],
        "logit_bias": {"5": -1},
        "logprobs": True,
        "top_logprobs": 2,
        "metadata": {"a": "b"},
        "n": dice.choice([1, 1, 2]),
        "reasoning_effort": "low",
        "seed": 1,
        "temperature": 0.5,
        "top_p": 0.5,
        "user": "u",
        "stream_options": {"include_usage": True},
        "parallel_tool_calls": True,
        "modalities": ["text"],
        "prediction": {"type": "content", "content": "x"},
    }
    chosen = {name: value for name, value in more.items() if dice.random() < 0.4}
    kept = [message for message in messages if dice.random() < 0.85]
    stream = dice.random() < 0.4
    if not stream:
        chosen.pop("stream_options", None)
    return {"model": "m", "messages": kept, "stream": stream, "max_tokens": 5, **chosen}


def rich_ollama_chat(dice: random.Random) -> dict[str, Any]:
    """The same of Ollama's API."""
    call = {"function": {"name": "f", "arguments": {"a": "x"}}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Look", "images": [PIXEL]},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_name": "f"},
        {"role": "user", "content": "Hello"},
    ]
    more = {
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
        "format": dice.choice(["json", SCHEMA]),
        "think": dice.choice([True, False, "low"]),
        "keep_alive": dice.choice(["5m", 0, -1]),
        "options": {"num_predict": 5, "temperature": 0.5, "stop": ["x"], "seed": 1, "num_ctx": 100, "top_k": 4},
        "logprobs": True,
        "top_logprobs": 2,
    }
    chosen = {name: value for name, value in more.items() if dice.random() < 0.5}
    kept = [message for message in messages if dice.random() < 0.85]
    return {"model": "m", "messages": kept, "stream": dice.random() < 0.5, **chosen}


def rich_generate(dice: random.Random) -> dict[str, Any]:
    """A prompt of Ollama's API."""
    more = {"suffix": "x", "system": "s", "raw": False, "images": [PIXEL], "options": {"num_predict": 5}}
    return {"model": "m", "prompt": "Hi", "format": "json", "stream": dice.random() < 0.5, **more}


def rich_completion(dice: random.Random) -> dict[str, Any]:
    """A legacy completion."""
    more = {"n": 1, "logprobs": 2, "suffix": "x", "stop": ["x"], "echo": False, "logit_bias": {"5": 1}}
    return {"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "stream": dice.random() < 0.5, **more}


def rich_embeddings(dice: random.Random) -> dict[str, Any]:
    """Inputs of each kind, in either encoding."""
    given = dice.choice([["a", "b"], "a", [1, 2], [[1, 2], [3]]])
    return {"model": "m", "input": given, "encoding_format": dice.choice(["float", "base64"]), "dimensions": 8}


def misshapen(dice: random.Random, value: Any, chance: float = 0.08) -> Any:
    """The value with others in the place of some of its parts, wherever they are."""
    if dice.random() < chance:
        return dice.choice(ODD)
    if isinstance(value, dict):
        parts = {key: misshapen(dice, part, chance) for key, part in value.items() if dice.random() > chance / 3}
        more = {dice.choice(["tools", "n", "stop", "logprobs", "x", "response_format"]): dice.choice(ODD)}
        return {**parts, **(more if dice.random() < 2 * chance else {})}
    if isinstance(value, list):
        return [misshapen(dice, part, chance) for part in value] * dice.choice([1, 1, 1, 2])
    return value


def spoiled(dice: random.Random, data: bytes, most: int = 3) -> bytes:
    """The bytes with some taken away, doubled, changed or put in between."""
    spoilt = bytearray(data)
    for _ in range(dice.randint(0, most)):
        at = dice.randrange(len(spoilt) + 1)
        length = dice.choice([1, 1, 1, 2, 8, 64])
        kind = dice.randrange(4)
        if kind == 0:
            del spoilt[at : at + length]
        elif kind == 1:
            spoilt[at:at] = spoilt[at : at + length]
        elif kind == 2 and at < len(spoilt):
            spoilt[at] = dice.choice(b'\0\r\n :;,\x7f\xff09aZ{}[]"\\-')
        else:
            spoilt[at:at] = dice.choice(
                [b"\r\n", b"\n", b"\0", b" ", b"\r\n\r\n", b"0\r\n\r\n", dice.randbytes(length)]
            )
    return bytes(spoilt)


def framed(dice: random.Random, body: bytes) -> tuple[list[str], bytes]:
    """Header lines that say where the body ends, more or less, and the body accordingly."""
    kind = dice.choice(["length"] * 6 + ["chunks"] * 5 + ["both", "none", "wrong"])
    if kind == "length":
        return [f"Content-Length: {len(body)}"], body
    if kind == "none":
        return [], body
    if kind == "wrong":
        return [f"Content-Length: {dice.choice([0, 1, len(body) + 9, 10**12])}"] * dice.choice([1, 2]), body
    cut = dice.randrange(len(body) + 1)
    extension = dice.choice([b"", b"", b";a=b", b" ", b";" + b"x" * 500])
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in (body[:cut], body[cut:]) if part)
    trailers = b"".join(
        f"{dice.choice(KNOWN)}: {dice.choice(VALUES)}\r\n".encode("latin-1")
        for _ in range(dice.choice([0] * 8 + [1, 3, 150]))
    )
    lines = ["Transfer-Encoding: chunked", *([f"Content-Length: {len(body)}"] if kind == "both" else [])]
    return lines, chunks + dice.choice(
        [b"0\r\n", b"0\r\n", b"00\r\n", b"0;x\r\n", b"", b"f" * 20 + b"\r\n"]
    ) + trailers + b"\r\n"


def connection(dice: random.Random) -> bytes:
    """All that one client sends: one request or several, none of them certain to be one."""
    sent = b""
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        value = chat(dice)
        body = json.dumps(misshapen(dice, value, 0.05) if dice.random() < 0.3 else value).encode()
        framing, body = framed(dice, body)
        method = dice.choice(METHODS) if dice.random() < 0.15 else "POST"
        target = dice.choice(TARGETS) if dice.random() < 0.3 else TARGETS[0]
        lines = [
            f"{method} {target} {dice.choice(PROTOCOLS)}",
            f"Host: {HOST}",
            "Content-Type: application/json",
            *framing,
        ]
        lines += [f"Authorization: Bearer {TEST_KEY}"] if dice.random() < 0.9 else []
        lines += [f"{dice.choice(KNOWN)}: {dice.choice(VALUES)}" for _ in range(dice.choice([0] * 10 + [1, 2, 120]))]
        sent += "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
    return spoiled(dice, sent) if dice.random() < 0.3 else sent


# -- what upstreams send --


@dataclass(frozen=True)
class Sent:
    """An upstream's reply: its pieces, each in a packet of its own."""

    wire: Wire
    stream: bool
    pieces: tuple[bytes, ...]


def upstream_reply(dice: random.Random) -> Sent:
    """A reply of one of the wires that has gone wrong: in its head, its framing, its events or their shapes."""
    wire = dice.choice(WIRES)
    stream = dice.random() < 0.5
    body = wire.stream("Hello") if stream else wire.whole("Hello")
    if dice.random() < 0.4:
        body = _misshapen_events(dice, body) if stream else json.dumps(misshapen(dice, json.loads(body))).encode()
    if dice.random() < 0.2:
        body = spoiled(dice, body)
    status = dice.choice(
        ["200 OK"] * 30 + ["201 Made", "204 No", "302 Away", "400 No", "429 Later", "500 Oops", "999 What", "2x"]
    )
    names = ["x-ratelimit-remaining-requests", "retry-after", "content-encoding", "set-cookie", "content-type", *KNOWN]
    lines = [f"HTTP/1.1 {status}", f"content-type: {wire.media if stream else 'application/json'}"]
    lines += [f"{dice.choice(names)}: {dice.choice(VALUES)}" for _ in range(dice.choice([0] * 4 + [1, 2]))]
    framing, body = framed(dice, body)
    head = "\r\n".join([*lines, *framing, "", ""]).encode("latin-1")
    interim = b"HTTP/1.1 103 Hints\r\n\r\n" * dice.choice([0, 0, 0, 1, 5])
    reply = interim + head + body
    if dice.random() < 0.2:
        reply = spoiled(dice, reply)
    cut = dice.randrange(len(reply) + 1)
    return Sent(wire, stream, dice.choice([(reply,)] * 4 + [(reply[:cut], reply[cut:])] * 4 + [(reply[:cut],)]))


def _misshapen_events(dice: random.Random, body: bytes) -> bytes:
    """The events, or lines, with their values misshapen, out of order, doubled or missing."""
    events = [event for event in re.split(rb"(?<=\n\n)|(?<=\}\n)", body) if event]
    made = []
    for event in events:
        prefix, found, text = event.partition(b"{")
        if found and dice.random() < 0.5:
            value = misshapen(dice, json.loads(found + text))
            made.append(prefix + json.dumps(value).encode() + (b"\n\n" if prefix else b"\n"))
        else:
            made += [event] * dice.choice([1, 1, 1, 1, 0, 2])
    if dice.random() < 0.2:
        dice.shuffle(made)
    return b"".join(made)


# -- what has to come of it --


class Malformed(AssertionError):
    """A reply of the gateway that is none on its wire."""


_FIELD = re.compile(rb"[a-z0-9-]+: [\t\x20-\x7e\xa0-\xff]*")


def judged(raw: bytes) -> Counter[str]:
    """The statuses of all replies on a connection of the gateway. The last one may be cut. Raises Malformed."""
    seen = Counter[str]()
    while raw:
        head, found, raw = raw.partition(b"\r\n\r\n")
        if not found:
            seen["cut"] += 1
            break
        status, fields = _head(head)
        seen[str(status)] += 1
        if status == 100:
            continue
        body, raw, is_whole = _body(fields, raw)
        if not is_whole:
            seen["cut"] += 1
            break
        _judge_body(status, fields.get("content-type", ""), body)
    return seen


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    found = re.fullmatch(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*", first)
    if found is None or not all(map(_FIELD.fullmatch, lines)):
        raise Malformed(head[:2_000])
    if found[1] == b"500":
        raise Malformed("a failure of ours", head[:2_000])
    pairs = (line.decode("latin-1").partition(": ") for line in lines)
    return int(found[1]), {name: value for name, _, value in pairs}


def _body(fields: dict[str, str], raw: bytes) -> tuple[bytes, bytes, bool]:
    """The body, what follows it, and whether it was all there."""
    if "content-length" in fields:
        length = int(fields["content-length"])
        return raw[:length], raw[length:], len(raw) >= length
    if fields.get("transfer-encoding") != "chunked":
        return raw, b"", True
    return _unchunked(raw)


def _unchunked(raw: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while True:
        size, found, raw = raw.partition(b"\r\n")
        if found and not re.fullmatch(rb"[0-9a-f]+", size):
            raise Malformed("a chunk", size[:200])
        length = int(size or b"0", 16)
        if not found or len(raw) < length + 2:
            return body, b"", False
        body += raw[:length]
        if raw[length : length + 2] != b"\r\n":
            raise Malformed("a chunk's end", raw[:200])
        raw = raw[length + 2 :]
        if length == 0:
            return body, raw, True


def _judge_body(status: int, media: str, body: bytes) -> None:
    judge = _JUDGES.get(media.partition(";")[0])
    try:
        good = judge is None or not body or judge(body, status >= 400)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Malformed(media, body[:500]) from error
    if not good:
        raise Malformed(media, body[-500:])


def _is_json(body: bytes, failed: bool) -> bool:
    value = json.loads(body)
    return not failed or isinstance(value["error"], dict | str)


def _is_event_stream(body: bytes, _: bool) -> bool:
    """Frames of JSON, and the terminator or an error behind them."""
    *frames, rest = body.decode().split("\n\n")
    values = [frame.removeprefix("data: ") for frame in frames]
    is_done = values[-1] == "[DONE]"
    parsed = [json.loads(value) for value in (values[:-1] if is_done else values)]
    return not rest and (is_done or "error" in parsed[-1])


def _is_lines(body: bytes, _: bool) -> bool:
    lines = [json.loads(line) for line in body.decode().splitlines()]
    return bool(lines[-1].get("done")) or "error" in lines[-1]


_JUDGES: dict[str, Callable[[bytes, bool], bool]] = {
    "application/json": _is_json,
    "text/event-stream": _is_event_stream,
    "application/x-ndjson": _is_lines,
}


def nth(seed: int, number: int) -> random.Random:
    """The dice of one attack, so that it can be made again without those before it."""
    return random.Random(seed * 1_000_003 + number)
