"""Continuations: what is recognised by its bytes, and all that is not."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ai_gateway.conform.chunks import ChatChunk, CompletionChunk
from ai_gateway.conform.continuations import Continuations, null_usage
from ai_gateway.conform.reply import exact_json
from ai_gateway.conform.rules import NUMBER_TOOL_CALLS, SAY_CALL_ONCE, Rule
from ai_gateway.conform.stream_state import StreamState
from gateway_contract.openai import models

HEAD = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":%d,"delta":{'
TAIL = '},"logprobs":null,"finish_reason":null}],"usage":null%s}'


def event(delta: str, *, index: int = 0, more: str = "") -> bytes:
    return (HEAD % index + delta + TAIL % more).encode("utf-8", "surrogatepass")


def text(inside: str, **where: Any) -> bytes:
    """An event that continues the content; the text as it stands inside of its quotes."""
    return event(f'"content":"{inside}"', **where)


def argument(inside: str, *, call: int = 0, more: str = "") -> bytes:
    return event(f'"tool_calls":[{{"index":{call},"function":{{"arguments":"{inside}"}}}}]', more=more)


def mention(call: int = 0, ident: str = "c0", name: str = "f") -> bytes:
    function = f'"function":{{"name":"{name}","arguments":""}}'
    return event(f'"content":null,"tool_calls":[{{"index":{call},"id":"{ident}","type":"function",{function}}}]')


def role(index: int = 0) -> bytes:
    return event('"role":"assistant","content":""', index=index)


def packet(*events: bytes) -> bytes:
    return b"".join(b"data: " + data + b"\n\n" for data in events)


class Reader:
    """The state machine and the continuations of one stream, as they are used together."""

    def __init__(
        self, *events: bytes, choices: int = 1, include_usage: bool = False, origin: str | None = None
    ) -> None:
        self.reports: list[Rule] = []
        self.state = StreamState[ChatChunk](choices, include_usage=include_usage, report=self.reports.append)
        self.continuations = Continuations(origin=origin)
        for data in events:
            self.take(data)

    def take(self, data: bytes) -> ChatChunk | None:
        chunk = exact_json(ChatChunk, data)
        assert chunk is not None, data
        for choice, call, arguments in self.continuations.drain():
            self.state.relayed(choice, call, arguments)
        sent = self.state.take(chunk)
        edit = null_usage(chunk, sent, data) if sent is not None and sent is not chunk else None
        self.continuations.update(chunk, chunk if edit else sent, data, edit)
        return sent

    def relay(self, *events: bytes) -> None:
        assert self.continuations.match(events) == len(events)
        self.continuations.relayed()


def reading_texts(*, more: str = "") -> Continuations:
    return Reader(role(), text("a", more=more)).continuations


SOUND = [
    "", " ", "word", "\u00e9\U0001f600\u2028\u0085\x7f", "NaN -Infinity 1e999 " + "9" * 400, "{}[],:", "\\u00e9",
    '\\"\\\\\\/\\b\\f\\n\\r\\t', "\\ud83d\\ude00", "\\\\u", '\\\\\\"},{\\"content\\":\\"', "\\u0000", "data: x",
]  # fmt: skip
UNSOUND = [
    '"', "\\", '\\"\\', "\\x", "\\u12", "\\u12g4", "\\ud83d", "\\ude00", "\\ud83dx", "\ud83d", "\n", "\r", "\t", "\x00",
    "\x1f", 'a","b":"c', 'a"', '"a', 'a"}', 'a" ', ' "', '","content":"', '"},"delta":{"content":"',
]  # fmt: skip


@pytest.mark.parametrize("inside", SOUND)
@pytest.mark.parametrize("make", [text, argument], ids=["content", "arguments"])
def test_an_event_with_another_text_is_a_continuation(make: Callable[[str], bytes], inside: str) -> None:
    continuations = Reader(role(), mention(), text("a"), argument("{"), text("b")).continuations
    for events in ([make(inside)], [make("x"), make(inside), make(inside), make("y")]):
        assert continuations.match(events) == len(events)
        assert continuations.match([b"other", *events], 1) == len(events) + 1
        assert continuations.match_packet(packet(*events))
        assert json.loads(events[0])


@pytest.mark.parametrize("inside", UNSOUND)
@pytest.mark.parametrize("make", [text, argument], ids=["content", "arguments"])
def test_what_is_no_text_ends_a_run(make: Callable[[str], bytes], inside: str) -> None:
    continuations = Reader(role(), mention(), text("a"), argument("{"), text("b")).continuations
    assert continuations.match([make(inside)]) == 0
    assert not continuations.match_packet(packet(make(inside)))
    for before in (1, 2, 5, 70):
        events = [*[make("x")] * before, make(inside), make("y")]
        assert continuations.match(events) == before
        assert not continuations.match_packet(packet(*events))


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xe2\x80", b"\xa9", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"]
)
def test_bytes_that_are_no_utf_8_end_a_run(bad: bytes) -> None:
    continuations = reading_texts()
    spoilt = text("@").replace(b"@", bad)
    assert continuations.match([text("x"), spoilt]) == 1
    assert not continuations.match_packet(packet(text("x"), spoilt))
    halves = [text("@").replace(b"@", half) for half in (b"\xc3", b"\xa9")]  # sound only when put together
    assert continuations.match(halves) == 0


GOOD = text("x")
CHANGED = [
    GOOD.replace(b"chatcmpl-1", b"chatcmpl-2"),
    GOOD.replace(b'"m"', b'"n"'),
    GOOD.replace(b'"created":1', b'"created":2'),
    GOOD.replace(b'"index":0', b'"index":1'),
    GOOD.replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
    GOOD.replace(b'"usage":null', b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'),
    GOOD.replace(b',"usage":null', b""),
    GOOD.replace(b'"logprobs":null', b'"logprobs":{"content":[],"refusal":null}'),
    GOOD.replace(b'"content":"x"', b'"content":null'),
    GOOD.replace(b'"content":"x"', b'"content":"x","content":"y"'),
    GOOD.replace(b'"content":"x"', b'"content":"x","tool_calls":[]'),
    GOOD.replace(b'"content":"x"', b'"role":"assistant","content":"x"'),
    GOOD.replace(b'"content":"x"', b'"content": "x"'),
    GOOD.replace(b'"content":"x"', b'"refusal":"x"'),
    GOOD.replace(b'"content":"x"', b'"conten\\u0074":"x"'),
    b" " + GOOD,
    GOOD + b" ",
    GOOD + GOOD,
    GOOD[:-1],
    GOOD[1:],
    b"",
    b"[DONE]",
    b"null",
]


@pytest.mark.parametrize("changed", CHANGED)
def test_any_other_difference_ends_a_run(changed: bytes) -> None:
    continuations = reading_texts()
    assert continuations.match([changed]) == 0
    assert continuations.match([GOOD, changed, GOOD]) == 1
    assert not continuations.match_packet(packet(GOOD, changed, GOOD))


def test_a_packet_that_ends_inside_of_an_event_is_no_run() -> None:
    continuations = reading_texts()
    whole = packet(GOOD, text("y"))
    for cut in range(len(packet(GOOD)) + 1):
        begun = packet(text("z"))[:cut]
        assert bool(continuations.match_packet(whole + begun)) is (cut in {0, len(packet(GOOD))})
    assert not continuations.match_packet(packet(GOOD)[:-1])
    assert not continuations.match_packet(b"")


@pytest.mark.parametrize(
    "framed",
    [
        packet(GOOD).replace(b"\n", b"\r\n"),
        packet(GOOD).replace(b"\n", b"\r"),
        packet(GOOD).replace(b"data: ", b"data:"),
        packet(GOOD).replace(b"data: ", b"event: x\ndata: "),
        b"\n" + packet(GOOD),
        b": ping\n\n" + packet(GOOD),
        packet(GOOD) + b": ping\n\n" + packet(GOOD),
        packet(GOOD) + b"\n" + packet(GOOD),
        packet(GOOD) + b"data: [DONE]\n\n",
        b"\xef\xbb\xbf" + packet(GOOD),
        GOOD + b"\n\n",
    ],
)
def test_a_packet_framed_otherwise_is_none(framed: bytes) -> None:
    assert not reading_texts().match_packet(framed)


def test_an_event_of_several_lines_is_no_continuation_however_it_looks() -> None:
    continuations = reading_texts()
    assert continuations.match([GOOD + b"\n\ndata: " + GOOD]) == 0
    assert continuations.match([GOOD + b"\n" + GOOD]) == 0
    spaced = GOOD.replace(b",", b",\n")
    assert Reader(role(), spaced, spaced).continuations.match([spaced]) == 0


PADDED = ',"obfuscation":"%s"'


@pytest.mark.parametrize("more", [PADDED, ',"p":"%s"', ',"z":{"content":"q"},"obfuscation":"%s"'])
def test_padding_may_differ_as_well(more: str) -> None:
    continuations = reading_texts(more=more % "abc")
    events = [text("x", more=more % "d"), text("", more=more % ""), text('\\"', more=more % "\\\\")]
    assert continuations.match(events) == 3
    assert continuations.match_packet(packet(*events))
    for bad in (text("x", more=more % '"'), text("\\", more=more % "a"), text("x"), text("x", more=more[:-1] % "a")):
        assert continuations.match([*events, bad, *events]) == 3
        assert not continuations.match_packet(packet(*events, bad))


def test_events_of_three_texts_are_taken_apart_in_their_order() -> None:
    def thought(content: str, thinking: str, pad: str) -> bytes:
        return event(f'"content":"{content}","reasoning":"{thinking}"', more=PADDED % pad)

    continuations = Reader(role(), thought("", "a", "b")).continuations
    events = [thought("", "c", "d"), thought("e", "", ""), thought("f", "g", "h")]
    assert continuations.match(events) == 3
    assert continuations.match_packet(packet(*events))
    for bad in (
        thought("\\", "x", "y"),
        thought("x", '"', "y"),
        thought("x", "y", "\\u1"),
        text("x", more=PADDED % "y"),
    ):
        assert continuations.match([*events, bad, events[0]]) == 3
        assert not continuations.match_packet(packet(bad, *events))


@pytest.mark.parametrize("name", ["content", "reasoning_content", "reasoning", "refusal"])
def test_every_text_of_a_delta_can_go_on(name: str) -> None:
    def said(inside: str) -> bytes:
        return event(f'"{name}":"{inside}"')

    assert Reader(role(), said("a")).continuations.match([said("b"), said("c")]) == 2


def test_thinking_that_comes_in_parts_as_well_goes_on() -> None:
    def thought(one: str, other: str, kind: str = "reasoning.text") -> bytes:
        part = f'{{"type":"{kind}","text":"{other}","format":"unknown","index":0}}'
        return event(f'"content":"","reasoning":"{one}","reasoning_details":[{part}]')

    continuations = Reader(role(), thought("a", "a")).continuations
    assert continuations.match([thought("b", "b"), thought("", "\\n"), thought("c", "d")]) == 3
    for other in (thought("a", '"'), thought("a", "a", "reasoning.summary"), thought("\\", "a")):
        assert continuations.match([other]) == 0


def test_texts_of_completions_go_on_as_well() -> None:
    def said(inside: str) -> bytes:
        choice = f'{{"index":0,"text":"{inside}","logprobs":null,"finish_reason":null}}'
        return f'{{"id":"c","object":"text_completion","created":1,"model":"m","choices":[{choice}]}}'.encode()

    state = StreamState[CompletionChunk](1, include_usage=False, report=lambda rule: pytest.fail(rule.name))
    continuations = Continuations()
    for data in (said("a"), said("b")):
        chunk = exact_json(CompletionChunk, data)
        assert chunk is not None
        continuations.update(chunk, state.take(chunk), data)
    assert continuations.match([said("c"), said("\\n"), said('"')]) == 2


def test_of_a_key_that_comes_twice_the_last_is_the_text() -> None:
    continuations = Reader(role(), event('"content":"a","content":"b"')).continuations
    assert continuations.match([event('"content":"a","content":"c"')]) == 1
    assert continuations.match([event('"content":"x","content":"b"')]) == 0


def test_names_that_stand_inside_of_texts_or_elsewhere_are_not_the_text() -> None:
    inside = '\\"content\\":\\"x\\"'
    continuations = Reader(role(), text(inside, more=',"content":"top","own":{"content":"q","text":"r"}')).continuations
    assert continuations.match([text("new", more=',"content":"top","own":{"content":"q","text":"r"}')]) == 1
    assert continuations.match([text("new", more=',"content":"pot","own":{"content":"q","text":"r"}')]) == 0
    assert continuations.match([text("new", more=',"content":"top","own":{"content":"q","text":"s"}')]) == 0


def learned_from(data: bytes, sent: Callable[[ChatChunk], ChatChunk | None], raw: bytes | None) -> bool:
    """Whether a chunk, with what became of it, teaches what it looks like."""
    continuations = reading_texts()
    chunk = exact_json(ChatChunk, data)
    assert chunk is not None
    continuations.update(chunk, sent(chunk), raw)
    return continuations.match([data]) == 1


def test_only_an_unchanged_continuation_in_its_own_bytes_is_learned_from() -> None:
    other = text("x", more=',"own":1')
    assert learned_from(other, lambda chunk: chunk, other)
    assert not learned_from(other, lambda chunk: chunk.model_copy(), other)
    assert not learned_from(other, lambda _: None, other)
    assert not learned_from(other, lambda chunk: chunk, None)
    assert not learned_from(other, lambda chunk: chunk, GOOD)
    assert not learned_from(other, lambda chunk: chunk, other.replace(b"x", b"\n"))
    huge = text("x" * 20_000, more=',"own":1')
    assert not learned_from(huge, lambda chunk: chunk, huge)
    usage = '"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'
    for unlike in (
        mention(),
        event('"role":"assistant"'),
        event('"content":null'),
        event('"tool_calls":[{"index":0}]'),
        event('"tool_calls":[{"index":0,"custom":{"input":"x"},"function":{"arguments":"x"}}]'),
        event('"tool_calls":[{"index":0,"id":"c","function":{"arguments":"x"}}]'),
        event('"content":"x","tool_calls":[{"index":0,"function":{"\\u0061rguments":"x"}}]'),
        event('"tool_calls":[{"index":0,"function":{"arguments":"x"}},{"index":1,"function":{"arguments":"y"}}]'),
        GOOD.replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
        GOOD.replace(b'"usage":null', usage.encode()),
        GOOD.replace(b"[{", b'[{"index":1,"delta":{"content":"x"},"finish_reason":null},{'),
    ):
        assert not learned_from(unlike, lambda chunk: chunk, unlike), unlike


def test_a_choice_that_has_ended_has_no_continuations() -> None:
    reader = Reader(role(0), role(1), text("a"), text("b", index=1), choices=2)
    reader.take(GOOD.replace(b'"finish_reason":null', b'"finish_reason":"stop"'))
    assert reader.continuations.match([text("x")]) == 0
    assert reader.continuations.match([text("x", index=1)]) == 1


def test_choices_that_take_turns_are_one_run() -> None:
    count = 5
    first = [role(at) for at in range(count)] + [text("a", index=at) for at in range(count)]
    continuations = Reader(*first, choices=count).continuations
    events = [text(f"word {at}", index=at % count) for at in range(200)]
    assert continuations.match(events) == 200
    assert continuations.match([*events, text("x", index=count), *events]) == 200


def test_a_stream_whose_chunks_keep_changing_is_soon_left_alone_until_continuations_have_paid() -> None:
    reader = Reader(role())
    forms = [f',"own":{at}' for at in range(40)]
    learned = [
        form
        for form in forms
        if reader.take(text("a", more=form)) and reader.continuations.match([text("b", more=form)])
    ]
    assert learned == forms[: len(learned)]
    assert 2 <= len(learned) <= 10
    reader.relay(*[text("c", more=learned[-1])] * 100)
    reader.take(text("a", more=forms[-1]))
    assert reader.continuations.match([text("b", more=forms[-1])]) == 1


def outcome(events: Sequence[bytes], *, relayed: bool) -> tuple[list[object], list[Rule]]:
    """What leaves, and the rules it took, with continuations relayed or every chunk taken."""
    reader, sent = Reader(), list[object]()
    for data in events:
        if relayed and reader.continuations.match([data]):
            reader.continuations.relayed()
            sent += map(json.loads, reader.continuations.edited([data]))
        else:
            chunk = reader.take(data)
            sent.append(chunk and chunk.model_dump(mode="json", exclude_unset=True))
    return sent, reader.reports


AGAIN = mention(ident="").replace(b'"id":"",', b"")  # the same function at the same index, without an id


@pytest.mark.parametrize(
    "arguments", [["{", '\\"a\\":', "1", "}"], ["{", '\\"a\\":', "1"], ["{}", "{}"], ["", "\\u007b", "}"]]
)
def test_another_call_is_told_from_the_same_one_by_arguments_that_went_by(arguments: list[str]) -> None:
    events = [role(), mention(), *map(argument, ["", *arguments]), AGAIN, argument("{"), argument("}")]
    assert outcome(events, relayed=True) == outcome(events, relayed=False)


def test_both_outcomes_of_arguments_that_went_by_are_there_to_be_told_apart() -> None:
    begun = [role(), mention(), argument("")]
    whole, cut = ([*begun, *map(argument, parts), AGAIN] for parts in (["{", "}"], ["{", " "]))
    assert outcome(whole, relayed=True)[1][0] == NUMBER_TOOL_CALLS
    assert outcome(cut, relayed=True)[1] == [SAY_CALL_ONCE]


def test_arguments_are_handed_over_once_and_only_after_they_were_relayed() -> None:
    reader = Reader(role(), mention(), argument(""))
    events = [argument("{"), argument('\\"\\u00e9'), argument("\u00e9")]
    assert reader.continuations.match(events) == 3
    assert reader.continuations.drain() == []
    assert reader.continuations.match_packet(packet(*events))
    reader.continuations.relayed()
    reader.continuations.relayed()
    assert reader.continuations.match(events[:1]) == 1
    reader.continuations.relayed()
    assert reader.continuations.drain() == [(0, 0, '{"\u00e9\u00e9{')]
    assert reader.continuations.drain() == []


def test_arguments_are_not_mixed_up_with_padding_nor_with_another_call() -> None:
    reader = Reader(role(), mention(), argument("", more=PADDED % "a"))
    reader.relay(argument("[", more=PADDED % "b"), argument("1", more=PADDED % "c"))
    reader.take(mention(1, "c1", "g"))
    reader.take(argument("", call=1))
    assert reader.continuations.match([argument("x", more=PADDED % "b")]) == 0, "the choice has changed since"
    reader.relay(argument("2", call=1), argument("3", call=1))
    assert reader.continuations.drain() == [(0, 1, "23")]


def test_an_empty_list_of_calls_is_no_call() -> None:
    def said(inside: str) -> bytes:
        return event(f'"content":"{inside}","tool_calls":[]')

    assert Reader(role(), said("a")).continuations.match([said("b")]) == 1


def cost(work: Callable[[], object]) -> float:
    """CPU seconds, the least of a few runs."""
    spent = []
    for _ in range(3):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent)


BETWEEN = '"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":'


@pytest.mark.slow
@pytest.mark.parametrize(
    "inside",
    ["word", "\\\\" * 500, '\\"' * 500, "\\ud83d\\ude00" * 100, BETWEEN * 10, "\n" * 500, '"' * 500, "\\"],
    ids=["words", "backslashes", "quotes", "pairs", "near misses", "line ends", "ends", "cut escapes"],
)
def test_twice_as_much_takes_twice_as_long(inside: str) -> None:
    """Quadratic work would take 16 times as long for 16 times the events, or the text."""
    continuations = reading_texts(more=PADDED % "abc")
    half, whole = ([text(inside, more=PADDED % "abc")] * count for count in (50, 800))
    several = [text("a", more=PADDED % "a"), text(inside, more=PADDED % "b")] * 400
    short, long = (text(inside * count, more=PADDED % "abc") for count in (50, 800))

    def every_one(events: list[bytes]) -> None:
        at = 0
        while at < len(events):
            at = max(at + 1, continuations.match(events, at))

    enough = 0.002  # below that, a clock tells nothing
    for less, more in (
        (cost(lambda: every_one(half)), cost(lambda: every_one(whole))),
        (cost(lambda: every_one(several[:50])), cost(lambda: every_one(several))),
        (
            cost(lambda: continuations.match_packet(packet(*half))),
            cost(lambda: continuations.match_packet(packet(*whole))),
        ),
        (cost(lambda: every_one([short])), cost(lambda: every_one([long]))),
    ):
        assert more < 64 * max(less, enough)


def test_models_have_every_text_that_is_looked_for() -> None:
    """A text that the contract bounds, or names otherwise, would be no free text any more."""
    fields = models.ChatCompletionStreamResponseDelta.model_fields
    assert {name for name, field in fields.items() if field.annotation == str | None} == {"content", "refusal"}
    assert models.CreateCompletionStreamResponseChoice.model_fields["text"].annotation is str
    assert not [constraint for field in fields.values() for constraint in field.metadata]


def test_a_packet_of_continuations_is_diverted_if_it_can_be_sent() -> None:
    sent: list[bytes] = []

    def sink(data: bytes, _chunk: bytes | None = None, /) -> bool:
        sent.append(data)
        return len(sent) < 3

    reader = Reader(role(), text("a"))
    divert = reader.continuations.diverting_to(sink)
    whole = packet(text("b"), text("c"))
    assert divert(whole)
    assert sent == [whole.replace(b',"usage":null', b"")]
    assert not divert(whole + b"data: {"), "the beginning of another event"
    assert not divert(packet(text("b"), role())), "something else"
    assert not divert(b"\n" + whole), "the end of another event"
    assert len(sent) == 1
    assert divert(whole)
    assert not divert(whole), "the client is slow"


@pytest.mark.parametrize("spaced", [b'"choices":', b'"choices" :'])
def test_a_null_usage_that_a_caller_asked_for_is_added_to_every_event(spaced: bytes) -> None:
    def reported(data: bytes) -> bytes:
        return data.replace(b',"usage":null', b"").replace(b'"choices":', spaced)

    sent: list[bytes] = []

    def sink(data: bytes, _chunk: bytes | None = None, /) -> bool:
        sent.append(data)
        return True

    texts = ["b", "choices", '\\"choices\\":', ""]
    reader = Reader(reported(role()), reported(text("a")), include_usage=True)
    divert = reader.continuations.diverting_to(sink)
    assert divert(packet(*(reported(text(each)) for each in texts)))
    (written,) = sent
    events = [json.loads(line.removeprefix(b"data: ")) for line in written.split(b"\n\n")[:-1]]
    assert events == [json.loads(text(each)) for each in texts]
    assert not divert(packet(text("c"))), "it has one"
    assert not divert(packet(reported(text("d", more=',"choices":[]'))))


def test_arguments_that_were_diverted_are_handed_over() -> None:
    reader = Reader(role(), mention(), argument(""))
    divert = reader.continuations.diverting_to(lambda *_: True)
    assert divert(packet(argument("{"), argument("}")))
    assert reader.continuations.drain() == [(0, 0, "{}")]
    refused = reader.continuations.diverting_to(lambda *_: False)
    assert not refused(packet(argument("{")))
    assert reader.continuations.drain() == []


def chunk_of(ident: str, created: int, delta: str = '"content":"a"', more: str = "") -> bytes:
    head = f'{{"id":"{ident}","object":"chat.completion.chunk","created":{created},"model":"m","choices":[{{"index":0,'
    return f'{head}"delta":{{{delta}}},"finish_reason":null}}]{more}}}'.encode()


@pytest.mark.parametrize(
    ("ident", "created", "more"),
    [
        ("chatcmpl-2222", 1_700_000_002, ""),
        ("chatcmpl-2222", 1_700_000_002, ',"request":{"id":"chatcmpl-2222","at":1700000002}'),
        ("chatcmpl-2222", 17_000_000_020, ""),
        ("finish_reason", 1_700_000_002, ""),
        ("chat.completion.chunk", 1_700_000_002, ""),
        ("x", 1, ""),
    ],
)
def test_streams_of_one_upstream_are_read_alike_each_with_its_own_id_and_time(
    ident: str, created: int, more: str
) -> None:
    for own, time_of in (("chatcmpl-1111", 1_700_000_001), (ident, created)):
        more_of = more.replace("chatcmpl-2222", own).replace("1700000002", str(time_of))
        first = chunk_of(own, time_of, '"role":"assistant","content":""', more_of)
        continuations = Reader(first, chunk_of(own, time_of, more=more_of)).continuations
        assert continuations.match([chunk_of(own, time_of, '"content":"b"', more_of)]) == 1
        assert continuations.match([chunk_of("chatcmpl-3333", time_of, more=more_of)]) == 0
        assert continuations.match([chunk_of(own, 1_700_000_003, more=more_of)]) == 0


def test_what_was_proved_of_an_id_is_no_proof_for_a_chunk_that_the_contract_refuses() -> None:
    """Where one stream's id is also a value that the contract allows, the other's is one that it does not."""
    tier = ',"service_tier":"%s"'
    known = Reader(
        chunk_of("priority", 1_700_000_001, '"role":"assistant"', tier % "priority"),
        chunk_of("priority", 1_700_000_001, more=tier % "priority"),
    )
    assert known.continuations.match([chunk_of("priority", 1_700_000_001, more=tier % "priority")]) == 1
    other = Reader(chunk_of("chatcmpl-1", 1_700_000_001, '"role":"assistant"'), chunk_of("chatcmpl-1", 1_700_000_001))
    refused = chunk_of("chatcmpl-1", 1_700_000_001, more=tier % "chatcmpl-1")
    assert exact_json(ChatChunk, refused) is None
    assert other.continuations.match([refused]) == 0


def begun(
    origin: str, ident: str, created: int, *, more: str = "", delta: str = '"role":"assistant","content":""'
) -> Reader:
    return Reader(chunk_of(ident, created, delta, more), origin=origin)


def known(origin: str, more: str = "", ident: str = "chatcmpl-%d") -> None:
    """Two streams are enough to know those that follow."""
    for number in (1, 2):
        name = ident % number if "%" in ident else ident
        begun(origin, name, 1_700_000_000 + number, more=more).take(chunk_of(name, 1_700_000_000 + number, more=more))


def test_a_streams_continuations_are_known_as_it_begins_once_others_of_its_origin_were_read() -> None:
    known("o1")
    continuations = begun("o1", "x", 5).continuations
    assert continuations.match([chunk_of("x", 5, '"content":"b"'), chunk_of("x", 5)]) == 2
    assert not continuations.match([chunk_of("chatcmpl-1", 5)])
    assert not continuations.match([chunk_of("x", 1_700_000_001)])
    assert not begun("o2", "x", 5).continuations.match([chunk_of("x", 5)]), "another origin"


def test_a_choice_that_begins_with_a_call_is_not_known() -> None:
    known("o3")
    call = '"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]'
    assert not Reader(chunk_of("x", 5, call), origin="o3").continuations.match([chunk_of("x", 5)])


@pytest.mark.parametrize("change", [('"m"', '"n"'), ('"index":0', '"index":1'), (":null}]", ':"stop"}]')])
def test_a_stream_that_begins_otherwise_is_not_known(change: tuple[str, str]) -> None:
    known("o4")
    first = chunk_of("x", 5, '"role":"assistant"').replace(change[0].encode(), change[1].encode())
    reader = Reader(first, choices=2, origin="o4")
    assert not reader.continuations.match([chunk_of("x", 5)])


@pytest.mark.parametrize(
    ("ident", "more"),
    [
        ("chat.completion.chunk", ""),
        ("priority", ',"service_tier":"priority"'),
        ("chatcmpl-1", ',"request":{"id":"chatcmpl-1"}'),
        ("chatcmpl-1", ',"at":1700000001,"then":1700000002'),
    ],
)
def test_an_id_or_a_time_that_stands_for_something_else_as_well_is_no_blank(ident: str, more: str) -> None:
    """Another stream with its own id there would be one that the contract may refuse."""
    known(ident + more, more, ident)
    reader = begun(ident + more, "chatcmpl-9", 1_700_000_009)
    event = chunk_of("chatcmpl-9", 1_700_000_009, more=more)
    for wrong in (
        event,
        event.replace(ident.encode(), b"chatcmpl-9"),
        event.replace(b"chat.completion.chunk", b"chatcmpl-9"),
    ):
        assert not reader.continuations.match([wrong])


def test_a_completions_continuations_are_none_of_a_chat() -> None:
    """One origin may have both."""

    def said(number: int, inside: str) -> bytes:
        head = f'{{"id":"cmpl-1111-{number}","object":"text_completion","created":{1_700_000_000 + number},"model":"m",'
        choice = f'{{"index":0,"text":"{inside}","logprobs":null,"finish_reason":null}}'
        return f'{head}"choices":[{choice}]}}'.encode()

    for number in (1, 2, 3):
        continuations = Continuations(origin="o5")
        for inside in ("", "a"):
            raw = said(number, inside)
            chunk = exact_json(CompletionChunk, raw)
            assert chunk is not None
            assert continuations.match([raw]) == (number == 3 and inside == "a")
            continuations.update(chunk, chunk, raw)
    assert not begun("o5", "cmpl-1111-4", 1_700_000_004).continuations.match([said(4, "a")])
