"""The one state machine that every stream goes through."""

import json
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations
from ai_gateway.conform.rules import Rule
from ai_gateway.conform.stream import conform_stream, prompt_count
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.stream import DONE, Done, Item, Packet, Verbatim
from ai_gateway.contract.write import to_json
from ai_gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai import models
from tests.support.chat_streams import apart

Chunk = models.CreateChatCompletionStreamResponse
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def chunk(*choices: dict[str, Any], **change: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        **change,
    }


def said(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def call(index: int = 0, **change: Any) -> dict[str, Any]:
    return {"index": index, **change}


def run(
    chunks: Sequence[dict[str, Any]], choices: int = 1, *, usage: bool = False, observe: bool = False
) -> tuple[list[dict[str, Any]], list[str], GatewayError | None]:
    """What leaves, the rules it took, and the error it ended in."""
    reports: list[str] = []
    sent: list[dict[str, Any]] = []
    failure: list[GatewayError] = []

    async def upstream() -> AsyncGenerator[Chunk]:
        for value in chunks:
            yield Chunk.model_validate(value, strict=True)

    async def drive() -> None:
        provider = Provider("lab", SAME_WIRE, conformance="observe" if observe else "repair")
        conformer = Conformer(provider, Attempt(Call("any", "r")), "m")

        def report(rule: Rule) -> None:
            reports.append(rule.name)

        state = StreamState[Chunk](choices, include_usage=usage, report=report)
        try:
            async for item in conform_stream(upstream(), Chunk, state, conformer):
                assert isinstance(item, Item)
                sent.append(json.loads(to_json(item.model)))
        except GatewayError as error:
            failure.append(error)

    anyio.run(drive)
    return sent, reports, failure[0] if failure else None


GOOD = [chunk(said(role="assistant", content="")), chunk(said(content="hi")), chunk(said(finish="stop"))]


def test_a_legal_stream_passes_unchanged() -> None:
    assert run(GOOD) == (GOOD, [], None)


def test_the_role_is_in_the_first_delta_of_each_choice() -> None:
    sent, rules, _ = run(
        [chunk(said(content="a"), said(1, content="b")), chunk(said(finish="stop"), said(1, "stop"))], 2
    )
    assert [choice["delta"].get("role") for choice in sent[0]["choices"]] == ["assistant", "assistant"]
    assert [choice["delta"].get("role") for choice in sent[1]["choices"]] == [None, None]
    assert set(rules) == {"fill-role"}


def test_a_choice_finishes_once_and_says_nothing_after() -> None:
    sent, rules, error = run([*GOOD, chunk(said(finish="stop")), chunk(said(role="assistant", content=""))])
    assert (sent, error) == (GOOD, None)
    assert rules == ["finish-once", "finish-once"]


def test_an_empty_choice_that_was_not_requested_is_removed() -> None:
    sent, rules, _ = run([GOOD[0], chunk(said(content="x"), said(1, content="")), GOOD[2]])
    assert [choice["index"] for each in sent for choice in each["choices"]] == [0, 0, 0]
    assert rules == ["drop-unknown-choice"]


@pytest.mark.parametrize(
    "content",
    [
        {"content": "more"},
        {"refusal": "no"},
        {"reasoning_content": "hm"},
        {"tool_calls": [call(id="a", function={"name": "f"})]},
    ],
    ids=lambda content: next(iter(content)),
)
def test_content_that_has_no_place_is_an_error_and_never_lost(content: dict[str, Any]) -> None:
    sent, rules, error = run([*GOOD, chunk(said(1, **content))])
    assert (sent, rules) == (GOOD[:2], []), "the reason to end is not told of a stream that fails"
    assert isinstance(error, UpstreamInvalidResponse)


def test_id_model_and_time_stay_those_of_the_first_chunk() -> None:
    sent, rules, _ = run([GOOD[0], {**GOOD[1], "id": "b", "model": "other", "created": 9}, GOOD[2]])
    assert {(each["id"], each["model"], each["created"]) for each in sent} == {("a", "m", 1)}
    assert rules == ["keep-head"]


@pytest.mark.parametrize("finish", [said(finish="stop"), None])
def test_usage_comes_last_and_alone_if_it_was_asked_for(finish: dict[str, Any] | None) -> None:
    stream = [*GOOD[:2], chunk(finish, usage=USAGE)] if finish else [*GOOD, chunk(usage=USAGE)]
    sent, _, _ = run(stream, usage=True)
    assert sent[-1]["choices"] == []
    assert sent[-1]["usage"] == USAGE
    assert [each["usage"] for each in sent[:-1]] == [None] * (len(sent) - 1)


@pytest.mark.parametrize("stream", [[*GOOD, chunk(usage=USAGE)], [*GOOD[:2], chunk(said(finish="stop"), usage=USAGE)]])
def test_usage_that_was_not_requested_is_hidden(stream: list[dict[str, Any]]) -> None:
    sent, rules, _ = run(stream)
    assert (sent, rules) == (GOOD, [])
    nulls = [{**each, "usage": None} for each in stream if "usage" not in each]
    sent, rules, _ = run([*nulls, *(each for each in stream if "usage" in each)])
    assert (sent, rules) == (GOOD, []), "nor is the null that upstreams send where it was requested"


def test_usage_that_never_came_is_not_made_up() -> None:
    sent, _, error = run(GOOD, usage=True)
    assert error is None
    assert [each["choices"] for each in sent] == [each["choices"] for each in GOOD]


@pytest.mark.parametrize("stream", [[], GOOD[:1], GOOD[:2], [chunk(usage=USAGE)], [chunk()]])
def test_a_stream_that_ends_too_soon_is_truncated(stream: list[dict[str, Any]]) -> None:
    _, _, error = run(stream)
    assert isinstance(error, UpstreamStreamTruncated)


def test_one_unfinished_choice_of_two_is_enough_to_be_truncated() -> None:
    both = chunk(said(role="assistant", content="a"), said(1, role="assistant", content="b"))
    _, _, error = run([both, chunk(said(finish="stop"))], 2)
    assert isinstance(error, UpstreamStreamTruncated)


def test_a_tool_call_is_introduced_once_and_then_only_continued() -> None:
    head = call(id="c", type="function", function={"name": "f", "arguments": "{"})
    again = call(id="c", type="function", function={"name": "f", "arguments": "}"})
    stream = [chunk(said(role="assistant", content=None, tool_calls=[head])), chunk(said(tool_calls=[again]))]
    sent, rules, _ = run([*stream, chunk(said(finish="tool_calls"))])
    assert sent[0]["choices"][0]["delta"]["tool_calls"] == [head]
    assert sent[1]["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": "}"}}]
    assert rules == ["say-tool-call-once"]


