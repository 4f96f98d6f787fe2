"""What is said depends on the seed, and the token estimate is what the documentation says."""

import re

import pytest
from hypothesis import given, strategies as st

from ai_gateway.providers.custom import text


@given(st.text())
def test_tokens_joined_are_the_text(said: str) -> None:
    assert "".join(text.tokens(said)) == said
    assert text.count(said) == len(text.tokens(said))


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        ("", []),
        ("Hello there.", ["Hello", " there", "."]),
        ("internationally", ["intern", "ationa", "lly"]),
        ("a  b\n\nc", ["a", "  ", "b", "\n\n", "c"]),
        ("wait...", ["wait", ".", ".", "."]),
    ],
)
def test_the_estimate_counts_words_in_pieces_of_six_marks_and_white_space(said: str, pieces: list[str]) -> None:
    assert text.tokens(said) == pieces


def test_a_reply_quotes_what_was_asked_and_depends_on_the_seed() -> None:
    assert '"Hello there"' in text.reply("seed", " Hello\n there ", introduced=True)
    assert text.reply("seed", "x", introduced=True) == text.reply("seed", "x", introduced=True)
    assert len({text.reply(str(seed), "x", introduced=True) for seed in range(100)}) == 100


def test_a_long_question_is_quoted_in_part_and_none_not_at_all() -> None:
    assert len(text.reply("seed", "word " * 1000, introduced=True)) < 600
    assert '"' not in text.reply("seed", "", introduced=True)
    assert "{x}" in text.reply("seed", "{x}", introduced=True)


def test_articles_agree_with_what_they_stand_before() -> None:
    said = " ".join(text.reply(str(seed), "", introduced=True) + text.continuation(str(seed)) for seed in range(500))
    assert re.search(r"\b[Aa]n archive\b", said)
    assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", said)


def test_a_conversation_begins_with_what_answers() -> None:
    assert (
        text.reply("seed", "x", introduced=False) == f"{text.INTRODUCTION} {text.reply('seed', 'x', introduced=True)}"
    )


@pytest.mark.parametrize(
    ("stop", "limit", "left", "reason"),
    [
        (None, None, "one two three", "stop"),
        ("two", None, "one ", "stop"),
        (["three", " two"], None, "one", "stop"),
        ("one", None, "", "stop"),
        ("nine", None, "one two three", "stop"),
        ("", None, "one two three", "stop"),
        (None, 2, "one two", "length"),
        (None, 3, "one two three", "stop"),
        (None, 0, "", "length"),
        (None, -5, "", "length"),
        ("two", 2, "one ", "stop"),
        ("three", 1, "one", "length"),
    ],
)
def test_a_text_ends_at_a_stop_string_or_a_limit(
    stop: str | list[str] | None, limit: int | None, left: str, reason: str
) -> None:
    cut = text.cut("one two three", stop, limit)
    assert ("".join(cut.tokens), cut.finish_reason) == (left, reason)
