"""Replies and streams of the Messages API in OpenAI's terms: the same answer, whole or piece by piece."""

import json
from typing import Any

import pytest

from ai_gateway.conform.objects import ReplyContext
from ai_gateway.conform.reply import repair
from ai_gateway.conform.rules import FILL_CREATED
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.chat_anthropic.reply import model_object, to_chat, usage
from ai_gateway.translate.chat_anthropic.stream import MessagesStreamTranslator
from ai_gateway.translate.wires.anthropic import Event, Message, ModelInfo, Usage, parsed, read, read_event
from gateway_contract.openai import models
from tests.support.anthropic_types import accepted
from tests.support.behaviours import CALLS, TEXT, THOUGHT
from tests.support.fake_anthropic import SIGNATURE, call, events, message, model_info, text, thought

NOW = 1_760_000_000
CITE = {
    "type": "web_search_result_location",
    "url": "https://example.com/z",
    "title": "Zebras",
    "cited_text": "striped",
    "encrypted_index": "i",
}
PLACE = {
    "type": "char_location",
    "cited_text": "b",
    "document_index": 0,
    "document_title": None,
    "file_id": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "zebra"}}


def whole(content: list[dict[str, Any]], reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    """The reply as a client gets it, which the contract takes as it is."""
    given = message("claude-x", content, reason, **more)
    accepted("message", given)
    value = to_chat(read("anthropic", Message, given), NOW)
    exact, repairs = repair(models.CreateChatCompletionResponse, value, ReplyContext("claude-x", "r"))
    assert repairs == []
    return exact.model_dump(mode="json", exclude_unset=True)


def chunks(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chunks for these events, each exact."""
    writer = MessagesStreamTranslator(NOW)
    found = []
    for event in made:
        if event["type"] != "ping":
            accepted("event", event)
        read_one = read_event("anthropic", event)
        for chunk in writer.feed(read_one) if read_one else ():
            exact = models.CreateChatCompletionStreamResponse.model_validate(chunk, strict=True)
            found.append(exact.model_dump(mode="json", exclude_unset=True))
    assert writer.complete is (made[-1]["type"] == "message_stop")
    return found


def put_together(made: list[dict[str, Any]]) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
    """What a client makes of the chunks: the message, why it ended and the usage."""
    found: dict[str, Any] = {"content": ""}
    reasons = []
    for chunk in made[:-1]:
        (choice,) = chunk["choices"]
        reasons.append(choice["finish_reason"])
        for name, value in choice["delta"].items():
            _add(found, name, value)
    assert all(reason is None for reason in reasons[:-1])
    return found, reasons[-1], made[-1]["usage"]


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    if name == "tool_calls":
        calls = found.setdefault(name, [])
        for one in value:
            if one["index"] == len(calls):
                calls.append({"id": one["id"], "type": one["type"], "function": dict(one["function"])})
            else:
                calls[one["index"]]["function"]["arguments"] += one["function"]["arguments"]
    elif name in {"content", "reasoning_content"}:
        found[name] = found.get(name, "") + value
    elif isinstance(value, list):
        found[name] = found.get(name, []) + value
    else:
        found[name] = value


ANSWERS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "text": ([text()], "end_turn"),
    "several texts": ([text("one "), text("two")], "stop_sequence"),
    "nothing": ([], "end_turn"),
    "a call": ([call(0)], "tool_use"),
    "text and two calls": ([text("I look."), call(0), call(1)], "tool_use"),
    "thinking": ([thought(), {"type": "redacted_thinking", "data": "xyz"}, text()], "end_turn"),
    "tools of the API's own": ([text("I search. "), SEARCH, {**text("It is."), "citations": [CITE]}], "pause_turn"),
    "a document": ([{**text("a"), "citations": [PLACE]}], "max_tokens"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_says_the_same_as_a_whole_reply(name: str) -> None:
    content, reason = ANSWERS[name]
    reply = whole(content, reason)
    expected = dict(reply["choices"][0]["message"])
    reported, ended, counted = put_together(chunks(events("claude-x", content, reason)))
    for one in expected.get("tool_calls", []) + reported.get("tool_calls", []):
        one["function"]["arguments"] = json.loads(one["function"]["arguments"])
    expected["content"] = expected["content"] or ""
    if not expected["annotations"]:
        del expected["annotations"]
    assert reported == expected
    assert ended == reply["choices"][0]["finish_reason"]
    assert counted == reply["usage"]


def test_a_whole_reply_is_exact() -> None:
    assert whole([text()]) == {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "object": "chat.completion",
        "created": NOW,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 4,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        },
        "service_tier": "default",
    }


def test_calls_keep_their_ids_and_arguments() -> None:
    found = whole([call(0), call(1)], "tool_use")["choices"][0]["message"]
    assert found["content"] is None
    assert found["tool_calls"] == [
        {"id": "toolu_01", "type": "function", "function": {"name": "zebra", "arguments": CALLS[0][2]}},
        {"id": "toolu_02", "type": "function", "function": {"name": "apfel", "arguments": "{}"}},
    ]


def test_thinking_is_text_and_can_be_sent_back() -> None:
    found = whole([thought(), text()])["choices"][0]["message"]
    assert found["reasoning_content"] == THOUGHT
    assert found["thinking_blocks"] == [{"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE}]


def test_citations_of_pages_are_annotations_and_none_is_lost() -> None:
    content = [text("Look: "), {**text("striped"), "citations": [CITE, PLACE]}]
    found = whole(content)["choices"][0]["message"]
    page = {"start_index": 6, "end_index": 13, "url": "https://example.com/z", "title": "Zebras"}
    assert found["annotations"] == [{"type": "url_citation", "url_citation": page}]
    assert found["citations"] == [CITE, PLACE]


@pytest.mark.parametrize(
    ("reason", "reported", "native"),
    [
        ("end_turn", "stop", None),
        ("stop_sequence", "stop", None),
        ("max_tokens", "length", None),
        ("tool_use", "tool_calls", None),
        ("pause_turn", "length", "pause_turn"),
        ("refusal", "content_filter", None),
        ("model_context_window_exceeded", "length", "model_context_window_exceeded"),
    ],
)
def test_every_reason_to_end_has_a_name_of_openais(reason: str, reported: str, native: str | None) -> None:
    """Where that name says less, the reason itself is beside it."""
    content = [call(0)] if reason == "tool_use" else [text()]
    choice = whole(content, reason)["choices"][0]
    assert (choice["finish_reason"], choice.get("native_finish_reason")) == (reported, native)
    made = chunks(events("claude-x", content, reason))
    assert put_together(made)[1] == reported
    (last,) = (one for chunk in made for one in chunk["choices"] if one["finish_reason"])
    assert last.get("native_finish_reason") == native


def test_a_refusal_is_told_in_the_models_words() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "This could do harm."}
    found = whole([text("I")], "refusal", stop_details=details)["choices"][0]
    assert (found["message"]["refusal"], found["message"]["content"]) == ("This could do harm.", "I")
    reported, ended, _ = put_together(chunks(events("claude-x", [text("I")], "refusal", details)))
    assert (reported["refusal"], reported["content"], ended) == ("This could do harm.", "I", "content_filter")
    assert whole([], "refusal", stop_details={"type": "refusal"})["choices"][0]["message"]["refusal"] is None


@pytest.mark.parametrize(
    ("counts", "reported"),
    [
        ({"input_tokens": 5, "output_tokens": 6}, (5, 6, 11, 0, 0)),
        ({"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 10}, (15, 6, 21, 10, 0)),
        ({"input_tokens": 0, "output_tokens": 1, "cache_creation_input_tokens": 3}, (3, 1, 4, 0, 3)),
        ({"input_tokens": 2, "output_tokens": 1, "cache_read_input_tokens": None}, (2, 1, 3, 0, 0)),
        ({}, (0, 0, 0, 0, 0)),
    ],
)
def test_the_prompt_counts_what_the_cache_gave_and_took(counts: dict[str, Any], reported: tuple[int, ...]) -> None:
    found: dict[str, Any] = usage(read("anthropic", Usage, counts))
    details = found["prompt_tokens_details"]
    assert (found["prompt_tokens"], found["completion_tokens"], found["total_tokens"]) == reported[:3]
    assert (details["cached_tokens"], details["cache_write_tokens"]) == reported[3:]


@pytest.mark.parametrize("reported", [{}, {"usage": None}, {"usage": {}}, {"usage": {"input_tokens": None}}])
def test_counts_that_nobody_told_are_not_made_up(reported: dict[str, Any]) -> None:
    given = {"type": "message", "id": "a", "model": "m", "content": [], "stop_reason": "end_turn", **reported}
    assert "usage" not in to_chat(read("anthropic", Message, given), NOW)
    made = events("claude-x", [text()], "end_turn")
    for place in (made[0]["message"], made[-2]):
        del place["usage"]
        place.update(reported)
    writer = MessagesStreamTranslator(NOW)
    said = [chunk for event in made if (one := read_event("anthropic", event)) for chunk in writer.feed(one)]
    assert writer.complete
    assert not any("usage" in chunk for chunk in said)


def test_tokens_of_thinking_are_counted_apart() -> None:
    counts = {"input_tokens": 1, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 5}}
    assert usage(read("anthropic", Usage, counts))["completion_tokens_details"] == {"reasoning_tokens": 5}


def test_a_later_count_replaces_an_earlier_one() -> None:
    made = events("claude-x", [text()], "end_turn")
    made[-2]["usage"] = {"output_tokens": 40, "cache_read_input_tokens": 20, "input_tokens": None}
    _, _, counted = put_together(chunks(made))
    assert (counted["prompt_tokens"], counted["completion_tokens"]) == (4 + 1 + 20, 40)


# -- streams, event by event --


@pytest.mark.parametrize("name", ANSWERS)
def test_blocks_that_nobody_ends_are_whole_at_the_end(name: str) -> None:
    reported = events("claude-x", *ANSWERS[name])
    left = [event for event in reported if event["type"] != "content_block_stop"]
    assert put_together(chunks(left)) == put_together(chunks(reported))


def test_calls_are_numbered_among_calls_and_not_among_blocks() -> None:
    made = chunks(events("claude-x", [thought(), text("x"), call(0), SEARCH, call(1)], "tool_use"))
    calls = [one for chunk in made for choice in chunk["choices"] for one in choice["delta"].get("tool_calls", ())]
    assert [one["index"] for one in calls if "id" in one] == [0, 1]
    assert calls[-1] == {"index": 1, "function": {"arguments": "{}"}}
    assert "".join(one["function"]["arguments"] for one in calls if one["index"] == 0) == '{"z": "ä", "n": 1}'


def test_arguments_that_stand_in_the_blocks_head_are_told() -> None:
    made = events("claude-x", [call(1)], "tool_use")
    next(event for event in made if event["type"] == "content_block_start")["content_block"]["input"] = {"a": 1}
    reported, _, _ = put_together(chunks(made))
    assert reported["tool_calls"][0]["function"]["arguments"] == '{"a":1}'


def test_nothing_looks_finished_before_the_api_says_so() -> None:
    made = chunks(events("claude-x", [text()], "end_turn")[:-1])
    assert [choice["finish_reason"] for chunk in made for choice in chunk["choices"]] == [None] * len(made)
    assert not any("usage" in chunk for chunk in made)


def test_the_role_comes_first_and_the_head_is_one() -> None:
    made = chunks(events("claude-x", [text()], "end_turn"))
    assert made[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert {(chunk["id"], chunk["created"], chunk["model"], chunk["service_tier"]) for chunk in made} == {
        ("msg_01XFDUDYJgAACzvnptvVoYEL", NOW, "claude-x", "default")
    }


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ping"},
        {"type": "weather", "index": "tomorrow", "delta": 5},
    ],
)
def test_events_that_nobody_knows_say_nothing(event: dict[str, Any]) -> None:
    assert read_event("anthropic", event) is None


def test_what_a_ping_says_before_the_head_is_in_the_first_chunk() -> None:
    head = {"type": "message_start", "message": message("claude-x", [], None)}
    writer = MessagesStreamTranslator(NOW)
    found: list[dict[str, Any]] = []
    for event in ({"type": "ping", "retry": 3}, head, {"type": "ping", "retry": 4}):
        found += writer.feed(read("anthropic", Event, event))
    assert [chunk["retry"] for chunk in found] == [3, 4]


@pytest.mark.parametrize(
    "order",
    [[1], [0, 2], [0, 3], [0, 1, 4, 4]],
    ids=["a block before the head", "a delta of no block", "the end of no block", "a block that ends twice"],
)
def test_events_that_do_not_belong_together_are_an_invalid_reply(order: list[int]) -> None:
    reported: list[dict[str, Any]] = [
        {"type": "message_start", "message": message("claude-x", [], None)},
        {"type": "content_block_start", "index": 0, "content_block": call(0)},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_stop", "index": 0},
    ]
    with pytest.raises(UpstreamInvalidResponse):
        chunks([reported[at] for at in order])


@pytest.mark.parametrize("kind", ["message_start", "content_block_start"])
def test_an_event_without_its_object_is_an_invalid_reply(kind: str) -> None:
    event = read_event("anthropic", {"type": kind})
    assert event is not None
    with pytest.raises(UpstreamInvalidResponse):
        list(MessagesStreamTranslator(NOW).feed(event))


# -- what is no reply --


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"type": "message"},
        {"type": "message", "id": "a", "model": "m"},
        {"type": "completion", "id": "a", "model": "m", "content": [], "usage": {}},
        {"type": "message", "id": 5, "model": "m", "content": [], "usage": {}},
        {"type": "message", "id": "a", "model": "m", "content": "text", "usage": {}},
        {"type": "message", "id": "a", "model": "m", "content": [{"type": "text"}], "usage": {}},
        {"type": "message", "id": "a", "model": "m", "content": [{"type": "tool_use", "id": "x"}], "usage": {}},
        {"type": "message", "id": "a", "model": "m", "content": [], "usage": {"input_tokens": "secret"}},
    ],
)
def test_what_is_no_message_is_an_invalid_reply_and_is_not_quoted(value: object) -> None:
    with pytest.raises(UpstreamInvalidResponse) as caught:
        read("anthropic", Message, value)
    assert "secret" not in f"{caught.value.message} {caught.value.detail}"


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[1]", b'{"a":nan}', b"{a:1}"])
def test_what_is_no_object_is_an_invalid_reply(raw: bytes) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        parsed("anthropic", raw)


# -- models --


@pytest.mark.parametrize(
    ("created_at", "created"),
    [("2025-11-24T00:00:00Z", 1763942400), ("1970-01-01T00:00:00Z", 0), ("", None), ("soon", None)],
)
def test_a_model_has_openais_date(created_at: str, created: int | None) -> None:
    given = model_info("claude-x") | {"created_at": created_at}
    found = model_object(read("anthropic", ModelInfo, given))
    assert found.get("created") == created
    exact, repairs = repair(models.Model, found, ReplyContext("", "r"))
    assert (exact.id, exact.owned_by, exact.created) == ("claude-x", "anthropic", created or 0)
    assert repairs == ([] if created is not None else [FILL_CREATED])


# -- what OpenAI's objects have no field for --

CONTAINER = {"id": "container_1", "expires_at": "2026-03-01T12:00:00Z"}
SEARCHES = {"web_search_requests": 2, "web_fetch_requests": 0}


def test_what_else_the_api_says_of_its_answer_is_kept() -> None:
    counts = {"input_tokens": 1, "output_tokens": 2, "server_tool_use": SEARCHES}
    reply = whole([text()], "stop_sequence", stop_sequence="END", container=CONTAINER, usage=counts)
    assert reply["choices"][0]["stop_sequence"] == "END"
    assert reply["container"] == CONTAINER
    assert reply["usage"]["server_tool_use"] == SEARCHES


@pytest.mark.parametrize("early", [True, False])
def test_what_else_the_api_says_of_its_answer_is_kept_in_a_stream(early: bool) -> None:
    made = events("claude-x", [text()], "stop_sequence")
    ending: Any = next(event for event in made if event["type"] == "message_delta")
    ending["delta"]["stop_sequence"] = "END"
    ending["usage"]["server_tool_use"] = SEARCHES
    (made[0]["message"] if early else ending["delta"])["container"] = CONTAINER
    *_, last, counted = chunks(made)
    assert last["choices"][0]["stop_sequence"] == "END"
    assert last["container"] == CONTAINER
    assert counted["usage"]["server_tool_use"] == SEARCHES


def test_what_the_api_does_not_say_is_not_there() -> None:
    reply = whole([text()])
    assert "stop_sequence" not in reply["choices"][0]
    assert "container" not in reply
    assert "server_tool_use" not in reply["usage"]


# -- kinds that nobody knows yet --

LATER = {"type": "later_kind", "text": None, "name": 5, "input": [1], "citations": {"enabled": True}}


def later(block: dict[str, Any], *deltas: dict[str, Any]) -> dict[str, Any]:
    """The message that a stream with this one block tells."""
    head, *_, delta, stop = events("claude-x", [], "end_turn")
    reported = [{"type": "content_block_delta", "index": 0, "delta": one} for one in deltas]
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    writer = MessagesStreamTranslator(NOW)
    found: list[dict[str, Any]] = []
    for event in [head, start, *reported, {"type": "content_block_stop", "index": 0}, delta, stop]:
        known = read_event("anthropic", event)
        found += writer.feed(known) if known else ()
    return put_together(json.loads(json.dumps(found)))[0]


def test_a_block_of_a_kind_that_nobody_knows_is_kept_whatever_its_fields_hold() -> None:
    given = message("claude-x", [text("a"), LATER], "end_turn")
    made: Any = to_chat(read("anthropic", Message, given), NOW)
    assert made["choices"][0]["message"]["content"] == "a"
    assert made["choices"][0]["message"]["other_blocks"] == [LATER]
    assert later(LATER)["other_blocks"] == [LATER]


@pytest.mark.parametrize("kind", ["later_delta", "compaction_delta"])
def test_what_is_added_in_a_way_that_nobody_knows_is_kept_with_its_block(kind: str) -> None:
    deltas: list[dict[str, Any]] = [
        {"type": kind, "content": "so far", "text": None, "citation": 5},
        {"type": kind, "content": "."},
    ]
    block = {"type": "compaction", "content": None}
    assert later(block, *deltas)["other_blocks"] == [{**block, "deltas": deltas}]
    for known in (text(""), {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}):
        assert later(known, *deltas)["other_blocks"] == [{**known, "deltas": deltas}]
    (kept,) = later({"type": "thinking", "thinking": "hm", "signature": ""}, *deltas)["thinking_blocks"]
    assert (kept["thinking"], kept["deltas"]) == ("hm", deltas)


def test_what_is_added_to_a_block_of_a_kind_that_nobody_knows_is_no_answer() -> None:
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": "x"}, {"type": "citations_delta", "citation": CITE}]
    reported = later(LATER, *deltas)
    assert reported.get("content", "") == ""
    assert reported["other_blocks"] == [{**LATER, "deltas": deltas}]


@pytest.mark.parametrize("fields", [{"text": None}, {"citations": {}}])
def test_a_text_is_still_held_to_its_shape(fields: dict[str, Any]) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        read("anthropic", Message, message("claude-x", [text("a") | fields], "end_turn"))