def test_what_a_first_mention_leaves_out_is_filled_in() -> None:
    sent, rules, _ = run(
        [
            chunk(said(role="assistant", content=None, tool_calls=[call(2, function={"name": "f"})])),
            chunk(said(finish="stop")),
        ]
    )
    (made,) = sent[0]["choices"][0]["delta"]["tool_calls"]
    assert made == {"index": 0, "id": made["id"], "type": "function", "function": {"name": "f", "arguments": ""}}
    assert re.fullmatch("call_[0-9a-f]{24}", made["id"])
    assert sent[1]["choices"][0]["finish_reason"] == "tool_calls"
    assert rules == [
        "number-tool-calls",
        "fill-tool-call-id",
        "fill-tool-call-type",
        "fill-arguments",
        "finish-with-calls",
    ]


@pytest.mark.parametrize(
    "calls",
    [
        [call(function={"arguments": "{}"})],
        [call(id="a", type="function", function={"name": "", "arguments": "{}"})],
        [call(id="a", function={"name": ""}), call(function={"name": "", "arguments": "{}"})],
        [call(id="a", function={"name": "w", "arguments": "{}"}), call(1, id="b", function={"name": ""})],
        [call(id="a", custom={"name": "", "input": "x"})],
        [call(id="a", custom={"input": "x"})],
        [call(id="c", function={"name": "f"}), call(id="c", function={"name": "g"})],
    ],
)
def test_a_call_of_nobody_or_of_two_is_an_error(calls: list[dict[str, Any]]) -> None:
    said_so = [chunk(said(role="assistant", content=None, tool_calls=[each])) for each in calls]
    _, _, error = run([*said_so, chunk(said(finish="tool_calls"))])
    assert isinstance(error, UpstreamInvalidResponse)


