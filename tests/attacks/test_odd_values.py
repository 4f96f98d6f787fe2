"""Counts that no count can be, and events of a shape that nobody expects, from an upstream of any wire."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.wires import WIRES, Wire, in_front_of_all
from tests.support.client import ask, events_of, post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

ODD = {
    "negative": -5,
    "309 digits": int("9" * 309),
    "5000 digits": "5000",
    "beyond 2**53": 2**53,
    "a little below 0": -1,
}
type Change = Callable[[dict[str, Any]], None]
PLANS: dict[str, Callable[[bool], bytes]] = {}


async def behave(exchange: Exchange) -> None:
    await exchange.raw(PLANS[exchange.seen.model](bool(exchange.seen.json.get("stream"))))


@pytest.fixture(scope="module")
def upstream() -> Any:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture
def live(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return in_front_of_all(gateway_for, upstream)


def written(value: object) -> bytes:
    return json.dumps(value).replace('"5000"', "9" * 5000).encode()


def usage_of(wire: Wire, count: object) -> dict[str, Any]:
    if wire.provider == "ollama":
        return {"prompt_eval_count": count, "eval_count": 1}
    if wire.provider == "anthropic":
        return {"usage": {"input_tokens": count, "output_tokens": 1}}
    return {"usage": {"prompt_tokens": count, "completion_tokens": 1, "total_tokens": count}}


def with_usage(wire: Wire, count: object, *, stream: bool) -> bytes:
    """The wire's good reply with this count in it."""
    usage = usage_of(wire, count)
    if not stream:
        body = written({**json.loads(wire.whole("Hello")), **usage})
    elif wire.provider == "ollama":
        body = written({**json.loads(wire.stream("Hello")), **usage}) + b"\n"
    elif wire.provider == "anthropic":
        events = wire.stream("Hello")
        body = events.replace(b'"usage": {"output_tokens": 1}', b'"usage": ' + written(usage["usage"]))
        assert body != events
    else:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], **usage}
        body = wire.stream("Hello").replace(b"data: [DONE]", b"data: " + written(chunk) + b"\n\ndata: [DONE]")
    media = wire.media if stream else "application/json"
    return f"HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_a_count_that_can_be_none_does_not_pass(live: LiveGateway, wire: Wire, odd: str, *, stream: bool) -> None:
    model = f"{wire.provider}/{odd}"
    PLANS[model] = lambda streamed: with_usage(wire, ODD[odd], stream=streamed)
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    reply = ask(live, model, provider=wire.provider, **fields)
    assert reply.status_code in {200, 502}
    assert "9" * 20 not in reply.text
    assert "-5" not in reply.text.replace("00-5", "")
    if reply.status_code == 200 and stream:
        events = events_of(reply)
        assert events.text == "Hello" or events.error is not None
        assert not [chunk["usage"] for chunk in events.chunks if chunk.get("usage")]
    elif reply.status_code == 200:
        assert reply.json()["choices"][0]["message"]["content"] == "Hello"
        assert reply.json().get("usage") is None
    door = post(live, "/api/chat", {"model": f"{wire.provider}/{model}", "messages": [], "stream": stream})
    assert door.status_code in {200, 502}
    assert "9" * 20 not in door.text


def test_counts_of_details_and_of_vectors_are_looked_at_too(live: LiveGateway) -> None:
    wire = WIRES[0]
    details: dict[str, Any] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    details |= {"completion_tokens_details": {"reasoning_tokens": -5}}
    body = written({**json.loads(wire.whole("Hello")), "usage": details})
    PLANS["details"] = lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    reply = ask(live, "details", provider="lab")
    assert (reply.status_code, reply.json().get("usage")) == (200, None)
    assert "drop-invalid" in reply.headers["x-gateway-repaired"]
    vectors = written(
        {
            "object": "list",
            "model": "m",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            "usage": {"prompt_tokens": -5, "total_tokens": -5},
        }
    )
    PLANS["vectors"] = lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(vectors), vectors)
    reply = ask(live, "vectors", "embeddings", provider="lab", input="one")
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "upstream_invalid_response"


SHAPES: list[Any] = [{}, {"a": 1}, [], ["message_start"], 5, None, True, 1.5, ""]


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("place", ["event", "block", "delta", "message", "error"])
def test_a_type_of_any_shape_is_a_bad_reply_and_no_failure_of_ours(live: LiveGateway, place: str, shape: Any) -> None:
    wire = next(wire for wire in WIRES if wire.provider == "anthropic")
    events = [json.loads(line[6:]) for line in wire.stream("Hello").decode().splitlines() if line.startswith("data: ")]
    if place == "event":
        events.insert(1, {"type": shape})
    elif place == "block":
        events[1]["content_block"]["type"] = shape
    elif place == "delta":
        events[2]["delta"]["type"] = shape
    elif place == "message":
        events[0]["message"]["type"] = shape
    else:
        events.insert(2, {"type": "error", "error": {"type": shape, "message": shape}})
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    whole = json.dumps({**json.loads(wire.whole("Hello")), "type": shape}).encode()

    def reply(stream: bool) -> bytes:
        sent, media = (body, b"text/event-stream") if stream else (whole, b"application/json")
        return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (media, len(sent), sent)

    PLANS["shape"] = reply
    for stream in (False, True):
        answer = ask(live, "shape", provider="anthropic", stream=stream)
        assert answer.status_code in {200, 502}
        assert "internal_error" not in answer.text


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_a_part_of_a_message_may_have_a_type_of_any_shape(live: LiveGateway, shape: Any) -> None:
    content = {"type": shape, "text": "Hello"}
    for said in (content, [content], [shape]):
        value = json.loads(WIRES[0].whole("Hello"))
        value["choices"][0]["message"]["content"] = said
        body = json.dumps(value).encode()
        PLANS["part"] = lambda _, body=body: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)  # type: ignore[misc]
        answer = ask(live, "part", provider="lab")
        assert answer.status_code in {200, 502}
        assert "internal_error" not in answer.text


@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "nonsense", "", "idna", "rot13", "latin-1"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_a_charset_is_nothing_to_us(live: LiveGateway, wire: Wire, charset: str) -> None:
    """JSON is UTF-8 (RFC 8259, section 8.1), whatever its label says."""
    body = wire.whole("Grüße")
    for status, expected in (("200 OK", 200), ("400 No", 400), ("500 Oops", 502)):
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json; charset={charset}\r\ncontent-length: {len(body)}"
        PLANS["charset"] = lambda _, head=head: head.encode() + b"\r\n\r\n" + body  # type: ignore[misc]
        answer = ask(live, "charset", provider=wire.provider)
        assert answer.status_code == expected
        assert "Grüße" in answer.text or expected != 200
