"""How items stand on the wire."""

import pytest

from ai_gateway.contract.framing import NDJSON, SSE


def test_an_event_is_data_and_a_line_is_a_line() -> None:
    assert SSE.framed(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert NDJSON.framed(b'{"a":1}') == b'{"a":1}\n'


@pytest.mark.parametrize(("char", "escaped"), [("\u2028", b"\\u2028"), ("\u2029", b"\\u2029"), ("\x85", b"\\u0085")])
def test_a_line_holds_none_of_unicodes_line_ends(char: str, escaped: bytes) -> None:
    item = f'{{"a":"{char}ä"}}'.encode()
    assert NDJSON.framed(item) == b'{"a":"' + escaped + 'ä"}\n'.encode()
    assert len(NDJSON.framed(item).decode().splitlines()) == 1


def test_only_a_stream_of_events_is_ended_by_a_word() -> None:
    assert SSE.end == b"data: [DONE]\n\n"
    assert NDJSON.end == b""
