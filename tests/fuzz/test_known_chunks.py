"""Chunks recognised by their bytes, against the same chunks validated, and the streams that they are of.

Each example is one stream of an upstream that has several, some of its events spoilt in their bytes, more often where
the id and the time are. A failure names its seed.
"""

import sys
from random import Random
from typing import Any, override

import pytest

from ai_gateway.conform.chunk_templates import Chunk
from ai_gateway.conform.chunks import ChatChunk, CompletionChunk
from ai_gateway.conform.known_chunks import Facts, KnownChunks
from ai_gateway.conform.reply import exact_json
from ai_gateway.contract.write import to_json
from tests.fuzz.examples import EXAMPLES
from tests.fuzz.test_continuations import SCRAPS, STREAMS, OfOrigin, Upstream, difference

pytestmark = pytest.mark.slow
HEADS = [b'"id":"', b'"id": "', b'"created":', b'"created": ', b'"model"', b'"role"', b'"finish_reason"', b'"usage"']
HEAD_SCRAPS = [
    *SCRAPS,
    b"0",
    b"-",
    b"1.5",
    b"1e3",
    b"9" * 15,
    b"9" * 16,
    b"true",
    b"NaN",
    b'"id":"y",',
    b'"created":3,',
]


class Counted(KnownChunks[Any]):
    """Counts what it knew, and never gives up."""

    plain = 0

    @override
    def exact(self, raw: bytes) -> tuple[Any, Facts | None]:
        self._credit = 10**6
        chunk, facts = super().exact(raw)
        self.plain += facts is not None
        return chunk, facts


def known_by(seed: int, chat: bool, of: type[Counted] = Counted) -> Counted:
    """What is known of the upstream that has the stream of this seed, from its streams before that one."""
    known = of(ChatChunk if chat else CompletionChunk)
    for earlier in range(seed - seed % STREAMS, seed):
        for event in Upstream.again(earlier, STREAMS).stream():
            known.exact(event)
    known.plain = 0
    return known


def spoilt(event: bytes, dice: Random) -> bytes:
    """The event with something else in its head."""
    head = dice.choice(HEADS)
    at = max(0, event.find(head)) + dice.choice([len(head), len(head) + 1, 0])
    return event[:at] + dice.choice(HEAD_SCRAPS) + event[at + dice.randrange(3) :]


def test_what_is_known_is_what_would_have_been_validated() -> None:
    events = plain = 0
    for seed in range(EXAMPLES):
        upstream = Upstream.again(seed, STREAMS)
        kind: type[Chunk] = ChatChunk if upstream.chat else CompletionChunk
        known = known_by(seed, upstream.chat)
        for event in upstream.stream():
            for raw in (event, spoilt(event, upstream.dice)):
                expected, (found, _) = exact_json(kind, raw), known.exact(raw)
                assert found == expected, f"seed {seed}: {raw!r}"
                if expected is not None:
                    assert found.model_fields_set == expected.model_fields_set, f"seed {seed}: {raw!r}"
                    assert to_json(found) == to_json(expected), f"seed {seed}: {raw!r}"
                events += 1
        plain += known.plain
    sys.stdout.write(f"seeds 0 to {EXAMPLES - 1}: {events} events, {plain} of them known\n")
    assert plain > events / 40, "hardly any was known: the comparison says nothing"


def test_a_stream_of_known_chunks_leaves_as_it_would_have_left_validated() -> None:
    plain = streams = 0
    for seed in range(EXAMPLES * 2):
        upstream = Upstream.again(seed, STREAMS)
        known = known_by(seed, upstream.chat)
        found, *_ = difference(seed, OfOrigin(seed), upstream, known)
        assert found is None, f"seed {seed}: {found}"
        streams, plain = streams + 1, plain + known.plain
    sys.stdout.write(f"seeds 0 to {EXAMPLES * 2 - 1}: {plain} chunks in {streams} streams were known\n")
    assert plain > streams / 4, "hardly any was known: the comparison says nothing"


class Stale(Counted):
    """Gives the facts of the chunk before."""

    facts: Facts | None = None

    @override
    def exact(self, raw: bytes) -> tuple[Any, Facts | None]:
        chunk, facts = super().exact(raw)
        before, self.facts = self.facts, facts
        return chunk, facts and (before or facts)


def test_the_comparison_notices_what_is_wrong() -> None:
    for seed in range(1_000):
        upstream = Upstream.again(seed, STREAMS)
        if difference(seed, OfOrigin(seed), upstream, known_by(seed, upstream.chat, Stale))[0] is not None:
            return
    pytest.fail("facts of other chunks went unnoticed")
