"""Server-sent events from bytes."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.http.sse import EventParser


def parsed(chunks: list[bytes], max_event: int = 1_000) -> list[bytes]:
    parser = EventParser(max_event)
    return [data for chunk in chunks for data in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r:", [b"a", b"b"]),
        (b": keepalive\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 3\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\ndata: x\n\n", [b"\nx"]),
        (b"data: a\n", []),
        (b"database: a\n\n", []),
        (b"\n\n\n", []),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
    ],
)
def test_every_form_the_standard_knows_is_read(raw: bytes, events: list[bytes]) -> None:
    assert parsed([raw]) == events


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
        (b'data: {\ndata: "a":{"b":1}\ndata: }\n\n', [b'{\n"a":{"b":1}\n}']),
        (b'event: error\ndata: {"message":"a"}\ndata: b\n\n', [b'{"error":"{\\"message\\":\\"a\\"}\\nb"}']),
    ],
)
def test_events_may_lack_the_blank_line_between_them_where_that_is_certain(raw: bytes, events: list[bytes]) -> None:
    assert parsed([raw]) == events
    assert parsed([raw[at : at + 1] for at in range(len(raw))]) == events


STREAM = (
    "data: {\"a\":\"\u00e9\U0001f600\"}\r\n\r\n: c\n\ndata: x\rdata: y\n\ndata:[DONE]\n\n"
).encode()  # fmt: skip


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_chunking_of_the_same_bytes_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in pairwise(edges)]
    assert parsed(chunks) == ['{"a":"\u00e9\U0001f600"}'.encode(), b"x\ny", b"[DONE]"]


@pytest.mark.parametrize("chunks", [[b"data: " + b"x" * 60], [b"data: xxxxxxxxxxxx\n"] * 6, [b"x" * 30, b"x" * 30]])
def test_an_event_without_an_end_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        parsed(chunks, max_event=50)


def test_many_small_events_are_no_large_one() -> None:
    assert len(parsed([b"data: 123456789\n\n" * 100], max_event=50)) == 100


@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 2], [3], [4]])
def test_a_byte_order_mark_costs_no_event(cuts: list[int]) -> None:
    raw = b"\xef\xbb\xbfdata: a\n\n"
    edges = [0, *cuts, len(raw)]
    assert parsed([raw[start:end] for start, end in pairwise(edges)]) == [b"a"]


@pytest.mark.parametrize(
    ("raw", "events"),
    [(b"data: a\n", [b"a"]), (b"data: a\r", [b"a"]), (b"data: a", []), (b"data: a\n\n", []), (b"data: a\ndata", [])],
)
def test_a_last_event_may_lack_its_blank_line_but_none_of_its_text(raw: bytes, events: list[bytes]) -> None:
    parser = EventParser(1_000)
    list(parser.feed(raw))
    assert list(parser.end()) == events
