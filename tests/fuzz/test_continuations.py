"""Streams with continuations recognised by their bytes, against the same streams validated event by event.

Each example is one stream, made from its seed: an upstream's own way to write its chunks, texts and tool calls that go
on, and a few events that are spoilt in their bytes. Whatever leaves, the rules it took and how it ended have to be the
same on both ways. A failure names its seed.
"""

import json
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, override

import pytest

from ai_gateway.conform.chunk_templates import Chunk, Edit
from ai_gateway.conform.chunks import ChatChunk, CompletionChunk
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations
from ai_gateway.conform.known_chunks import KnownChunks
from ai_gateway.conform.objects import ReplyContext
from ai_gateway.conform.reply import exact_json, repair
from ai_gateway.conform.stream import conform_stream
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.stream import DONE, Done, Item, Packet, Verbatim
from ai_gateway.contract.strict_json import read_json
from ai_gateway.contract.write import to_json
from ai_gateway.errors import GatewayError
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.sse import EventParser
from ai_gateway.providers.openai.policies import SAME_WIRE
from tests.fuzz.examples import EXAMPLES
from tests.support.chat_streams import apart

pytestmark = pytest.mark.slow

PIECES = [
    "a", " ", "word", "\n", "\t", '"', "\\", "/", "{", "}", "[", ",", "\u00e9", "\U0001f642", "\u2028", "\u0085",
    "\x00", "\x1f", "\x7f", "NaN", "1e999", '"content":"x"', '"},"delta":{"content":"', "data: ", "\\u0041", "\\ud83d",
]  # fmt: skip
SCRAPS = [
    b"a", b"\\", b'"', b"\\n", b"\\u00e9", b"\\ud83d\\ude42", b"\\ud83d", b"\\ude42", b"\\u12", b"\\x", b"\xc3",
    b"\xa9", b"\xff", b"\x01", b"\n", b"\r", b'","x":"', b'"}', b"null", b" ", b'"content":"q",', b'"id":"x",',
]  # fmt: skip
NOT_OF_DELTAS = {"text", "summary", "arguments", "reasoning_details", "obfuscation", "p"}
LOOKALIKES = ["assistant", "chat.completion.chunk", "finish_reason", "priority", "tool_calls", "created"]
ARGUMENTS = ["{", "{", "}", "}", '{"a":1', "{}", '"b":"', '\\"', "[1,", "", " ", "\u00e9", "1e999}"]


