"""Invalid requests: each is a 400 in OpenAI's envelope that names the invalid field."""

from collections.abc import Mapping
from typing import Final

from ai_gateway.probe.check import Check, Judge
from ai_gateway.probe.judge import rejected
from ai_gateway.probe.probe import CHAT, COMPLETIONS, EMBEDDINGS, QUESTION, Probe, user

_GROUP = "bad input"
_MESSAGES = [user(QUESTION)]


def _raw(body: bytes, *statuses: int, media: str = "application/json") -> Judge:
    async def judge(probe: Probe) -> None:
        rejected(await probe.send("POST", CHAT, body, content_type=media), *(statuses or (400,)))

    return judge


def _field(path: str, param: str, body: Mapping[str, object], *, model: bool = True) -> Judge:
    async def judge(probe: Probe) -> None:
        named = probe.embedding_model if path == EMBEDDINGS else probe.model
        rejected(await probe.post(path, {"model": named, **body} if model else body), 400, param=param)

    return judge


def _chat(param: str, **fields: object) -> Judge:
    return _field(CHAT, param, {"messages": _MESSAGES, **fields})


def _row(id_: str, title: str, judge: Judge, rule: str = "names-the-param") -> Check:
    return Check(f"bad-{id_}", _GROUP, title, rule, judge)


_DEEP = b'{"model":"m","messages":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
_NAN = b'{"model":"m","messages":[{"role":"user","content":"hello"}],"temperature":NaN}'

CHECKS: Final = (
    _row("json", "Broken JSON", _raw(b'{"model": "m", '), "ErrorResponse"),
    _row("empty", "No body", _raw(b""), "ErrorResponse"),
    _row("array", "An array as the body", _raw(b"[]"), "ErrorResponse"),
    _row("nan", "NaN, which is not JSON", _raw(_NAN), "ErrorResponse"),
    _row("utf8", "Bytes that are not UTF-8", _raw(b'{"model": "\xff\xfe"}'), "ErrorResponse"),
    _row("deep", "5,000 levels", _raw(_DEEP), "ErrorResponse"),
    _row("media-type", "A body that is not JSON", _raw(b"hello", 400, 415, media="text/plain"), "ErrorResponse"),
    _row("no-model", "No model", _field(CHAT, "model", {"messages": _MESSAGES}, model=False), "names-the-param"),
    _row("model-type", "A number as the model", _chat("model", model=5)),
    _row("no-messages", "No messages", _field(CHAT, "messages", {})),
    _row("messages-type", "A string as messages", _chat("messages", messages="hello")),
    _row("messages-empty", "An empty list of messages", _chat("messages", messages=[])),
    _row("role", "A role that does not exist", _chat("messages", messages=[{"role": "wizard", "content": "hi"}])),
    _row("content", "A number as content", _chat("messages", messages=[user(5)])),
    _row("temperature", "A temperature of 5", _chat("temperature", temperature=5)),
    _row("temperature-type", "A string as temperature", _chat("temperature", temperature="hot")),
    _row("top-p", "A top_p of 2", _chat("top_p", top_p=2)),
    _row("n", "Zero choices", _chat("n", n=0)),
    _row("stream", "A string as stream", _chat("stream", stream="yes")),
    _row("tools", "A tool without a function", _chat("tools", tools=[{"type": "function"}])),
    _row("response-format", "A format that does not exist", _chat("response_format", response_format={"type": "xml"})),
    _row("no-input", "Embeddings without input", _field(EMBEDDINGS, "input", {})),
    _row(
        "encoding",
        "An encoding that does not exist",
        _field(EMBEDDINGS, "encoding_format", {"input": "a", "encoding_format": "hex"}),
    ),
    _row(
        "max-tokens", "A string as max_tokens", _field(COMPLETIONS, "max_tokens", {"prompt": "a", "max_tokens": "few"})
    ),
)
