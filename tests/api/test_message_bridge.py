"""A chat's stream as the events of a message: whatever an upstream sends, they are legal and end."""

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.api.message_bridge import MessageBridge, MessageContext
from ai_gateway.contract.anthropic_wire import ANTHROPIC
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS
from ai_gateway.translate.anthropic_chat.ids import ToolNames
from ai_gateway.translate.anthropic_chat.seal import unsealed
from scripts.fuzz.message_grammar import check, events_of
from scripts.fuzz.response_grammar import Illegal
from tests.support.chat_streams import FIRST, Packets, answer, any_stream, call, chunk, said, translated


def bridge(call_: Call) -> MessageBridge:
    return MessageBridge(call_, MessageContext("asked", ToolNames(), ("END",), 7))


def run(packets: Packets, **options: Any) -> bytes:
    return translated(packets, bridge, ANTHROPIC, EVENTS, **options)


def message(packets: Packets, **options: Any) -> dict[str, Any]:
    return check(run(packets, **options)).message or {}


def test_a_text_is_one_block_between_a_start_and_an_end() -> None:
    data = run(answer(said(content="Hel"), said(content="lo")))
    assert [event["type"] for event in events_of(data)] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    reported = message(answer(said(content="Hel"), said(content="lo")))
    assert reported["content"] == [{"type": "text", "text": "Hello", "citations": []}]
    assert (reported["stop_reason"], reported["model"]) == ("end_turn", "asked")
    assert reported["id"] == "chatcmpl-12345678", "as of a whole message"
    counts = {name: reported["usage"][name] for name in ("input_tokens", "cache_read_input_tokens", "output_tokens")}
    assert counts == {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 5}
    (started,) = (event["message"] for event in events_of(data) if event["type"] == "message_start")
    assert started["usage"]["input_tokens"] == 7, "an estimate until the truth is known"


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")],
)
def test_why_it_stopped_is_told(finish: str, reason: str) -> None:
    assert message(answer(said(content="a"), finish=finish))["stop_reason"] == reason


def test_thinking_is_a_block_with_its_signature_at_its_end() -> None:
    block = {"type": "thinking", "thinking": "hmm", "signature": "c2ln"}
    reported = message(
        answer(
            said(reasoning_content="h"),
            said(reasoning_content="mm"),
            said(thinking_blocks=[block]),
            said(content="Yes"),
        )
    )
    assert reported["content"][0] == block
    assert reported["content"][1]["text"] == "Yes"


def test_thinking_without_a_signature_and_thinking_that_nobody_may_read() -> None:
    redacted = {"type": "redacted_thinking", "data": "eA=="}
    reported = message(
        answer(
            said(reasoning_content="hm"),
            said(thinking_blocks=[redacted]),
            said(reasoning_content="ok"),
            said(content="Yes"),
        )
    )
    assert reported["content"][:3] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        redacted,
        {"type": "thinking", "thinking": "ok", "signature": ""},
    ]


def test_calls_are_blocks_whose_input_comes_in_pieces() -> None:
    reported = message(
        answer(
            said(content="See"),
            *(call(0, "look", ""), call(0, arguments=' {"a"'), call(0, arguments=":1}")),
            *(call(1, "list", ""), call(2, "edit", "{}"), call(3, "none", "null")),
            finish="tool_calls",
        )
    )
    text, look, list_, edit, none = reported["content"]
    assert text["text"] == "See"
    assert (look["id"], look["name"], look["input"], json.loads(look["input_json"])) == ("call_0", "look", {}, {"a": 1})
    assert [list_["input_json"], edit["input_json"], none["input_json"]] == ["", "{}", ""]
    assert reported["stop_reason"] == "tool_use"


def test_calls_told_in_turns_are_blocks_one_after_the_other() -> None:
    stream = answer(
        *(call(0, "look", '{"a'), call(1, "look", '{"b'), call(0, arguments='":1}'), call(1, arguments='":2}')),
        finish="tool_calls",
    )
    assert [block["input_json"] for block in message(stream)["content"]] == ['{"a":1}', '{"b":2}']


@pytest.mark.parametrize("arguments", ["[1]", '"text"', "nothing", "{} {}"])
def test_arguments_that_are_no_object_are_an_error(arguments: str) -> None:
    checker = check(run(answer(call(0, "look", arguments), finish="tool_calls")))
    assert checker.error is not None


def test_arguments_that_were_cut_off_are_told_as_far_as_they_came() -> None:
    reported = message(answer(call(0, "look", '{"a": "ha'), finish="length"))
    assert (reported["content"][0]["input_json"], reported["stop_reason"]) == ('{"a": "ha', "max_tokens")


def test_a_name_and_a_text_in_one_chunk_are_both_told() -> None:
    both = call(0, "look", "{}")
    both["choices"][0]["delta"]["content"] = "See"
    assert [block["type"] for block in message(answer(both, finish="tool_calls"))["content"]] == ["text", "tool_use"]


def test_a_citation_is_a_delta_of_its_text() -> None:
    cited = {
        "type": "char_location",
        "cited_text": "a",
        "document_index": 0,
        "document_title": None,
        "file_id": None,
        "start_char_index": 0,
        "end_char_index": 1,
    }
    reported = message(answer(said(content="As"), said(citations=[cited])))
    assert reported["content"][0]["citations"] == [cited]


def test_blocks_that_chat_has_no_word_for_stay_blocks() -> None:
    other: dict[str, Any] = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    other["caller"] = {"type": "direct"}
    reported = message(answer(said(content="a"), said(other_blocks=[other]), said(content="b")))
    assert [block["type"] for block in reported["content"]] == ["text", "server_tool_use", "text"]