@dataclass
class Upstream:
    """One upstream's way to write a stream, drawn from the seed, and what it has said so far."""

    dice: Random
    chat: bool = field(init=False)
    choices: int = field(init=False)

    @classmethod
    def again(cls, seed: int, streams: int) -> "Upstream":
        """One that has so many streams, of which this is one: each with another id and time, most of the time."""
        upstream = cls(Random(seed - seed % streams))
        dice = upstream.dice = Random(seed)
        if dice.random() < 0.9:
            upstream._id = dice.choice([f"chatcmpl-{seed}", f"chatcmpl-{seed}", upstream._id, *LOOKALIKES])
            upstream._created = dice.choice([1_700_000_000 + seed, upstream._created, seed])
        return upstream

    def __post_init__(self) -> None:
        dice = self.dice
        self.chat = dice.random() < 0.8
        self.choices = dice.choice([1, 1, 1, 2, 3])
        self._separators = dice.choice([(",", ":"), (", ", ": "), (",", ": ")])
        self._ascii = dice.random() < 0.5
        self._usage = dice.choice([{}, {"usage": None}])
        self._padding = dice.choice([None, None, "obfuscation", "p"])
        self._logprobs = dice.choice([{}, {"logprobs": None}])
        # Streams of one upstream differ in these, and what was proved for one is taken to hold for the next. Some look
        # like what stands elsewhere in a chunk.
        self._id = dice.choice(
            [f"chatcmpl-{dice.randrange(10**6)}", f"chatcmpl-{dice.randrange(10**6)}", "x", *LOOKALIKES]
        )
        self._created = dice.choice([1_700_000_000 + dice.randrange(10**6), 1, 0, 1_000_000_000])
        self._role = dice.random() < 0.2
        self._parts = dice.random() < 0.5
        self._extra: dict[str, Any] = dice.choice(
            [
                *({}, {}, {"own": {"content": "q", "text": "r"}}, {"content": "top"}, {"x": [1.5]}),
                *({"request": self._id, "at": self._created}, {"own": {self._id: [self._id], "content": self._id}}),
                *({"service_tier": dice.choice(["default", "priority"])}, {"system_fingerprint": self._id}),
            ]
        )
        self._shuffled = dice.random() < 0.3
        self._order = dice.randrange(10)
        self._bare = dice.random() < 0.5  # calls without ids, all at one index
        self._calls = 0

    def stream(self) -> Iterator[bytes]:
        """Events of one stream, the first ones legal."""
        for choice in range(self.choices):
            yield self._said(choice, {"role": "assistant", "content": ""})
        kind = "content"
        for _ in range(self.dice.randrange(5, 40)):
            if self.dice.random() < 0.15:
                kind = self.dice.choice(
                    ["content", "content", "reasoning", "reasoning_content", "refusal", "call", "odd"]
                )
            choice = self.dice.randrange(self.choices)
            events = list(self._step(kind, choice))
            yield from (self._spoilt(event) if self.dice.random() < 0.015 else event for event in events)
        for choice in range(self.choices):
            if self.dice.random() < 0.9:
                yield self._said(choice, {}, finish=self.dice.choice(["stop", "length"]))

    def _step(self, kind: str, choice: int) -> Iterator[bytes]:
        if kind == "odd":
            yield self._odd(choice)
        elif kind == "call" and self.chat:
            if self.dice.random() < 0.25 or not self._calls:
                yield self._said(choice, {"tool_calls": [self._mention()]})
            for _ in range(self.dice.randrange(4)):
                function = {"arguments": self.dice.choice(ARGUMENTS)}
                yield self._said(choice, {"tool_calls": [{"index": self._index(), "function": function}]})
        else:
            name = "content" if kind == "call" else kind
            text = self._text()
            parts = {"reasoning_details": [{"type": "reasoning.text", "text": text, "index": 0}]}
            more = self.dice.choice([{}, {}, {}, {"refusal": None}])
            yield self._said(choice, {name: text} | more | (parts if self._parts and name == "reasoning" else {}))

    def _text(self) -> str:
        return "".join(self.dice.choice(PIECES) for _ in range(self.dice.randrange(4)))

    def _index(self) -> int:
        return 0 if self._bare else self.dice.randrange(self._calls + 1)

    def _mention(self) -> dict[str, Any]:
        self._calls += 1
        ident = {} if self._bare else {"id": f"c{self._calls}", "type": "function"}
        function = {"name": self.dice.choice("fffg"), "arguments": self.dice.choice(["", "{", "{}"])}
        return {"index": self._index(), **ident, "function": function}

    def _odd(self, choice: int) -> bytes:
        """A chunk that is legal, or nearly: usage in between, another head, something said twice."""
        changes: list[dict[str, Any]] = [
            {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
            {"id": "other"},
            {"created": 2},
            {"model": "n"},
            {"choices": []},
            {"own": 1},
            {"service_tier": "default"},
        ]
        if self.dice.random() < 0.2:
            return self._said(choice, {"content": "x"}, finish=self.dice.choice(["stop", "odd", None]))
        if self.dice.random() < 0.2:
            return self._said(self.choices + 1, {"content": "x"})
        return self._said(choice, {"content": self._text()}, **self.dice.choice(changes))

    def _said(self, choice: int, delta: dict[str, Any], finish: str | None = None, **change: Any) -> bytes:
        if self._role and self.chat:
            delta = {"role": "assistant", **delta}
        inner: dict[str, Any] = {"delta": delta} if self.chat else {"text": str(delta.get("content", ""))}
        logprobs = self._logprobs if self.chat else {"logprobs": None}
        padding = {self._padding: self._text()} if self._padding else {}
        value = {
            "id": self._id,
            "object": "chat.completion.chunk" if self.chat else "text_completion",
            "created": self._created,
            "model": "m",
            "choices": [{"index": choice, **inner, **logprobs, "finish_reason": finish}],
            **self._usage,
            **self._extra,
            **padding,
            **change,
        }
        if self._shuffled:
            keys = list(value)
            Random(self._order).shuffle(keys)
            value = {key: value[key] for key in keys}
        text = json.dumps(value, ensure_ascii=self._ascii, separators=self._separators)
        return text.encode("utf-8", "surrogatepass")

    def _spoilt(self, event: bytes) -> bytes:
        at, scrap = self.dice.randrange(len(event)), self.dice.choice(SCRAPS)
        if self.dice.random() < 0.5:  # where most of what matters is
            at = event.find(self.dice.choice([b'"content"', b'"arguments"', b'"delta"', b'":"', b'"}']), at // 2) + 1
        how = self.dice.randrange(4)
        if how == 0:
            return event[:at] + scrap + event[at:]
        if how == 1:
            return event[:at] + bytes([self.dice.randrange(256)]) + event[at + 1 :]
        if how == 2:
            return event[:at] + event[at + self.dice.randrange(1, 4) :]
        return event + scrap


def framed(events: Sequence[bytes], dice: Random) -> Iterator[bytes]:
    """The events as server-sent ones, in packets that are cut anywhere or nowhere."""
    frames = [b"".join(b"data: " + line + b"\n" for line in event.split(b"\n")) + b"\n" for event in events]
    if dice.random() < 0.1:
        frames = [frame.replace(b"\n", b"\r\n") for frame in frames]
    if dice.random() < 0.4:
        while frames:
            count = dice.randrange(1, 12)
            yield b"".join(frames[:count])
            del frames[:count]
        return
    whole, at = b"".join(frames), 0
    while at < len(whole):
        size = dice.choice([1, 7, 200, 1_000, 4_000])
        yield whole[at : at + size]
        at += size


def as_value(raw: bytes) -> object:
    """What the bytes say, by another parser than ours."""
    try:
        return json.loads(raw)
    except ValueError as error:
        return error


def steps[Value](items: AsyncGenerator[Value]) -> Iterator[Value]:
    """What an async generator yields that never waits."""
    while True:
        try:
            items.__anext__().send(None)
        except StopIteration as step:
            yield step.value
        except StopAsyncIteration:
            return


class Pipeline:
    """A stream from packets to what leaves; `continuations` and `known` are None where every event is validated."""

    def __init__(
        self,
        model: type[Any],
        choices: int,
        *,
        usage: bool,
        continuations: Continuations | None,
        known: KnownChunks[Any] | None = None,
    ) -> None:
        self.sent: list[tuple[object, bytes | None]] = []
        self.error: str | None = None
        self.relayed = 0
        self._attempt = Attempt(Call("any", "r"))
        self._model = model
        self._conformer = Conformer(Provider("lab", SAME_WIRE), self._attempt, "m")
        self._conformer.known = known
        report = self._conformer.report
        said = self._conformer.content_fields
        self._state: StreamState[Any] = StreamState(choices, include_usage=usage, report=report, content_fields=said)
        self._continuations = continuations
        if continuations is not None:
            continuations._content_fields, continuations._notes = said, self._attempt.notes

    @property
    def said(self) -> tuple[object, ...]:
        """What was noted of its texts, and counted."""
        notes = self._attempt.notes
        # Continuations tell of the texts inside of a field, not of the field, and of those beside the delta.
        deltas = {choice: fields - NOT_OF_DELTAS for choice, fields in self._conformer.content_fields.items()}
        said = {choice: fields for choice, fields in deltas.items() if fields}
        return notes.tokens, notes.service_tier, notes.chunks, said

    @property
    def reports(self) -> set[str]:
        """The rules that were applied."""
        return set(self._attempt.notes.repairs)

    async def _arrived(self, packets: Iterator[bytes]) -> AsyncGenerator[Packet | Done]:
        parser = EventParser(2**20)
        for packet in packets:
            if events := list(parser.feed(packet)):
                yield Packet(events)
        if events := list(parser.end()):
            yield Packet(events)
        yield DONE

    def run(self, packets: Iterator[bytes]) -> None:
        arrived: AsyncGenerator[Any] = self._arrived(packets)
        stream = conform_stream(arrived, self._model, self._state, self._conformer, self._continuations)
        try:
            for item in (each for items in steps(stream) for each in apart(items)):
                if isinstance(item, Verbatim):
                    self.relayed += len(item.items)
                    self.sent += [(as_value(event), event) for event in item.items]
                else:
                    assert isinstance(item, Item)
                    self._take(item)
        except GatewayError as error:
            self.error = f"{type(error).__name__}: {error.message}"

    def _take(self, item: Item[Any]) -> None:
        raw = item.raw
        if raw is not None and (b"\n" in raw or b"\r" in raw):  # written anew: a frame may hold no line ends
            raw = None
        self.sent.append((as_value(raw or to_json(item.model)), raw))


def difference(
    seed: int, continuations: Continuations, upstream: Upstream | None = None, known: KnownChunks[Any] | None = None
) -> tuple[str | None, int, int]:
    """In what the two ways differ for the stream of this seed, if they do; how many events there were and went by."""
    upstream = upstream or Upstream(Random(seed))
    dice = upstream.dice
    events = list(upstream.stream())
    packets = list(framed(events, dice))
    usage = continuations.include_usage if isinstance(continuations, OfOrigin) else dice.random() < 0.3
    model: type[Chunk] = ChatChunk if upstream.chat else CompletionChunk
    plain = Pipeline(model, upstream.choices, usage=usage, continuations=None)
    quick = Pipeline(model, upstream.choices, usage=usage, continuations=continuations, known=known)
    plain.run(iter(packets))
    quick.run(iter(packets))
    for at, (expected, found) in enumerate(zip(plain.sent, quick.sent, strict=False)):
        if expected[0] != found[0] or (expected[1] is not None and expected[1] != found[1]):
            return f"item {at}: {found} instead of {expected}", len(events), quick.relayed
    for name in ("error", "reports", "said"):
        if getattr(plain, name) != getattr(quick, name):
            return f"{name}: {getattr(quick, name)} instead of {getattr(plain, name)}", len(events), quick.relayed
    if len(plain.sent) != len(quick.sent):
        return f"{len(quick.sent)} items instead of {len(plain.sent)}", len(events), quick.relayed
    return None, len(events), quick.relayed


def test_continuations_leave_as_they_would_have_left_validated() -> None:
    events = relayed = 0
    for seed in range(EXAMPLES * 2):
        found, count, gone_by = difference(seed, Continuations())
        assert found is None, f"seed {seed}: {found}"
        events, relayed = events + count, relayed + gone_by
    sys.stdout.write(f"seeds 0 to {EXAMPLES * 2 - 1}: {events} events, {relayed} of them by their bytes alone\n")
    assert relayed > events / 6, "hardly anything went by: the comparison says nothing"


STREAMS = 4


class OfOrigin(Continuations):
    """Of a stream of one of the upstreams that have several."""

    def __init__(self, seed: int) -> None:
        self.include_usage = seed // STREAMS % 3 == 0
        super().__init__(origin=("lab", seed // STREAMS % 5, self.include_usage))
        self.known_early = self.has_learnt = False

    @override
    def match(self, events: Sequence[bytes], at: int = 0) -> int:
        end = super().match(events, at)
        self.known_early |= end > at and not self.has_learnt
        return end

    @override
    def update(self, chunk: Chunk, sent: Chunk | None, raw: bytes | None, edit: Edit | None = None) -> None:
        self.has_learnt |= bool(self._begun)
        super().update(chunk, sent, raw, edit)


def test_what_is_known_of_an_upstreams_streams_changes_nothing_of_the_next_one() -> None:
    """Several upstreams share what is known, as one behind which others stand; those of a seed are written alike."""
    early = streams = 0
    for seed in range(EXAMPLES * 2):
        continuations = OfOrigin(seed)
        found, *_ = difference(seed, continuations, Upstream.again(seed, STREAMS))
        assert found is None, f"seed {seed}: {found}"
        streams, early = streams + 1, early + continuations.known_early
    sys.stdout.write(f"seeds 0 to {EXAMPLES * 2 - 1}: of {streams} streams, {early} were known as they began\n")
    assert early > streams / 20, "hardly any was known: the comparison says nothing"


def gapped(dice: Random) -> tuple[bytes, ...]:
    """A chunk's bytes around its gaps: one text, or two with padding or thinking."""
    form = dice.choice(
        [
            '{"choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],%s}',
            '{"choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],%s,"obfuscation":"@"}',
            '{"p":"@","choices":[{"index":0,"delta":{"reasoning":"@","content":"@"},"finish_reason":null}],%s}',
        ]
    )
    return tuple((form % '"id":"x","object":"chat.completion.chunk","created":1,"model":"m"').encode().split(b"@"))


def filled(constants: tuple[bytes, ...], dice: Random) -> bytes:
    """The bytes with something in the gaps, mostly texts."""
    event = constants[0]
    for constant in constants[1:]:
        if dice.random() < 0.5:
            event += b"".join(dice.choice(SCRAPS) for _ in range(dice.randrange(4)))
        else:
            text = json.dumps("".join(dice.choice(PIECES) for _ in range(4)), ensure_ascii=dice.random() < 0.5)
            event += text[1:-1].encode()
        event += constant if dice.random() < 0.9 else dice.choice([constant * 2, constant[1:], b""])
    return event


def test_what_fills_the_gaps_is_a_text_or_the_event_is_no_continuation() -> None:
    fits = misfits = 0
    for seed in range(EXAMPLES * 2):
        dice = Random(seed)
        constants = gapped(dice)
        plain = b"a".join(constants)
        first = exact_json(ChatChunk, plain)
        assert first is not None
        continuations = Continuations()
        for _ in range(2):
            continuations.update(first, first, plain)
        events = [filled(constants, dice) for _ in range(20)]
        single = [continuations.match([event]) == 1 for event in events]
        for at, (event, fit) in enumerate(zip(events, single, strict=True)):
            end = next((end for end in range(at, len(events)) if not single[end]), len(events))
            assert continuations.match(events, at) == end, f"seed {seed}: together, events are judged otherwise"
            packet = b"".join(b"data: " + each + b"\n\n" for each in events[at:end])
            assert bool(continuations.match_packet(packet)) is bool(packet), (
                f"seed {seed}: a packet is judged otherwise"
            )
            if fit:
                chunk, repairs = repair(ChatChunk, read_json(event), ReplyContext("m", "r"))
                assert repairs == []
                assert without_texts(chunk) == without_texts(first), f"seed {seed}: {event!r}"
            else:
                assert not continuations.match_packet(b"data: " + event + b"\n\n"), f"seed {seed}: {event!r}"
        fits, misfits = fits + sum(single), misfits + single.count(False)
    sys.stdout.write(f"seeds 0 to {EXAMPLES * 2 - 1}: {fits} continuations, {misfits} other events\n")
    assert min(fits, misfits) > EXAMPLES


def without_texts(chunk: ChatChunk) -> object:
    value = chunk.model_dump(mode="json", exclude_unset=True)
    value.update((name, "") for name in ("obfuscation", "p") if name in value)
    value["choices"][0]["delta"] = dict.fromkeys(value["choices"][0]["delta"], "")
    return value


class Gullible(Continuations):
    """Takes any event for a continuation that begins as one does."""

    @override
    def match(self, events: Sequence[bytes], at: int = 0) -> int:
        end = super().match(events, at)
        if at < end < len(events) and events[end][:20] == events[at][:20]:
            return end + 1
        return end


class Forgetful(Continuations):
    """Keeps the arguments that went by to itself."""

    @override
    def drain(self) -> list[tuple[int, int, str]]:
        super().drain()
        return []


class Stubborn(Continuations):
    """Goes on with a choice whatever became of it."""

    @override
    def update(self, chunk: Chunk, sent: Chunk | None, raw: bytes | None, edit: Edit | None = None) -> None:
        if sent is chunk and chunk.choices and chunk.choices[0].finish_reason is None:
            super().update(chunk, sent, raw, edit)


@pytest.mark.parametrize("faulty", [Gullible, Forgetful, Stubborn])
def test_the_comparison_notices_what_is_wrong(faulty: type[Continuations]) -> None:
    assert any(difference(seed, faulty())[0] for seed in range(2_000))
