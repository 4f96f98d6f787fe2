"""Events that clients put a relayed reply together by, where its upstream leaves them out."""

import json
from itertools import combinations
from typing import Any

import pytest

from ai_gateway.conform.relayed import relayed
from ai_gateway.conform.source import Mode
from ai_gateway.contract.call import Notes
from ai_gateway.contract.deltas import Deltas
from ai_gateway.contract.native import CREATE_MESSAGE, CREATE_RESPONSE, NativeOperation
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.sse import EventParser
from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai_responses import models
from scripts.fuzz import message_grammar, response_grammar
from tests.support import native_responses

type Fields = dict[str, Any]

RULE = {"fill-event"}


def sent(operation: NativeOperation, events: list[Fields], mode: Mode = "repair") -> tuple[list[Fields], set[str]]:
    """The events that leave, and the rules that are reported."""
    notes = Notes(model="asked", started=9.5)
    reader = relayed(operation, notes, Provider("lab", SAME_WIRE, conformance=mode), "req_1")
    parser = EventParser(2**20, Deltas(operation))
    arrived = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    data = b"".join(reader.framed(parser.feed(arrived.encode())))
    if not reader.is_over:
        data += reader.ended(done=False)
    return message_grammar.events_of(data) if data else [], set(notes.repairs)


def checked(checker: message_grammar.Checker | response_grammar.Checker, events: list[Fields]) -> Fields:
    for event in events:
        checker.feed(event)
    return checker.end()


RESPONSE_EVENTS = [{**event, "sequence_number": at} for at, event in enumerate(native_responses.events())]
ENDS = (
    "response.created",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
    "response.output_text.done",
    "response.content_part.done",
)
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "look", "status": "completed",
        "arguments": '{"a":1}'}  # fmt: skip


def without(events: list[Fields], kinds: tuple[str, ...]) -> list[Fields]:
    """The stream of an upstream that never sends these, and numbers what it sends."""
    return [{**event, "sequence_number": at} for at, event in enumerate(e for e in events if e["type"] not in kinds)]


@pytest.mark.parametrize("kinds", [kinds for size in (1, 2, 5) for kinds in combinations(ENDS, size)])
def test_the_events_of_a_response_that_are_left_out_are_put_in_their_places(kinds: tuple[str, ...]) -> None:
    events, rules = sent(CREATE_RESPONSE, without(RESPONSE_EVENTS, kinds))
    assert rules == RULE
    assert events[1:] == RESPONSE_EVENTS[1:]
    assert events[0] == {**RESPONSE_EVENTS[0], "response": {**RESPONSE_EVENTS[0]["response"]}}
    checked(response_grammar.Checker(), events)


@pytest.mark.parametrize("change", [{"output": []}, {"output": None}, {}])
def test_the_last_event_of_a_response_has_the_items_before_it(change: Fields) -> None:
    """ChatGPT's backend leaves them out (github.com/BerriAI/litellm/issues/41009), and SDKs take them from there."""
    *before, last = RESPONSE_EVENTS
    response = {name: value for name, value in last["response"].items() if name != "output"} | change
    given = [*before, {**last, "response": response}]
    assert sent(CREATE_RESPONSE, given) == (RESPONSE_EVENTS, RULE)
    assert sent(CREATE_RESPONSE, given, "observe") == (given, RULE)
    with pytest.raises(UpstreamInvalidResponse):
        sent(CREATE_RESPONSE, given, "enforce")


def test_a_response_without_items_and_one_that_has_failed_end_as_they_came() -> None:
    empty = {**native_responses.FINAL, "output": []}
    alone = [RESPONSE_EVENTS[0], {**RESPONSE_EVENTS[-1], "response": empty}]
    failed = [*RESPONSE_EVENTS[:-1], {**RESPONSE_EVENTS[-1], "type": "response.failed", "response": empty}]
    assert sent(CREATE_RESPONSE, alone) == (alone, set())
    assert sent(CREATE_RESPONSE, failed) == (failed, set())


