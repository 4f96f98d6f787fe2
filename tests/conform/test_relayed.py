"""What a relayed reply says of tokens, and how one that breaks off is told, event by event."""

import json
from typing import Any

import pytest

from ai_gateway.conform.relayed import relayed
from ai_gateway.conform.relayed_message import RelayedMessage
from ai_gateway.conform.relayed_response import RelayedResponse
from ai_gateway.conform.relayed_tokens import message_tokens, response_tokens
from ai_gateway.conform.source import Mode
from ai_gateway.contract.call import Notes
from ai_gateway.contract.native import CREATE_MESSAGE, CREATE_RESPONSE, event_type
from ai_gateway.contract.tokens import Tokens
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE

LAB = Provider("lab", SAME_WIRE)
ERROR = b'{"error":{"message":"It broke.","code":"upstream_stream_truncated"}}'


def response_usage(given: Any = 30, made: Any = 7, **details: dict[str, Any]) -> dict[str, Any]:
    return {"input_tokens": given, "output_tokens": made, **details}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (response_usage(), Tokens(30, 7)),
        (response_usage(input_tokens_details={"cached_tokens": 10, "cache_write_tokens": 5}),
         Tokens(15, 7, cache_read=10, cache_write=5)),
        (response_usage(output_tokens_details={"reasoning_tokens": 3}), Tokens(30, 4, reasoning=3)),
        (response_usage(output_tokens_details={"reasoning_tokens": 9}), Tokens(30, 0, reasoning=7)),
        (response_usage(5, input_tokens_details={"cached_tokens": 10}), Tokens(5, 7, cache_read=10)),
        (response_usage(None), Tokens(0, 7)),
        (response_usage(None, None), None), (response_usage(-1), None), (response_usage(True), None),
        (response_usage(2**60), None), (response_usage("5"), None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_the_tokens_of_a_response(usage: object, tokens: Tokens | None) -> None:
    assert response_tokens(usage) == tokens


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 5, "output_tokens": 2}, Tokens(5, 2)),
        ({"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 9,
          "cache_creation": {"ephemeral_1h_input_tokens": 4}, "output_tokens_details": {"thinking_tokens": 1},
          "server_tool_use": {"web_search_requests": 2}},
         Tokens(5, 1, cache_read=3, cache_write=5, cache_write_1h=4, reasoning=1, searches=2)),
        ({"output_tokens": 2, "cache_read_input_tokens": None}, Tokens(0, 2)),
        ({}, None), ({"input_tokens": -5}, None), (3, None),
    ],
)  # fmt: skip
def test_the_tokens_of_a_message(usage: object, tokens: Tokens | None) -> None:
    assert message_tokens(usage) == tokens


def test_the_counts_of_a_stream_are_the_last_ones() -> None:
    notes = Notes()
    reader = relayed(CREATE_MESSAGE, notes, LAB)
    for event in (
        {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hé"}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
    ):
        reader.feed(json.dumps(event).encode())
    assert (notes.tokens, notes.chunks) == (Tokens(5, 9), 3)
    assert not reader.is_over
    assert reader.feed(b'{"type":"message_stop"}') == "message_stop"
    assert reader.is_over


def test_a_response_that_breaks_off_has_failed_with_what_was_done() -> None:
    reader = RelayedResponse(Notes(), LAB)
    head = {"id": "resp_1", "object": "response", "status": "in_progress", "output": [], "own": 1}
    for event in (
        {"type": "response.created", "sequence_number": 7, "response": head},
        {"type": "response.output_item.done", "sequence_number": 8, "output_index": 1, "item": {"id": "b"}},
        {"type": "response.output_item.done", "sequence_number": 9, "output_index": 0, "item": {"id": "a"}},
    ):
        reader.feed(json.dumps(event).encode())
    name, data, done = reader.broken(ERROR).decode().strip().replace("\n\n", "\n").split("\n")
    reported = json.loads(data.removeprefix("data: "))
    assert (name, done, reported["sequence_number"]) == ("event: response.failed", "data: [DONE]", 10)
    assert reported["response"] == {
        **head, "status": "failed", "output": [{"id": "a"}, {"id": "b"}],
        "error": {"code": "server_error", "message": "It broke."},
    }  # fmt: skip


def test_a_broken_message_ends_in_the_error_of_its_wire() -> None:
    assert RelayedMessage(Notes(), LAB).broken(ERROR) == b"event: error\ndata: " + ERROR + b"\n\n"


@pytest.mark.parametrize("event", [b"{", b"[]", b"{}", b'{"type":1}', b"\xff"])
def test_what_is_no_event_breaks_a_stream(event: bytes) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        relayed(CREATE_RESPONSE, Notes(), LAB).feed(event)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (b'{"type":"message_stop"}', "message_stop"),
        (b' {\n "type" : "ping"}', "ping"),
        (b'{"a":1,"type":"x"}', "x"),
        (b"{", ""),
        (b"[]", ""),
        (b'{"type":3}', ""),
    ],
)
def test_the_type_of_an_event_is_read_wherever_it_stands(event: bytes, name: str) -> None:
    assert event_type(event) == name


