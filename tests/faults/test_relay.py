"""Callers of Responses and Messages in front of upstreams that speak the same: what goes there, and what comes back."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support.client import client_of
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Upstream, head, running_upstream

pytestmark = pytest.mark.live

USAGE = {
    "input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0},
    "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 37,
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "resp_upstream", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [],
    "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
    "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": USAGE, "own_field": {"kept": [1]},
}  # fmt: skip
ITEM = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
}  # fmt: skip
CREATED = {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hi", "item_id": "msg_1", "own": True}
UNKNOWN = {"type": "response.new_thing.delta", "sequence_number": 2, "delta": "?", "what": {"ever": 1}}
DONE = {"type": "response.output_item.done", "sequence_number": 3, "output_index": 0, "item": ITEM}
COMPLETED = {"type": "response.completed", "sequence_number": 4, "response": {**RESPONSE, "output": [ITEM]}}
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hi", "citations": None}], "own_field": 1,
    "usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4},
}  # fmt: skip
STARTED: dict[str, Any] = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
MESSAGE_EVENTS: list[dict[str, Any]] = [
    STARTED,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping", "own": 1},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 9},
    },
    {"type": "message_stop"},
]
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_up"}
REFUSED = {
    "type": "error", "request_id": "req_up",
    "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum", "own": 1},
}  # fmt: skip


FAILED = {
    "type": "response.failed", "sequence_number": 4,
    "response": {**RESPONSE, "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow down"}},
}  # fmt: skip
FOREIGN = {"error": {"message": "words of a router", "code": 429}}  # an event of chats
RESPONSE_EVENTS = [CREATED, DELTA, UNKNOWN, DONE, COMPLETED]
HEADLESS_EVENTS: list[dict[str, Any]] = [
    {"type": "response.output_item.added", "sequence_number": 0, "output_index": 0,
     "item": {**ITEM, "status": "in_progress", "content": []}},
    {"type": "response.content_part.added", "sequence_number": 1, "output_index": 0, "item_id": "msg_1",
     "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}},
    {**DELTA, "sequence_number": 2, "output_index": 0, "content_index": 0, "logprobs": []},
    {**COMPLETED, "sequence_number": 3},
]  # fmt: skip
STREAMS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("responses", "good"): RESPONSE_EVENTS,
    ("responses", "cut"): RESPONSE_EVENTS[:-1],
    ("responses", "headless"): HEADLESS_EVENTS,
    ("responses", "fails"): [*RESPONSE_EVENTS[:-1], FAILED],
    ("messages", "good"): MESSAGE_EVENTS,
    ("messages", "cut"): MESSAGE_EVENTS[:4],
    ("messages", "fails"): [*MESSAGE_EVENTS[:4], OVERLOADED],
    ("messages", "overloaded"): [OVERLOADED],
    ("messages", "startless"): MESSAGE_EVENTS[1:],
    ("messages", "endless"): [*MESSAGE_EVENTS[:5], MESSAGE_EVENTS[6]],
    ("messages", "stopless"): [*MESSAGE_EVENTS[:4], MESSAGE_EVENTS[5]],
    ("messages", "uncounted"): [
        {**STARTED, "message": {**STARTED["message"], "usage": None}},
        *MESSAGE_EVENTS[1:5],
        {**MESSAGE_EVENTS[5], "usage": None},
        MESSAGE_EVENTS[6],
    ],
    ("responses", "foreign"): [*RESPONSE_EVENTS[:-1], FOREIGN],
    ("messages", "foreign"): [*MESSAGE_EVENTS[:4], FOREIGN],
    ("responses", "foreign-first"): [FOREIGN],
    ("messages", "foreign-first"): [FOREIGN],
}


def framed(event: dict[str, Any]) -> bytes:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


# What stands in front of an upstream does not know its wire.
FOREIGN_REFUSALS: dict[str, dict[str, Any]] = {
    "foreign#text": {"error": "words of a router"},
    "foreign#detail": {"detail": "words of a router"},
    "foreign#flat": {"message": "words of a router", "code": "E1"},
    "foreign#untyped": {"error": {"message": "words of a router"}},
    "foreign#nothing": {"error": {"reason": "words of a router"}},
}


async def speak(exchange: Exchange) -> None:
    """Both wires, as the model says; and chat, for whoever is translated."""
    kind = exchange.seen.model.partition("#")[0]
    wire = exchange.seen.path.rpartition("/")[2]
    if wire == "completions":
        await chat(exchange)
    elif kind == "lacks":
        await exchange.json({"detail": "Not Found"}, status=404)
    elif kind == "foreign" and not exchange.seen.json.get("stream"):
        await exchange.json(FOREIGN_REFUSALS[exchange.seen.model], status=400)
    elif kind == "refuses":
        error = {"message": "bad", "type": "invalid_request_error", "param": "input[0]", "code": "x", "own": 1}
        await exchange.json(REFUSED if wire == "messages" else {"error": error}, status=400)
    elif not exchange.seen.json.get("stream"):
        if kind == "own-id":
            await exchange.json({**RESPONSE, "id": f"resp_{exchange.seen.model.partition('#')[2]}"})
            return
        replies: dict[str, dict[str, Any]] = {
            "messages": MESSAGE,
            "responses": RESPONSE,
            "count_tokens": {"input_tokens": 1234, "own": 1},
        }
        reply = replies[wire]
        await exchange.json({**reply, "usage": None} if kind == "uncounted" else reply)
    else:
        await exchange.open_stream()
        for event in STREAMS[wire, kind]:
            await exchange.chunk(framed(event))
        await exchange.end_stream()


async def chat(exchange: Exchange) -> None:
    said = {"role": "assistant", "content": "translated"}
    reply: dict[str, Any] = {"id": "c", "created": 1, "model": "m"}
    if not exchange.seen.json.get("stream"):
        choice = {"index": 0, "finish_reason": "stop", "message": said}
        await exchange.json({**reply, "object": "chat.completion", "choices": [choice]})
        return
    await exchange.open_stream()
    choice = {"index": 0, "finish_reason": "stop", "delta": said}
    await exchange.event({**reply, "object": "chat.completion.chunk", "choices": [choice]})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@pytest.fixture(scope="module")
def speaking() -> Iterator[Upstream]:
    with running_upstream(speak) as running:
        yield running


@pytest.fixture(scope="module")
def gate(gateway_for: SharedGateways, speaking: Upstream, tmp_path_factory: pytest.TempPathFactory) -> LiveGateway:
    config = tmp_path_factory.mktemp("relay") / "gateway.toml"
    tables = [
        f'[providers.{name}]\nbase_url = "{speaking.url}"\napi_key = "sk-lab"\nwires = ["responses", "anthropic"]\n'
        for name in ("lab", "old", "older")
    ]
    config.write_text("\n".join(tables))
    environment = {name: value for name, value in in_front_of(speaking).items() if not name.startswith("PROVIDER_LAB")}
    return gateway_for(**environment, GATEWAY_CONFIG=str(config))


def respond(gate: LiveGateway, model: str, provider: str = "lab", **fields: Any) -> httpx2.Response:
    with client_of(gate) as client:
        return client.post(f"/{provider}/v1/responses", json={"model": model, "input": "Hello", **fields})


def write(gate: LiveGateway, model: str, provider: str = "lab", **fields: Any) -> httpx2.Response:
    body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}], **fields}
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-2026-01-01,b-2026-02-02"}
    with client_of(gate) as client:
        return client.post(f"/{provider}/v1/messages?beta=true", json=body, headers=headers)


def events_of(response: httpx2.Response) -> list[tuple[str, Any]]:
    """The events' names and data, in their order."""
    found = []
    for block in response.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            data = lines["data"]
            found.append((lines.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


def test_a_response_goes_there_and_back_as_it_came(gate: LiveGateway, speaking: Upstream) -> None:
    own: dict[str, Any] = {
        "own_param": [1, {"a": None}],
        "metadata": {"z": "1", "a": "2"},
        "store": True,
        "temperature": 1.0,
    }
    response = respond(gate, "good#whole", **own)
    assert response.json() == RESPONSE
    seen = speaking.last("good#whole")
    assert seen.path == "/v1/responses"
    assert list(seen.json.items()) == [("model", "good#whole"), ("input", "Hello"), *own.items()]
    assert seen.header("authorization") == "Bearer sk-lab"
    assert "x-gateway-dropped-params" not in response.headers


def test_its_events_come_back_as_they_came_even_those_that_nobody_knows(gate: LiveGateway) -> None:
    response = respond(gate, "good#events", stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [CREATED, DELTA, UNKNOWN, DONE, COMPLETED]
    assert events_of(response) == [*[(event["type"], event) for event in events], ("", "[DONE]")]


def test_only_the_model_is_mapped(gate: LiveGateway, speaking: Upstream) -> None:
    with client_of(gate) as client:
        response = client.post("/v1/responses", json={"model": "lab/good#routed", "input": "Hello"})
    assert response.json() == RESPONSE
    assert speaking.last("good#routed").json == {"model": "good#routed", "input": "Hello"}
    assert response.headers["x-gateway-model"] == "good#routed"


def test_what_was_said_before_is_sent_along_and_belongs_to_its_key_alone(gate: LiveGateway, speaking: Upstream) -> None:
    first = respond(gate, "good#first", input=[{"role": "user", "content": "One"}])
    second = respond(gate, "good#second", previous_response_id=first.json()["id"], input="Two")
    assert second.status_code == 200, second.text
    sent = speaking.last("good#second").json
    assert "previous_response_id" not in sent
    assert [item.get("content") for item in sent["input"] if item.get("role") == "user"][-1] in (
        "Two",
        [{"type": "input_text", "text": "Two"}],
    )
    assert len(sent["input"]) == 2
    unknown = respond(gate, "good#unknown", previous_response_id="resp_somebody_elses")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert speaking.seen("good#unknown") == []


def test_a_stream_of_a_response_that_is_cut_fails_with_what_there_is(gate: LiveGateway) -> None:
    events = events_of(respond(gate, "cut#response", stream=True))
    (name, last), end = events[-2:]
    assert (name, last["type"], last["sequence_number"], end) == (
        "response.failed",
        "response.failed",
        4,
        ("", "[DONE]"),
    )
    reported = last["response"]
    assert (reported["id"], reported["status"], reported["output"]) == ("resp_upstream", "failed", [ITEM])
    assert reported["error"]["code"] == "server_error"


def test_a_response_that_says_it_has_failed_is_not_told_twice(gate: LiveGateway) -> None:
    events = events_of(respond(gate, "fails#response", stream=True))
    assert [name for name, _ in events].count("response.failed") == 1
    assert events[-2:] == [("response.failed", FAILED), ("", "[DONE]")]


def test_a_refusal_keeps_all_that_it_says(gate: LiveGateway) -> None:
    for stream in (False, True):
        response = respond(gate, "refuses#response", stream=stream)
        assert response.status_code == 400
        assert response.json()["error"] == {
            "message": "bad", "type": "invalid_request_error", "param": "input[0]", "code": "x", "own": 1,
        }  # fmt: skip


def test_a_message_goes_there_and_back_as_it_came(gate: LiveGateway, speaking: Upstream) -> None:
    own: dict[str, Any] = {"thinking": {"type": "adaptive", "display": "omitted"}, "own_param": {"b": 1, "a": None}}
    response = write(gate, "good#message", **own)
    assert response.json() == MESSAGE
    seen = speaking.last("good#message")
    assert seen.json == {
        "model": "good#message", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}], **own,
    }  # fmt: skip
    assert (seen.path, seen.header("anthropic-version")) == ("/v1/messages", "2023-06-01")
    assert (seen.header("anthropic-beta"), seen.header("x-api-key")) == ("a-2026-01-01,b-2026-02-02", "sk-lab")


def test_its_events_come_back_as_they_came(gate: LiveGateway) -> None:
    events = events_of(write(gate, "good#message-events", stream=True))
    assert events == [(event["type"], event) for event in MESSAGE_EVENTS]


def test_a_stream_of_a_message_that_is_cut_ends_in_an_error(gate: LiveGateway) -> None:
    events = events_of(write(gate, "cut#message", stream=True))
    assert [name for name, _ in events] == [*[event["type"] for event in MESSAGE_EVENTS[:4]], "error"]
    assert events[-1][1]["type"] == "error"
    assert events[-1][1]["error"]["type"] == "api_error"


def test_an_error_event_is_told_once_and_as_it_came(gate: LiveGateway) -> None:
    events = events_of(write(gate, "fails#message", stream=True))
    assert events[-1] == ("error", OVERLOADED)
    assert [name for name, _ in events].count("error") == 1


def test_a_message_that_has_said_why_it_stops_is_whole(gate: LiveGateway) -> None:
    response = write(gate, "stopless#message", stream=True)
    assert events_of(response) == [(event["type"], event) for event in MESSAGE_EVENTS]


@pytest.mark.parametrize(
    ("model", "tokens"), [("uncounted#sdk", 0), ("endless#sdk", 2), ("stopless#sdk", 9), ("good#sdk", 9)]
)
def test_anthropics_sdk_puts_a_bare_message_together(gate: LiveGateway, model: str, tokens: int) -> None:
    ask: Any = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    with Anthropic(base_url=f"{gate.base_url}/lab", api_key=TEST_KEY, max_retries=0, timeout=30) as client:
        with client.messages.stream(**ask) as stream:
            message = stream.get_final_message()
        whole = client.messages.with_raw_response.create(**ask)
    assert (message.content[0].type, message.stop_reason) == ("text", "end_turn")
    assert message.usage.output_tokens == tokens
    assert whole.parse().usage.output_tokens == (2 if tokens else 0)
    assert whole.headers.get("x-gateway-repaired") == (None if tokens else "fill-usage")


def test_openais_sdk_puts_a_response_together_that_only_its_text_and_end_are_of(gate: LiveGateway) -> None:
    client = OpenAI(base_url=f"{gate.base_url}/lab/v1", api_key=TEST_KEY, max_retries=0, timeout=30)
    with client, client.responses.stream(model="headless#sdk", input="Hello") as stream:
        kinds = [event.type.removeprefix("response.") for event in stream]
        assert stream.get_final_response().output_text == "Hi"
    assert kinds == [
        *("created", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]


def test_a_message_that_does_not_begin_is_refused_before_its_first_byte(gate: LiveGateway) -> None:
    response = write(gate, "startless#message", stream=True)
    assert response.status_code == 502
    assert "do not belong together" in response.json()["error"]["message"]


def test_a_response_without_usage_is_one(gate: LiveGateway) -> None:
    """The contract lets it be null, and OpenAI's SDK and Codex take it so."""
    assert respond(gate, "uncounted#response").json() == {**RESPONSE, "usage": None}


def test_an_error_in_place_of_a_stream_has_a_status(gate: LiveGateway) -> None:
    response = write(gate, "overloaded#message", stream=True)
    assert response.status_code in {503, 529}
    assert response.json()["error"]["type"] == "overloaded_error"


def test_a_refusal_on_anthropics_wire_is_not_changed(gate: LiveGateway) -> None:
    for stream in (False, True):
        response = write(gate, "refuses#message", stream=stream)
        assert (response.status_code, response.json()) == (400, REFUSED)


@pytest.mark.parametrize("call", [respond, write])
def test_an_error_that_is_no_event_of_the_wire_keeps_its_words(
    gate: LiveGateway, call: Callable[..., httpx2.Response]
) -> None:
    wire = "response" if call is respond else "message"
    last = [data for _, data in events_of(call(gate, f"foreign#{wire}-late", stream=True)) if data != "[DONE]"][-1]
    error = last["response"]["error"] if call is respond else last["error"]
    assert error["message"] == "words of a router"
    assert (error["code"] if call is respond else error["type"]).startswith("rate_limit")
    early = call(gate, f"foreign-first#{wire}", stream=True)
    assert early.status_code == 429
    assert early.json()["error"]["message"] == "words of a router"


@pytest.mark.parametrize("model", FOREIGN_REFUSALS)
def test_a_refusal_in_another_form_is_told_in_the_wires_own(gate: LiveGateway, model: str) -> None:
    for call in (respond, write):
        response = call(gate, model)
        assert response.status_code == 400
        value = response.json()
        assert value["error"]["type"] == "invalid_request_error"
        if model != "foreign#nothing":
            assert value["error"]["message"] == "words of a router"
        assert set(value) == ({"error"} if call is respond else {"type", "error", "request_id"})


def test_tokens_are_counted_where_they_are_known(gate: LiveGateway, speaking: Upstream) -> None:
    body = {"model": "good#count", "messages": [{"role": "user", "content": "Hello"}]}
    with client_of(gate) as client:
        response = client.post("/lab/v1/messages/count_tokens", json=body)
    assert response.json() == {"input_tokens": 1234, "own": 1}
    assert speaking.last("good#count").json == body


@pytest.mark.parametrize(("provider", "stream"), [("old", False), ("older", True)])
def test_an_upstream_without_the_operation_is_asked_once_and_then_translated_for(
    gate: LiveGateway, speaking: Upstream, provider: str, *, stream: bool
) -> None:
    for ask in (respond, write):
        for attempt in range(2):
            model = f"lacks#{provider}-{ask.__name__}-{attempt}"
            response = ask(gate, model, provider, stream=stream)
            assert response.status_code == 200, response.text
            assert "translated" in response.text
            paths = [seen.path.rpartition("/v1/")[2] for seen in speaking.seen(model)]
            own = "responses" if ask is respond else "messages"
            assert paths == ([own] if attempt == 0 else []) + ["chat/completions"]


@pytest.mark.parametrize("kind", ["good", "cut", "fails"])
@pytest.mark.parametrize("wire", ["responses", "messages"])
def test_any_packets_of_the_same_bytes_are_relayed_alike(
    gate: LiveGateway, speaking: Upstream, wire: str, kind: str
) -> None:
    """In one packet, an event in each, and cut in the middle of events and of characters."""
    texts = ["Grüße 🙂", ' "', "\\", "\n", ""] * 4
    delta = DELTA if wire == "responses" else MESSAGE_EVENTS[3]
    said = [{**delta, "delta": text if wire == "responses" else {"type": "text_delta", "text": text}} for text in texts]
    begun = 1 if wire == "responses" else 2
    streamed = [*STREAMS[wire, kind][:begun], *said, *STREAMS[wire, kind][begun:]]
    events = [framed(event).replace(b'": ', b'":') for event in streamed]
    raw = b"".join(events)
    cut = [raw[at : at + 67] for at in range(0, len(raw), 67)]
    ask = respond if wire == "responses" else write
    reported = []
    for name, pieces in (("one", [raw]), ("each", events), ("cut", cut)):
        model = f"packets-{wire}-{kind}-{name}"
        speaking.program(model, head(200, {"content-type": "text/event-stream", "connection": "close"}), *pieces)
        reported.append(re.sub(r"req_\w+", "", ask(gate, model, stream=True).text))
    assert reported[0] == reported[1] == reported[2]
    assert reported[0].startswith(raw.decode() if kind != "fails" else b"".join(events[:-1]).decode())