def test_an_item_that_is_never_done_is_so_before_its_response_is() -> None:
    item = native_responses.said(native_responses.TEXT)
    head, final = native_responses.RESPONSE, {**native_responses.FINAL, "output": [item, CALL]}
    place, part = {"item_id": item["id"], "output_index": 0}, {**item["content"][0], "text": ""}
    events: list[Fields] = [
        {"type": "response.created", "response": head},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "content_index": 0, "part": part},
        {"type": "response.output_text.delta", **place, "content_index": 0, "delta": native_responses.TEXT},
        {"type": "response.output_item.added", "output_index": 1, "item": {**CALL, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 1, "delta": '{"a":1}'},
        {"type": "response.completed", "response": final},
    ]  # fmt: skip
    told, rules = sent(CREATE_RESPONSE, without(events, ()))
    assert rules == RULE
    assert [event["sequence_number"] for event in told] == [*range(len(told))]
    kinds = ("output_text.done", "content_part.done", "output_item.done", "function_call_arguments.done")
    ends = [event for event in told if event["type"].removeprefix("response.") in kinds]
    assert [event["type"].removeprefix("response.") for event in ends] == [*kinds, "output_item.done"]
    assert [event.get("item") for event in ends if "item" in event] == [item, CALL]
    assert (ends[0]["text"], ends[1]["part"], ends[3]["arguments"]) == (
        native_responses.TEXT, item["content"][0], CALL["arguments"],
    )  # fmt: skip
    assert sent(CREATE_RESPONSE, without(events, ()), "observe") == (without(events, ()), RULE)
    with pytest.raises(UpstreamInvalidResponse):
        sent(CREATE_RESPONSE, without(events, ()), "enforce")


def test_an_item_that_nothing_repeats_is_not_made_up() -> None:
    head = native_responses.RESPONSE
    events = without([
        {"type": "response.created", "response": head},
        {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}},
        {"type": "response.completed", "response": {**native_responses.FINAL, "output": []}},
    ], ())  # fmt: skip
    assert sent(CREATE_RESPONSE, events) == (events, set())


def test_a_response_that_never_begins_and_has_no_head_gets_one() -> None:
    item = {**CALL, "arguments": ""}
    events: list[Fields] = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": CALL},
        {"type": "response.completed", "response": {**native_responses.FINAL, "output": [CALL]}},
    ]
    told, rules = sent(CREATE_RESPONSE, events)  # without numbers, as some upstreams send them
    assert (told[0]["type"], rules) == ("response.created", RULE)
    head = models.Response.model_validate(told[0]["response"])
    assert (head.id, head.created_at, str(head.model)) == ("resp_req_1", 9, "asked")
    completed = {**events[2], "response": {**events[2]["response"], "id": head.id}}
    assert told[1:] == [events[0], told[2], events[1], completed]
    assert (told[2]["type"], told[2]["arguments"]) == ("response.function_call_arguments.done", CALL["arguments"])


HEAD: Fields = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
                "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1}}  # fmt: skip


def block(index: int, begun: Fields, *deltas: Fields) -> list[Fields]:
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


MESSAGE_EVENTS: list[Fields] = [
    {"type": "message_start", "message": HEAD},
    *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Hm"}),
    *block(1, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in ("Hello ", "you"))),
    *block(2, {"type": "tool_use", "id": "t", "name": "f", "input": {}},
           {"type": "input_json_delta", "partial_json": "{}"}),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
     "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]  # fmt: skip


def test_blocks_that_never_end_do_so_before_the_stop_reason() -> None:
    events = [event for event in MESSAGE_EVENTS if event["type"] != "content_block_stop"]
    told, rules = sent(CREATE_MESSAGE, events)
    stops = [{"type": "content_block_stop", "index": index} for index in range(3)]
    assert (told, rules) == ([*events[:-2], *stops, *events[-2:]], RULE)
    assert sent(CREATE_MESSAGE, events, "observe") == (events, RULE)
    with pytest.raises(UpstreamInvalidResponse):
        sent(CREATE_MESSAGE, events, "enforce")


def test_only_the_last_block_may_be_open() -> None:
    events = [*MESSAGE_EVENTS[:-3], *MESSAGE_EVENTS[-2:]]
    told, _ = sent(CREATE_MESSAGE, events)
    assert told == MESSAGE_EVENTS
    checked(message_grammar.Checker(), told)


def test_a_message_with_a_stop_reason_is_whole_without_its_last_event() -> None:
    assert sent(CREATE_MESSAGE, MESSAGE_EVENTS[:-1]) == (MESSAGE_EVENTS, RULE)
    bare = [event for event in MESSAGE_EVENTS[:-1] if event["type"] != "content_block_stop"]
    told, _ = sent(CREATE_MESSAGE, bare)
    assert told[-1] == MESSAGE_EVENTS[-1]
    assert len(told) == len(MESSAGE_EVENTS)


@pytest.mark.parametrize("events", [MESSAGE_EVENTS[:1], MESSAGE_EVENTS[:-2], MESSAGE_EVENTS[:5]])
def test_one_without_a_stop_reason_is_not(events: list[Fields]) -> None:
    assert sent(CREATE_MESSAGE, events) == (events, set())


