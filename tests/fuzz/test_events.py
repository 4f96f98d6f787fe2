"""The parser of server-sent events against a plain reading of the standard, on any bytes in any pieces."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.http.sse import EventParser
from tests.fuzz.examples import BOUNDED

pytestmark = pytest.mark.slow

LIMIT = 200
LINES = st.sampled_from(
    [
        b"",
        b"data: a",
        b"data:",
        b"data",
        b"data:  b",
        b":c",
        b"event: x",
        b"database: n",
        b"data : n",
        b"\xff",
        b"data: \xc3",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STRUCTURED = st.lists(st.tuples(LINES, ENDS), max_size=20).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)
BYTES = STRUCTURED | st.binary(max_size=150) | st.text("dat:\r\n x", max_size=80).map(str.encode)


def plainly(raw: bytes) -> list[bytes]:
    """All at once: lines, fields, and a blank line that ends an event. What is unfinished at the end does not count."""
    lines = re.split(rb"\r\n|\n|\r", raw)[:-1]
    events: list[bytes] = []
    data: list[bytes] = []
    for line in lines:
        if not line:
            events += [b"\n".join(data)] if data else []
            data = []
            continue
        name, _, value = line.partition(b":")
        data += [value.removeprefix(b" ")] if name == b"data" else []
    return [event for event in events if event]


@BOUNDED
@given(raw=BYTES, cuts=st.lists(st.integers(0, 150), max_size=8))
def test_any_bytes_in_any_pieces_give_the_events_of_the_standard(raw: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(raw), *(min(cut, len(raw)) for cut in cuts)})
    parser = EventParser(10_000)
    events = [event for start, end in pairwise(edges) for event in parser.feed(raw[start:end])]
    # A CR that stands last waits for a LF, so its line is not yet complete.
    assert events == plainly(raw[:-1] if raw.endswith(b"\r") else raw)


@BOUNDED
@given(pieces=st.lists(st.binary(max_size=120), max_size=30))
def test_what_is_kept_is_bounded_whatever_comes(pieces: list[bytes]) -> None:
    parser = EventParser(LIMIT)
    try:
        for piece in pieces:
            assert sum(map(len, parser.feed(piece))) <= LIMIT + len(piece)
            assert sum(map(len, parser._line)) + sum(map(len, parser._data)) <= LIMIT
    except UpstreamInvalidResponse:
        assert len(b"".join(pieces)) > LIMIT - 120
