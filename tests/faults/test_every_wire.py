"""What holds of one wire's upstreams holds of all: the transports of the gateway side by side, through both APIs."""

import asyncio
import json
from typing import Any

import pytest

from tests.attacks.wires import WIRES, Wire, live_in_front_of_all, upstream_that
from tests.support.client import CHAT, ask, events_of, eventually, post
from tests.support.gateway import LiveGateway
from tests.support.upstream import Exchange, Hangup, head

pytestmark = pytest.mark.live

PIECES = ("Hel", "lo", "!")
PAUSE_S = 0.1  # between the pieces of a stream: longer than is waited for the end of a body
PLANS: dict[str, list[bytes]] = {}
STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 504, 529)
FORMS = ("object", "text", "detail", "page")
MESSAGE: dict[str, Any] = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}


async def behave(exchange: Exchange) -> None:
    for number, piece in enumerate(PLANS[exchange.seen.model]):
        await asyncio.sleep(PAUSE_S if number > 1 else 0)
        await exchange.raw(piece)
    raise Hangup


upstream, live = upstream_that(behave), live_in_front_of_all()


def reported(live: LiveGateway, wire: Wire, model: str, door: str, *, stream: bool) -> Any:
    if door == "v1":
        return ask(live, model, CHAT, provider=wire.provider, stream=stream)
    body = {"model": f"{wire.provider}/{model}", "messages": [{"role": "user", "content": "a"}], "stream": stream}
    return post(live, "/api/chat", body)


def event(value: dict[str, Any], name: str = "") -> bytes:
    kind = f"event: {name}\n" if name else ""
    return f"{kind}data: {json.dumps(value)}\n\n".encode()


def line(text: str, **fields: Any) -> bytes:
    said = {"role": "assistant", "content": text}
    return json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": said, **fields}).encode() + b"\n"


def openai_piece(text: str, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def pieces(wire: Wire, *, end: bool) -> list[bytes]:
    """The pieces of an answer, none of which or each of which says that it is the last; without an end behind them."""
    if wire.provider == "ollama":
        return [line(text, **({"done": True, "done_reason": "stop"} if end else {"done": False})) for text in PIECES]
    if wire.provider != "anthropic":
        return [openai_piece(text, "stop" if end else None) for text in PIECES]
    usage = {"output_tokens": 1}
    started = {**MESSAGE, "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, **usage}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    first = event({"type": "message_start", "message": started}) + event(block)
    last = event({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage})
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}} for t in PIECES]
    said = [event(delta) + (last if end else b"") for delta in deltas]
    return [first + said[0], *said[1:]]


def ending(wire: Wire) -> bytes:
    if wire.provider == "anthropic":
        return event({"type": "content_block_stop", "index": 0}) + event({"type": "message_stop"})
    return b"" if wire.provider == "ollama" else b"data: [DONE]\n\n"


def stream_of(wire: Wire, *parts: bytes) -> list[bytes]:
    return [head(200, {"content-type": wire.media, "connection": "close"}), *parts]


@pytest.mark.parametrize("door", ["v1", "api"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_an_answer_whose_every_piece_says_that_it_is_the_last_is_whole(
    live: LiveGateway, wire: Wire, door: str, *, stream: bool
) -> None:
    """Also where no stream was asked for and one comes."""
    model = f"ends/{wire.provider}/{door}/{stream}"
    PLANS[model] = stream_of(wire, *pieces(wire, end=True), ending(wire))
    got = reported(live, wire, model, door, stream=stream)
    assert got.status_code == 200, got.text
    if door == "api":
        lines = [json.loads(each) for each in got.text.splitlines()]
        assert "".join(each["message"]["content"] for each in lines) == "Hello!"
        assert [each["done"] for each in lines] == [False] * (len(lines) - 1) + [True]
    elif stream:
        events = events_of(got)
        assert (events.text, events.error, events.done) == ("Hello!", None, True)
        assert [choice["finish_reason"] for choice in events.choices if choice["finish_reason"]] == ["stop"]
    else:
        (choice,) = got.json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello!", "stop")
    if wire.provider == "ollama" and not stream:
        assert "finish-once" in got.headers["x-gateway-repaired"]


def refusal(form: str, words: str) -> bytes:
    if form == "page":
        return f"<html><body>{words}</body></html>".encode()
    forms = {
        "object": {"error": {"message": words, "type": "x"}},
        "text": {"error": words},
        "detail": {"detail": words},
    }
    return json.dumps(forms[form]).encode()


@pytest.mark.parametrize("door", ["v1", "api"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_the_words_of_a_refusal_are_in_the_log(live: LiveGateway, wire: Wire, door: str) -> None:
    expected = []
    for number, status in enumerate(STATUSES * len(FORMS)):
        form, stream = FORMS[number // len(STATUSES)], number % 2 == 1
        words = f"words of {wire.provider} {door} {status} {form};"
        expected.append(words)
        body = refusal(form, words)
        media = "text/html" if form == "page" else "application/json"
        fields = {"content-type": media, "content-length": str(len(body)), "connection": "close"}
        PLANS[words] = [head(status, fields) + body]
        assert reported(live, wire, words, door, stream=stream).status_code >= 400

    def logged() -> str:
        return " ".join(str(record.get("detail")) for record in live.records("request failed"))

    eventually(lambda: expected[-1] in logged())
    assert not [words for words in expected if words not in logged()]


def failure(wire: Wire, words: str) -> bytes:
    if wire.provider == "ollama":
        return json.dumps({"error": words}).encode() + b"\n"
    said = {"type": "overloaded_error", "message": words}
    return event({"type": "error", "error": said}, "error" if wire.provider == "anthropic" else "")


@pytest.mark.parametrize("when", ["before the answer", "inside of it"])
@pytest.mark.parametrize("door", ["v1", "api"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_the_words_of_a_failure_in_a_stream_are_in_the_log(live: LiveGateway, wire: Wire, door: str, when: str) -> None:
    words = f"failure of {wire.provider} {door} {when};"
    said = pieces(wire, end=False) if when.startswith("inside") else []
    PLANS[words] = stream_of(wire, *said, failure(wire, words))
    got = reported(live, wire, words, door, stream=True)
    assert (got.status_code == 200) is bool(said)
    assert "[DONE]" not in got.text
    assert '"done":true' not in got.text
    eventually(lambda: any(words in str(record.get("detail")) for record in live.records("request failed")))