HEAD: dict[str, Any] = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
COUNTS = {"input_tokens": 5, "output_tokens": 1}
START = {"type": "message_start", "message": {**HEAD, "usage": COUNTS}}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
CALL = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "f"}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
CLOSE = {"type": "content_block_stop", "index": 0}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
STOP = {"type": "message_stop"}


def sent(events: list[dict[str, Any]], mode: Mode = "repair") -> tuple[list[dict[str, Any]], set[str]]:
    """The events that leave, and the rules that are reported."""
    notes = Notes()
    reader = relayed(CREATE_MESSAGE, notes, Provider("lab", SAME_WIRE, conformance=mode))
    data = b"".join(reader.framed([json.dumps(event).encode() for event in events]))
    lines = [line.removeprefix("data: ") for line in data.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines], set(notes.repairs)


@pytest.mark.parametrize("mode", ["repair", "enforce", "observe"])
def test_a_good_message_is_relayed_in_every_mode(mode: Mode) -> None:
    assert sent([START, BLOCK, DELTA, CLOSE, END, STOP], mode) == ([START, BLOCK, DELTA, CLOSE, END, STOP], set())


NULL: dict[str, Any] = {"usage": None}
BARE: list[tuple[list[dict[str, Any]], list[dict[str, Any]], set[str]]] = [
    (
        [{**START, "message": {**HEAD, **NULL}}, BLOCK, DELTA, CLOSE, END, STOP],
        [{**START, "message": {**HEAD, "usage": {"input_tokens": 0, "output_tokens": 0}}},
         BLOCK, DELTA, CLOSE, END, STOP],
        {"fill-usage"},
    ),
    (
        [START, BLOCK, DELTA, CLOSE, {**END, **NULL}, STOP],
        [START, BLOCK, DELTA, CLOSE, {**END, "usage": {"output_tokens": 1}}, STOP],
        {"fill-usage"},
    ),
    (
        [START, BLOCK, DELTA, CLOSE, STOP],
        [START, BLOCK, DELTA, CLOSE,
         {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
          "usage": {"output_tokens": 1}}, STOP],
        {"fill-finish-reason"},
    ),
    (
        [START, CALL, CLOSE, STOP],
        [START, CALL, CLOSE, {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                       "usage": {"output_tokens": 1}}, STOP],
        {"fill-finish-reason"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("events", "expected", "rules"), BARE)
def test_what_anthropics_sdk_fails_without_is_filled_in(
    events: list[dict[str, Any]], expected: list[dict[str, Any]], rules: set[str]
) -> None:
    assert sent(events) == (expected, rules)
    assert sent(events, "observe") == (events, rules)
    with pytest.raises(UpstreamInvalidResponse):
        sent(events, "enforce")


@pytest.mark.parametrize("first", [BLOCK, DELTA, END, STOP])
def test_a_message_has_a_start(first: dict[str, Any]) -> None:
    with pytest.raises(UpstreamInvalidResponse, match="do not belong together"):
        sent([{"type": "ping"}, first])


def test_a_whole_message_has_usage() -> None:
    reader = relayed(CREATE_MESSAGE, Notes(), LAB)
    assert reader.whole({**HEAD, "usage": COUNTS})
    assert reader.repaired == b""
    assert reader.whole({**HEAD, **NULL})
    assert json.loads(reader.repaired) == {**HEAD, "usage": {"input_tokens": 0, "output_tokens": 0}}
