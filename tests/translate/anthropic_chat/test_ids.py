"""Ids of calls: each once in a conversation, and of the letters that Anthropic's clients take."""

import re

from hypothesis import given, strategies as st

from ai_gateway.translate.anthropic_chat.ids import CallIds
from tests.attacks.doubling import Work, assert_linear

GIVEN = st.one_of(st.sampled_from(["a", "a_2", "a_3", "call_0", "functions.look:0", "", "é"]), st.text(max_size=4))


@given(st.lists(GIVEN, max_size=8), st.lists(GIVEN, max_size=12))
def test_every_call_has_an_id_of_its_own(used: list[str], given: list[str]) -> None:
    ids = CallIds(used)
    made = [ids.of(each) for each in given]
    assert len({*used, *made}) == len(set(used)) + len(made)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", each) for each in made)


def test_an_id_that_is_new_stays_as_it_is() -> None:
    assert CallIds(["b"]).of("a") == "a"


def test_many_calls_of_one_id_take_no_longer_than_others() -> None:
    def prepare(size: int) -> Work:
        ids = CallIds()
        return lambda: [ids.of("a") for _ in range(size)]

    assert_linear(prepare, "ids")