def test_what_says_done_says_that_a_message_is_whole() -> None:
    notes = Notes()
    reader = relayed(CREATE_MESSAGE, notes, Provider("lab", SAME_WIRE))
    list(reader.framed(json.dumps(event).encode() for event in MESSAGE_EVENTS[:6]))
    ended = message_grammar.events_of(reader.ended(done=True))
    assert [event["type"] for event in ended] == ["content_block_stop", "message_delta", "message_stop"]
    assert ended[1]["delta"]["stop_reason"] == "end_turn"
    assert reader.is_over


@pytest.mark.parametrize("reason", [{}, {"stop_reason": None}])
def test_a_message_whose_stop_reason_is_null_gets_one(reason: Fields) -> None:
    early = {"type": "message_delta", "delta": reason, "usage": {"output_tokens": 3}}
    told, rules = sent(CREATE_MESSAGE, [*MESSAGE_EVENTS[:-2], early, MESSAGE_EVENTS[-1]])
    made = {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 3}}  # fmt: skip
    assert (told, rules) == ([*MESSAGE_EVENTS[:-2], early, made, MESSAGE_EVENTS[-1]], {"fill-finish-reason"})


def test_blocks_that_never_start_do_so_if_their_deltas_have_all_that_is_in_them() -> None:
    texts = [event for event in MESSAGE_EVENTS if event.get("index") != 2]
    started = [event for event in texts if event["type"] != "content_block_start"]
    assert sent(CREATE_MESSAGE, started) == (texts, RULE)
    calls = [event for event in MESSAGE_EVENTS if event["type"] != "content_block_start"]
    with pytest.raises(UpstreamInvalidResponse, match="do not belong together"):
        sent(CREATE_MESSAGE, calls)


def emptied(value: Any) -> Any:
    """The same with nothing in any id."""
    if isinstance(value, list):
        return [emptied(each) for each in value]
    if isinstance(value, dict):
        return {name: "" if name in {"id", "item_id", "call_id"} else emptied(each) for name, each in value.items()}
    return value


def test_empty_ids_of_a_response_are_filled_in_the_same_everywhere() -> None:
    place: Fields = {"item_id": "fc_1", "output_index": 3}
    final = {**native_responses.FINAL, "output": [*native_responses.OUTPUT, CALL]}
    events: list[Fields] = [
        *[event for event in native_responses.events() if event["type"] != "response.completed"],
        {
            "type": "response.output_item.added",
            "output_index": 3,
            "item": {**CALL, "status": "in_progress", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", **place, "delta": CALL["arguments"]},
        {"type": "response.function_call_arguments.done", **place, "name": "look", "arguments": CALL["arguments"]},
        {"type": "response.output_item.done", "output_index": 3, "item": CALL},
        {"type": "response.completed", "response": final},
    ]
    told, rules = sent(CREATE_RESPONSE, emptied(without(events, ())))
    assert rules == {"fill-id", "fill-tool-call-id"}
    checked(response_grammar.Checker(), told)
    assert told[-1]["response"]["output"][3]["call_id"].startswith("call_")
    assert emptied(told) == emptied(without(events, ()))
    assert sent(CREATE_RESPONSE, emptied(without(events, ())), "observe")[0] == emptied(without(events, ()))


def test_empty_ids_of_a_whole_response_are_filled_in_and_kept() -> None:
    notes = Notes()
    reader = relayed(CREATE_RESPONSE, notes, Provider("lab", SAME_WIRE), "req_1")
    assert reader.whole(emptied({**native_responses.FINAL, "output": [CALL]}))
    made = json.loads(reader.repaired)
    assert (made["id"], notes.repairs) == ("resp_req_1", {"fill-id", "fill-tool-call-id"})
    assert made["output"][0]["id"].startswith("fc_")
    assert reader.kept == made


def test_empty_ids_of_a_message_are_filled_in() -> None:
    told, rules = sent(CREATE_MESSAGE, emptied(MESSAGE_EVENTS))
    assert rules == {"fill-id", "fill-tool-call-id"}
    assert emptied(told) == emptied(MESSAGE_EVENTS)
    assert told[0]["message"]["id"] == "msg_req_1"
    (call,) = [event["content_block"] for event in told if event.get("content_block", {}).get("type") == "tool_use"]
    assert call["id"].startswith("toolu_")
    reader = relayed(CREATE_MESSAGE, Notes(), Provider("lab", SAME_WIRE), "req_1")
    assert reader.whole(emptied({**HEAD, "content": [call]}))
    made = json.loads(reader.repaired)
    assert made == {**HEAD, "id": "msg_req_1", "content": [{**call, "id": made["content"][0]["id"]}]}
    assert made["content"][0]["id"].startswith("toolu_")