def test_a_stop_sequence_is_told_where_its_upstream_tells_it() -> None:
    ended = said("stop")
    ended["choices"][0]["stop_reason"] = "END"
    reported = message([[FIRST], [said(content="a")], [ended]])
    assert (reported["stop_reason"], reported["stop_sequence"]) == ("stop_sequence", "END")


def test_a_refusal_says_why() -> None:
    reported = message(answer(said(refusal="No"), said(refusal="pe")))
    assert (reported["stop_reason"], reported["content"][0]["text"]) == ("refusal", "Nope")


def test_what_nobody_has_counted_is_estimated() -> None:
    reported = message(answer(said(content="Some words of an answer."), usage=None))
    assert reported["usage"]["input_tokens"] == 7
    assert reported["usage"]["output_tokens"] > 3


def test_what_an_upstream_wants_back_is_kept_in_a_block_of_its_own() -> None:
    pieces = [{"type": "reasoning.text", "text": text, "index": 0} for text in ("h", "m")]
    called = call(0, "look", "{}")
    called["choices"][0]["delta"]["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    stream = answer(*(said(reasoning=each["text"], reasoning_details=[each]) for each in pieces), called)
    *_, kept = message(stream)["content"]
    assert kept["type"] == "redacted_thinking"
    held = unsealed(kept["data"])
    assert held is not None
    assert held["message"] == {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]}
    assert held["calls"] == {"call_0": {"extra_content": {"google": {"thought_signature": "c2ln"}}}}


def test_a_model_that_says_nothing_has_no_blocks() -> None:
    assert message(answer())["content"] == []


@pytest.mark.parametrize(
    "packets", [[], [[FIRST]], [[FIRST], [said(content="Half")]], [[FIRST], [call(0, "look", '{"a')]]]
)
def test_a_stream_that_is_cut_ends_in_an_error(packets: Packets) -> None:
    assert check(run(packets, done=False)).error is not None


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(any_stream(), st.booleans())
def test_any_upstream_gives_a_legal_stream_with_an_end(packets: Packets, done: bool) -> None:
    fast, slow = (check(run(packets, done=done, fast=fast)) for fast in (True, False))
    assert (fast.message, fast.error) == (slow.message, slow.error), "texts that are never parsed say the same"


VALUES = st.sampled_from([None, 1, "a", "", {"n": 1}, {"n": 2}, [1]])
OF_DELTAS = st.sampled_from(["x", "thinking", "annotations", "citations", "other_blocks", "extra_content"])


@st.composite
def with_extras(draw: st.DrawFn) -> Packets:
    """Any stream, with fields at any place that no document names, or that hold what none would."""
    packets: list[list[dict[str, Any]]] = deepcopy(draw(any_stream()))  # type: ignore[arg-type] # lists of lists
    for each in (event for packet in packets for event in packet):
        if draw(st.booleans()):
            each[draw(st.sampled_from(["x", "y"]))] = draw(VALUES)
        for choice in each["choices"]:
            if draw(st.booleans()):
                choice["x"] = draw(VALUES)
            if draw(st.booleans()):
                choice["delta"][draw(OF_DELTAS)] = draw(VALUES)
            for piece in choice["delta"].get("tool_calls", []):
                if draw(st.booleans()):
                    piece["x"] = draw(VALUES)
    return packets


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(with_extras(), st.booleans())
def test_so_does_one_with_fields_that_no_document_names(packets: Packets, done: bool) -> None:
    fast, slow = (check(run(packets, done=done, fast=fast)) for fast in (True, False))
    assert (fast.message, fast.error) == (slow.message, slow.error)


@pytest.mark.parametrize("fast", [True, False])
def test_a_field_of_the_same_name_and_value_in_every_event_is_kept_once(fast: bool) -> None:
    def event(delta: dict[str, Any], finish: str | None = None, **more: object) -> list[dict[str, Any]]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
        return [
            {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [choice]}
        ]

    again = event({"content": "", "x": None})
    packets = [event({"role": "assistant", "content": ""}, x=1), again, again, event({}, "stop")]
    message = check(run(packets, done=True, fast=fast)).message
    assert message is not None
    assert (message["x"], message["other_fields"]) == (1, [{"x": None}])


def test_texts_that_go_on_are_never_parsed() -> None:
    texts = [[said(content=str(at))] for at in range(60)]
    seen: list[str] = []

    def make(call_: Call) -> MessageBridge:
        made = bridge(call_)
        feed = made.feed

        def counted(item: Any) -> bytes:
            seen.append(type(item).__name__)
            return feed(item)

        made.feed = counted  # type: ignore[method-assign]
        return made

    data = translated([[FIRST], *texts, [said("stop"), chunk()]], make, ANTHROPIC, EVENTS)
    assert (check(data).message or {})["content"][0]["text"] == "".join(map(str, range(60)))
    assert len(seen) < 10


def _events() -> list[dict[str, Any]]:
    return events_of(
        run(answer(said(reasoning_content="hm"), said(content="a"), call(0, "look", "{}"), finish="tool_calls"))
    )


def _framed(events: list[dict[str, Any]]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


@pytest.mark.parametrize(
    "left_out", [at for at, event in enumerate(_events()) if event["type"] != "content_block_delta"]
)
def test_the_checker_misses_no_event_that_is_missing(left_out: int) -> None:
    events = _events()
    del events[left_out]
    with pytest.raises(Illegal):
        check(_framed(events))


@pytest.mark.parametrize("at", [at for at, event in enumerate(_events()) if "index" in event])
@pytest.mark.parametrize("by", [-1, 1])
def test_the_checker_misses_no_index_that_is_wrong(at: int, by: int) -> None:
    events = _events()
    events[at]["index"] += by
    with pytest.raises(Illegal):
        check(_framed(events))