def test_chunks_before_the_first_choice_take_the_streams_head() -> None:
    early = {**chunk(), "id": "", "model": "", "created": 0, "prompt_filter_results": [1]}
    sent, _, error = run([early, *GOOD])
    assert error is None
    assert sent[0] == {**early, "id": "a", "model": "m", "created": 1}
    assert sent[1:] == GOOD


def test_to_observe_is_to_change_nothing_and_report_all() -> None:
    odd = [chunk(said(content="a")), chunk(said(finish="stop"), usage=USAGE)]
    sent, rules, error = run(odd, observe=True)
    assert (sent, error) == (odd, None)
    assert rules == ["fill-role"]


def test_to_observe_a_call_without_a_name_is_to_pass_it_on() -> None:
    nameless = call(id="a", type="function", function={"name": "", "arguments": "{}"})
    odd = [chunk(said(role="assistant", content=None, tool_calls=[nameless])), chunk(said(finish="tool_calls"))]
    sent, rules, error = run(odd, observe=True)
    assert (sent, error) == (odd, None)
    assert rules == ["name-tool-call-first"]


CALLS = st.lists(
    st.fixed_dictionaries(
        {"index": st.integers(0, 2)},
        optional={
            "id": st.sampled_from(["", "c0", "c1"]),
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {}, optional={"name": st.sampled_from(["f", "g"]), "arguments": st.sampled_from(["", "{}"])}
            ),
        },
    ),
    max_size=2,
)
DELTAS = st.fixed_dictionaries(
    {}, optional={"role": st.just("assistant"), "content": st.none() | st.just("x"), "tool_calls": CALLS}
)
CHOICES = st.fixed_dictionaries(
    {
        "index": st.integers(-1, 2),
        "delta": DELTAS,
        "finish_reason": st.sampled_from([None, None, None, "stop", "length", "tool_calls"]),
    }
)
CHUNKS = st.builds(
    lambda choices, head, usage: {**chunk(*choices), **head, **usage},
    st.lists(CHOICES, max_size=3),
    st.sampled_from([{}, {}, {"id": "b"}, {"model": "n", "created": 2}]),
    st.sampled_from([{}, {"usage": None}, {"usage": USAGE}]),
)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(st.lists(CHUNKS, max_size=8), st.booleans())
def test_whatever_comes_in_what_goes_out_is_legal(chunks: list[dict[str, Any]], usage: bool) -> None:
    sent, _, error = run(chunks, 2, usage=usage)
    assert_legal(sent, usage=usage, complete=error is None)


def assert_legal(sent: list[dict[str, Any]], *, usage: bool, complete: bool) -> None:
    for each in sent:
        Chunk.model_validate(each, strict=True)
    assert len({(each["id"], each["model"], each["created"]) for each in sent}) <= 1
    with_usage = [bool(each.get("usage")) for each in sent]
    assert not any(with_usage[:-1])
    if any(with_usage):
        assert usage
        assert sent[-1]["choices"] == []
    for index in {choice["index"] for each in sent for choice in each["choices"]}:
        assert_legal_choice([c for each in sent for c in each["choices"] if c["index"] == index], complete=complete)


def assert_legal_choice(choices: list[dict[str, Any]], *, complete: bool) -> None:
    assert choices[0]["index"] in {0, 1}
    assert choices[0]["delta"]["role"] == "assistant"
    finished = [choice["finish_reason"] is not None for choice in choices]
    assert not any(finished[:-1])
    assert finished[-1] or not complete
    known: set[int] = set()
    for each in (call for choice in choices for call in choice["delta"].get("tool_calls", [])):
        if each["index"] in known:
            assert not {"id", "type"} & set(each)
            assert "name" not in each.get("function", {})
        else:
            assert each["id"]
            assert each["type"] == "function"
            assert each["function"]["name"]
            known.add(each["index"])


@pytest.mark.parametrize(
    ("prompt", "count"), [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1], [2], [3]], 3), (None, 1), ([], 1)]
)
def test_prompts_are_counted(prompt: Any, count: int) -> None:
    body = models.CreateCompletionRequest.model_validate({"model": "m", "prompt": prompt}, strict=True)
    assert prompt_count(body) == count


