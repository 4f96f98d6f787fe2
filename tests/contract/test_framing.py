"""How items stand on the wire."""

import pytest

from ai_gateway.contract.framing import EVENTS, EVENTS_DONE, NDJSON, SSE, SSE_OPEN


def test_an_event_is_data_and_a_line_is_a_line() -> None:
    assert SSE.framed(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert NDJSON.framed(b'{"a":1}') == b'{"a":1}\n'


@pytest.mark.parametrize(("char", "escaped"), [("\u2028", b"\\u2028"), ("\u2029", b"\\u2029"), ("\x85", b"\\u0085")])
def test_a_line_holds_none_of_unicodes_line_ends(char: str, escaped: bytes) -> None:
    item = f'{{"a":"{char}ä"}}'.encode()
    assert NDJSON.framed(item) == b'{"a":"' + escaped + 'ä"}\n'.encode()
    assert len(NDJSON.framed(item).decode().splitlines()) == 1


def test_an_event_tells_its_name_where_events_have_names() -> None:
    assert EVENTS.framed(b"{}", "watch.hour") == b"event: watch.hour\ndata: {}\n\n"
    assert EVENTS.framed(b"{}") == b"data: {}\n\n"
    assert SSE.framed(b"{}", "watch.hour") == b"data: {}\n\n"
    assert NDJSON.framed(b"{}", "watch.hour") == b"{}\n"


def test_a_name_is_one_line_whatever_it_holds() -> None:
    assert EVENTS.framed(b"{}", "a\r\ndata: b\n") == b"event: adata: b\ndata: {}\n\n"


def test_events_with_names_end_with_a_word_or_without_one() -> None:
    assert (EVENTS.end, SSE_OPEN.end) == (b"", b"")
    assert EVENTS_DONE.end == SSE.end


def test_only_a_stream_of_events_is_ended_by_a_word() -> None:
    assert SSE.end == b"data: [DONE]\n\n"
    assert NDJSON.end == b""
