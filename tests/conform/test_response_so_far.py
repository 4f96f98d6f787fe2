"""What is made of a response that somebody else has begun: legal to its end, wherever its events stop."""

from typing import Any

import pytest

from ai_gateway.conform.response_so_far import SoFar
from scripts.fuzz.response_grammar import Checker
from tests.support import native_responses

type Fields = dict[str, Any]

STARTED = native_responses.RESPONSE
CITED = {"type": "url_citation", "url": "http://a", "title": "t", "start_index": 0, "end_index": 1}


def opened(item: Fields, *between: Fields) -> list[Fields]:
    """The events of a response with one item, up to where it is done."""
    place = {"item_id": item["id"], "output_index": 0}
    begun = [{"type": f"response.{name}", "response": STARTED} for name in ("created", "in_progress")]
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    return [*begun, added, *({**place, **each} for each in between)]


def given(item: Fields, stem: str) -> list[Fields]:
    """The events of a call, with two pieces of what it is given."""
    return opened(item, *({"type": f"response.{stem}.delta", "delta": text} for text in ("ab", "c")))


FUNCTION = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "look", "arguments": ""}
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "patch", "input": ""}
MESSAGE: Fields = {"type": "message", "id": "msg_1", "role": "assistant", "content": [], "status": "in_progress"}
PART: Fields = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
REFUSAL: Fields = {"type": "refusal", "refusal": ""}
STREAMS: dict[str, list[Fields]] = {
    "whole": [*native_responses.events()],
    "function": given({**FUNCTION, "status": "in_progress"}, "function_call_arguments"),
    "custom": given(CUSTOM, "custom_tool_call_input"),
    "cited": opened(
        MESSAGE,
        {"type": "response.content_part.added", "content_index": 0, "part": PART},
        {"type": "response.output_text.delta", "content_index": 0, "delta": "a"},
        {
            "type": "response.output_text.annotation.added",
            "content_index": 0,
            "annotation_index": 0,
            "annotation": CITED,
        },
    ),
    "refused": opened(
        MESSAGE,
        {"type": "response.content_part.added", "content_index": 0, "part": REFUSAL},
        {"type": "response.refusal.delta", "content_index": 0, "delta": "no"},
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_stops_anywhere_is_ended_legally_with_all_that_it_said(name: str) -> None:
    events = [event for event in STREAMS[name] if event["type"] != "response.completed"]
    for stop in range(2, len(events) + 1):
        so_far = SoFar()
        for event in events[:stop]:
            so_far.feed(event)
        closing = so_far.cut()
        failed = {**STARTED, "status": "failed", "error": {"code": "server_error", "message": "x"}}
        last = {"type": "response.failed", "response": {**failed, "output": so_far.output}}
        checker = Checker()
        if name == "whole" and stop in {3, 4}:  # a search that has not begun to search goes through no more states
            continue
        for number, event in enumerate([*events[:stop], *closing, last]):
            checker.feed({**event, "sequence_number": number})
        assert checker.end()["output"] == so_far.output
        said = "".join(event["delta"] for event in events[:stop] if "delta" in event)
        assert said == "".join(_texts(so_far.output))


def _texts(output: list[Fields]) -> list[str]:
    found = []
    for item in output:
        found += [str(item.get(name, "")) for name in ("arguments", "input")]
        found += [
            str(part.get("text", part.get("refusal"))) for part in [*item.get("summary", []), *item.get("content", [])]
        ]
    return found


def test_what_cannot_be_incomplete_is_left_out_and_a_search_has_failed() -> None:
    patch = {"type": "apply_patch_call", "id": "apc_1", "call_id": "c", "status": "in_progress", "operation": {}}
    search = {**native_responses.SEARCH, "status": "in_progress"}
    for item, status in ((patch, None), (search, "failed")):
        so_far = SoFar()
        for event in opened(item):
            so_far.feed(event)
        so_far.cut()
        assert [each["status"] for each in so_far.output] == ([] if status is None else [status])


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 9**20, "delta": "a"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": None, "delta": 5},
        {"type": "response.output_item.added", "output_index": "0", "item": {}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": ["odd"]}},
        {"type": "response.content_part.added", "output_index": 0, "part": None},
        {"type": None, "response": 7},
        {},
    ],
)
def test_odd_events_break_nothing(event: Fields) -> None:
    so_far = SoFar()
    for each in (*opened(MESSAGE), event):
        so_far.feed(each)
    so_far.cut()
    assert len(so_far.output) <= 1