def put_together(sent: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The calls as a client gets them: names and arguments by index, each introduced once."""
    calls: dict[int, dict[str, str]] = {}
    for piece in sent:
        for choice in piece["choices"]:
            for made in choice["delta"].get("tool_calls", []):
                if made["index"] not in calls:
                    assert made["id"]
                    assert made["type"] == "function"
                    calls[made["index"]] = {"id": made["id"], "name": made["function"]["name"], "arguments": ""}
                else:
                    assert not {"id", "type"} & made.keys()
                calls[made["index"]]["arguments"] += made.get("function", {}).get("arguments", "")
    assert len({made["id"] for made in calls.values()}) == len(calls)
    return [(made["name"], made["arguments"]) for _, made in sorted(calls.items())]


W1, W2 = '{"c":1}', '{"c":2}'


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (
            [call(id="a", function={"name": "w", "arguments": W1}),
             call(id="b", function={"name": "w", "arguments": W2})],
            [("w", W1), ("w", W2)],
        ),
        (
            [call(function={"name": "w", "arguments": W1}), call(function={"name": "w", "arguments": W2})],
            [("w", W1), ("w", W2)],
        ),
        (
            [call(function={"name": "w", "arguments": "{"}), call(function={"name": "w", "arguments": "}"})],
            [("w", "{}")],
        ),
        (
            [call(function={"name": "w", "arguments": "{}"}), call(function={"name": "v", "arguments": "{}"})],
            [("w", "{}"), ("v", "{}")],
        ),
        (
            [call(id="a", function={"name": "w", "arguments": ""}), call(id="b", function={"name": "v"}),
             call(1, id="c", function={"name": "u"}), call(function={"arguments": W1}),
             call(1, function={"arguments": W2})],
            [("w", ""), ("v", W1), ("u", W2)],
        ),
        ([call(id="a"), call(function={"name": "w"}), call(function={"arguments": W1})], [("w", W1)]),
        ([call(id="a", function={"name": "w"}), call(id="a", function={"name": "", "arguments": W1})], [("w", W1)]),
    ],
)  # fmt: skip
def test_calls_that_share_an_index_are_kept_apart(calls: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    pieces = [chunk(said(role="assistant", content=None, tool_calls=[each])) for each in calls]
    sent, _, error = run([*pieces, chunk(said(finish="stop"))])
    assert error is None
    assert put_together(sent) == expected
    assert sent[-1]["choices"][0]["finish_reason"] == "tool_calls"


def text(inside: str, choice: int = 0, **more: Any) -> bytes:
    """An event as upstreams send it that were asked for usage: null until it comes."""
    piece = chunk({"index": choice, "delta": {"content": inside, **more}, "finish_reason": None}, usage=None)
    return json.dumps(piece, separators=(",", ":"), ensure_ascii=False).encode()


FINISH = json.dumps(chunk(said(finish="stop"), usage=None), separators=(",", ":")).encode()
COUNTED = json.dumps(chunk(usage=USAGE), separators=(",", ":")).encode()
INSIDES = st.text('ab"\\ é\u2028{}[],:', max_size=12) | st.just('x,"usage":null')


async def relayed(packets: list[list[bytes]], *, usage: bool, relays: bool) -> list[Any]:
    """The JSON of every chunk that leaves, with events relayed as bytes where they may be, or all of them parsed."""
    conformer = Conformer(Provider("lab", SAME_WIRE), Attempt(Call("any", "r")), "m")
    state = StreamState[Chunk](1, include_usage=usage, report=conformer.report, content_fields=conformer.content_fields)

    async def upstream() -> AsyncGenerator[Packet | Done]:
        for events in packets:
            yield Packet(events)
        yield DONE

    sent: list[Any] = []
    async for items in conform_stream(
        upstream(), Chunk, state, conformer, Continuations(conformer.content_fields) if relays else None
    ):
        for item in apart(items):
            if isinstance(item, Verbatim):
                sent += map(json.loads, item.items)
            else:
                assert isinstance(item, Item)
                sent.append(json.loads(item.raw or to_json(item.model)))
    return sent


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(INSIDES, max_size=5), max_size=5), st.booleans())
def test_what_is_relayed_as_bytes_is_what_would_have_been_parsed(insides: list[list[str]], usage: bool) -> None:
    packets = [
        [text("", role="assistant")],
        *[[text(inside) for inside in each] for each in insides],
        [FINISH, COUNTED],
    ]

    async def both() -> tuple[list[Any], list[Any]]:
        ways = [await relayed(packets, usage=usage, relays=relays) for relays in (True, False)]
        return ways[0], ways[1]

    fast, slow = anyio.run(both)
    assert fast == slow
    assert all(("usage" in each) is usage for each in fast)


def test_events_that_only_continue_a_text_are_relayed_as_bytes() -> None:
    events = [text("", role="assistant"), *(text(str(at)) for at in range(50)), FINISH, COUNTED]
    sent: list[int] = []

    async def count() -> None:
        conformer = Conformer(Provider("lab", SAME_WIRE), Attempt(Call("any", "r")), "m")
        state = StreamState[Chunk](1, include_usage=False, report=conformer.report)

        async def upstream() -> AsyncGenerator[Packet | Done]:
            yield Packet(events)

        sent.extend(
            [
                len(item.items) if isinstance(item, Verbatim) else 0
                async for items in conform_stream(upstream(), Chunk, state, conformer, Continuations())
                for item in apart(items)
            ]
        )

    anyio.run(count)
    assert sum(sent) >= 45
    assert len(sent) <= 6


SUMMARY = json.dumps(
    {**chunk(), "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "ab"},
     "finish_reason": "stop"}]}
).encode()  # fmt: skip


@pytest.mark.parametrize("texts", [["a", "b"], ["", "a", "b"], ["", "", "ab"]])
@pytest.mark.parametrize("relays", [True, False], ids=["as bytes", "parsed"])
def test_a_summary_repeats_nothing_however_its_deltas_went_out(texts: list[str], relays: bool) -> None:
    packets = [[text("", role="assistant")], *([text(each)] for each in texts), [SUMMARY]]

    async def heard() -> list[Any]:
        return await relayed(packets, usage=False, relays=relays)

    sent = anyio.run(heard)
    assert "".join(choice["delta"].get("content") or "" for each in sent for choice in each["choices"]) == "ab"


def test_a_whole_message_after_empty_deltas_is_the_answer() -> None:
    packets = [[text("", role="assistant")], [text("")], [text("")], [SUMMARY]]

    async def heard() -> list[Any]:
        return await relayed(packets, usage=False, relays=True)

    sent = anyio.run(heard)
    assert "".join(choice["delta"].get("content") or "" for each in sent for choice in each["choices"]) == "ab"


@pytest.mark.parametrize("delta", [{}, {"role": "assistant"}, {"content": "a"}, {"content": ""}])
def test_a_stream_that_does_nothing_but_end_is_not_kept_without_end(delta: dict[str, Any]) -> None:
    state = StreamState[Chunk](2, include_usage=False, report=lambda _: None)
    end = Chunk.model_validate(chunk(said(0, "stop", **delta), said(1, "stop", **delta)))
    for _ in range(1_000):
        taken = state.take(end)
        state.early()
        if taken is not None and state.is_last:
            state.hold(Item(taken))
    assert len(list(state.unfinished())) <= 2


def test_what_is_said_beside_an_end_in_many_events_is_added_to_the_last_chunk() -> None:
    more = [chunk(said(0, "stop"), **{f"field {at}": at + 1}) for at in range(3)]
    sent, _, error = run([GOOD[0], GOOD[1], chunk(said(0, "length"), seen=1), *more])
    assert error is None
    assert sent[-1] == {**chunk(said(0, "length")), "seen": 1, "field 0": 1, "field 1": 2, "field 2": 3}


def test_choices_that_end_in_one_chunk_go_on_and_end_by_themselves() -> None:
    ended = chunk(*(said(index, "stop", content="a") for index in range(3)))
    sent, rules, error = run([ended, chunk(said(1, content="b")), chunk(said(2, "length")), chunk(said(1, "stop"))], 3)
    assert error is None
    heard: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    for choice in (choice for each in sent for choice in each["choices"]):
        heard[choice["index"]].append((choice["delta"].get("content"), choice["finish_reason"]))
    assert heard == {0: [("a", "stop")], 1: [("a", None), ("b", None), (None, "stop")], 2: [("a", "length")]}
    assert "finish-once" in rules
