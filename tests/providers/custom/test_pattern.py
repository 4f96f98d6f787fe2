"""Strings are written for patterns, and matching agrees with Python's `re` without its explosions."""

import re
import time

import pytest
from hypothesis import given, strategies as st

from ai_gateway.providers.custom import pattern
from ai_gateway.providers.custom.dice import Dice
from ai_gateway.providers.custom.pattern_parser import UnsupportedPattern, parse
from ai_gateway.providers.custom.work import Work

PATTERNS = [
    r"^[A-Z]{2}\d{3}$", r"a|b|cd*", r"^(?:x|yz){2,3}?$", r"[^a-z]", r"^\w+\s\W\S\D$", r"\bhi\b", r"^$", r"a{0}b",
    r"a{2,}", r"[\d\-x]", r"[a\]]+", r"\.\*\\", r"(?P<name>ab)?c", r"\x41\u0042", r"[\x41-\x43]+", r"x{y}", r".",
    r"\t|\n", r"[^\W\d]+", r"\Aab\Z", "ä+", r"(a*)*b", r"(|a)+$", "-", r"[a-]", r"[\b]",
]  # fmt: skip
PLACES = [r"\Bo", r"(?=a)\w", r"(?!a)\w"]  # what must lie around a place is for matching to say, not for writing
NOT_PYTHONS = [r"(?<name>ab)c", r"a{,2}", r"\p{L}+"]


@pytest.mark.parametrize("expression", PATTERNS + NOT_PYTHONS)
def test_what_is_written_matches(expression: str) -> None:
    for seed in range(20):
        written = pattern.write(expression, Dice(str(seed)), Work())
        assert pattern.matches(expression, written, Work()), written


@pytest.mark.parametrize("expression", PATTERNS + PLACES)
@given(text=st.text(st.sampled_from("abcxyzhioAB01 -.*\\]_\n\tä{,}"), max_size=6))
def test_matching_agrees_with_re(expression: str, text: str) -> None:
    expected = re.search(expression.replace("$", r"\Z"), text, re.ASCII) is not None
    assert pattern.matches(expression, text, Work()) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "(", ")", "[", "*a", "a|+", r"\1", r"(a)\2", "(?i)a", "(?<=a)b", "a{3,2}", "[z-a]", "\\", r"\q", r"\xZZ", "(?",
        r"\u{110000}", r"\p{Klingon}", r"\pL", "(" * 100 + ")" * 100, "a" * 3000, "[a-\\d]",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_unsupported_and_taken_to_match(expression: str) -> None:
    with pytest.raises(UnsupportedPattern):
        parse(expression)
    assert pattern.matches(expression, "anything", Work())


def test_character_properties_and_code_points_are_read() -> None:
    assert pattern.matches(r"^\p{Lu}\p{Ll}+\P{N}$", "Ab!", Work())
    assert pattern.matches(r"^[\p{L}\P{L}]\u{1F600}$", "a\U0001f600", Work())
    assert not pattern.matches(r"^\p{Lu}$", "a", Work())


@pytest.mark.parametrize("expression", [r"^(a+)+$", r"^(a|a)*$", r"^((a*)*)*$", r"^(a?){50}a{50}b$", r"(x+x+)+y(?=z)"])
def test_no_pattern_backtracks_without_end(expression: str) -> None:
    started = time.process_time()
    pattern.matches(expression, "a" * 3000 + "!", Work())
    assert time.process_time() - started < 5


def test_a_very_long_text_is_not_examined() -> None:
    assert pattern.matches("^b$", "a" * 100_000, Work())


def test_repetitions_are_as_long_as_asked_and_never_longer_than_allowed() -> None:
    assert pattern.write("a*", Dice("x"), Work(), extra=7) == "a" * 7
    assert pattern.write("a{1,3}", Dice("x"), Work(), extra=7) == "aaa"
    assert len(pattern.write("(a{9999}){9999}", Dice("x"), Work())) <= pattern.LONGEST
    assert pattern.write("abc", Dice("x"), Work(steps=0)) == ""
