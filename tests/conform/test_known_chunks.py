"""Chunks of a known form: what is learned, what is not taken for it, and how much is kept."""

import json
from typing import Any

import pytest

from ai_gateway.conform import known_chunks
from ai_gateway.conform.chunks import ChatChunk
from ai_gateway.conform.known_chunks import KnownChunks, known_chunks_of
from ai_gateway.conform.reply import exact_json

FIRST = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m-1"}


def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return json.dumps({**HEAD, "choices": choices, **more}).encode()


def known_with(*raws: bytes) -> KnownChunks[ChatChunk]:
    known = KnownChunks(ChatChunk)
    for raw in raws:
        known.exact(raw)
    return known


def is_known(known: KnownChunks[ChatChunk], raw: bytes) -> bool:
    """Whether it is told without validation, and the same as with it."""
    kept = dict(known._known)
    found, facts = known.exact(raw)
    assert found == exact_json(ChatChunk, raw)
    return facts is not None and kept == known._known


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("chatcmpl-1", "x"),
        ("chatcmpl-1", "1e999"),
        ("1700000000", "0"),
        ("1700000000", "999999999999999"),
    ],
)
@pytest.mark.parametrize("finish", [None, "stop", "length"])
def test_another_id_and_time_are_the_same_form(finish: str | None, old: str, new: str) -> None:
    raw = chunk([{**FIRST, "finish_reason": finish}])
    other = raw.replace(old.encode(), new.encode())
    assert other != raw
    assert is_known(known_with(raw), other)


def test_the_time_may_come_before_the_id() -> None:
    raw = json.dumps(dict(reversed(HEAD.items())) | {"choices": [FIRST]}).encode()
    assert is_known(known_with(raw), raw.replace(b"chatcmpl-1", b"y").replace(b"1700000000", b"7"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("chatcmpl-1", "\\u0041"),
        ("chatcmpl-1", "\\ud800"),
        ("chatcmpl-1", "\u00e9"),
        ("1700000000", "-1"),
        ("1700000000", "007"),
        ("1700000000", "1.5"),
        ("1700000000", "1e3"),
        ("1700000000", "9999999999999999"),
        ("1700000000", '"1"'),
        ("m-1", "m-2"),
        ("assistant", "user"),
        ('"content": ""', '"content": "x"'),
        ('"finish_reason": null', '"finish_reason": "stop"'),
        ('"id": "chatcmpl-1"', '"id": "chatcmpl-1", "id": "y"'),
        ("}]}", "}]} "),
        ("}]}", "}]"),
    ],
)
def test_anything_else_is_validated(old: str, new: str) -> None:
    raw = chunk([FIRST])
    other = raw.replace(old.encode(), new.encode(), 1)
    assert other != raw
    assert not is_known(known_with(raw), other)


def test_an_id_that_stands_elsewhere_as_well_is_no_other_ones() -> None:
    raw = chunk([FIRST], request="chatcmpl-1")
    known = known_with(raw)
    assert is_known(known, raw)
    found, _ = known.exact(raw.replace(b"chatcmpl-1", b"y"))
    assert found is not None
    assert (found.id, (found.model_extra or {})["request"]) == ("y", "y")


@pytest.mark.parametrize(
    "raw",
    [
        chunk([], usage=USAGE),
        chunk([FIRST], usage=USAGE),
        chunk([FIRST], x_groq={"usage": USAGE}),
        chunk([FIRST, {**FIRST, "index": 1}]),
        chunk([{**FIRST, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}}]),
    ],
)
def test_of_chunks_that_say_more_there_are_no_facts(raw: bytes) -> None:
    known = known_with(raw)
    found, facts = known.exact(raw)
    assert (found, facts) == (exact_json(ChatChunk, raw), None)
    assert len(known._known) == 1


def test_chunks_that_keep_changing_form_are_given_up() -> None:
    known = known_with(*(chunk([FIRST], own=at) for at in range(1_000)))
    assert len(known._known) <= known_chunks._MAX_FORMS
    assert known._credit <= 0 or not is_known(known, chunk([FIRST], own="new"))
    long = chunk([FIRST], own="x" * known_chunks._MAX_LENGTH)
    assert not known_with(long)._known


def test_no_more_models_are_kept_than_callers_may_choose() -> None:
    for at in range(2 * known_chunks._MAX_MODELS):
        known_chunks_of("lab", f"model-{at}", ChatChunk)
    assert len(known_chunks._known) <= known_chunks._MAX_MODELS
    last = known_chunks_of("lab", f"model-{at}", ChatChunk)
    assert known_chunks_of("lab", f"model-{at}", ChatChunk) is last


@pytest.mark.parametrize(("text", "number", "exact"), [("8e912", "1", True), ("NaN", "1", True), ("x", "1e999", False)])
def test_what_only_looks_like_a_number_too_large_is_exact(text: str, number: str, exact: bool) -> None:
    raw = chunk([FIRST], own=0).replace(b"chatcmpl-1", text.encode()).replace(b'"own": 0', b'"own": ' + number.encode())
    assert (exact_json(ChatChunk, raw) is not None) is exact
