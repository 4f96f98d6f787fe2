"""A pattern costs bounded work, to match and to write a text for; what such texts look like, test_sample holds."""

import time

import pytest

from ai_gateway.errors import UnsupportedValue
from ai_gateway.providers.custom import pattern
from ai_gateway.providers.custom.dice import Dice
from ai_gateway.providers.custom.work import Work


@pytest.mark.parametrize("expression", [r"^(a+)+$", r"^(a|a)*$", r"^((a*)*)*$", r"^(a?){50}a{50}b$", r"(x+x+)+y(?=z)"])
def test_no_pattern_backtracks_without_end(expression: str) -> None:
    started = time.process_time()
    pattern.matches(expression, "a" * 3000 + "!", Work())
    assert time.process_time() - started < 20  # it would take years


def test_a_very_long_text_is_not_examined() -> None:
    assert pattern.matches("^b$", "a" * 100_000, Work())


@pytest.mark.parametrize("expression", ["(", r"\1", "(?i)a", "(?<=a)b", "[z-a]", r"\p{Klingon}", "(" * 100 + ")" * 100])
def test_a_pattern_that_cannot_be_read_matches_everything(expression: str) -> None:
    assert pattern.matches(expression, "anything", Work())


def test_repetitions_are_as_long_as_asked_and_never_longer_than_allowed() -> None:
    assert pattern.write("a*", Dice("x"), Work(), extra=7) == "a" * 7
    assert pattern.write("a{1,3}", Dice("x"), Work(), extra=7) == "aaa"
    assert len(pattern.write("(a{9999}){9999}", Dice("x"), Work())) <= pattern.LONGEST
    with pytest.raises(UnsupportedValue):
        pattern.write("abc", Dice("x"), Work(steps=0))
