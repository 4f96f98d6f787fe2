"""JSON as upstreams send it."""

import json
from typing import Any

import pytest

from ai_gateway.contract.lenient_json import NUMBER, TEXT, read_leniently, whole_texts


@pytest.mark.parametrize(
    ("raw", "value", "mended"),
    [
        (b'{"a":1}', {"a": 1}, set()),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}, set()),
        (b'{"a":"x\ny"}', {"a": "x\ny"}, set()),
        (b'{"logprob":-Infinity}', {"logprob": -9999.0}, {NUMBER}),
        (b'{"top_logprobs":[{"x":-1e999}]}', {"top_logprobs": [{"x": -9999.0}]}, {NUMBER}),
        (b'{"a":[NaN,1e999,2]}', {"a": [None, None, 2]}, {NUMBER}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}, set()),
        (b'{"a":"x\\ud83d"}', {"a": "x\ufffd"}, {TEXT}),
        (b'{"\\ude00":1}', {"\ufffd": 1}, {TEXT}),
        (b'{"a":"\xff"}', {"a": "\ufffd"}, {TEXT}),
    ],
)
def test_what_no_strict_parser_takes_is_read_and_named(raw: bytes, value: Any, mended: set[str]) -> None:
    found: set[str] = set()
    assert whole_texts(read_leniently(raw, found), found) == value
    assert found == mended


@pytest.mark.parametrize("raw", [b"", b"{", b"{a:1}", b"data: {}", b"[" * 300 + b"]" * 300, b"[" * 5_000, b"\xff"])
def test_what_is_no_json_is_none_and_is_not_quoted(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON") as caught:
        read_leniently(raw, set())
    assert len(str(caught.value)) < 60


def test_as_deep_as_strict_parsers_go() -> None:
    assert json.dumps(read_leniently(b"[" * 150 + b"NaN" + b"]" * 150, set())).count("[") == 150
