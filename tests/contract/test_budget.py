"""Counts with a top."""

import pytest

from ai_gateway.contract.budget import Admission, BodyRoom, Share
from ai_gateway.errors import Overloaded


def test_only_so_many_are_inside_at_once_and_a_failure_gives_its_place_back() -> None:
    admission = Admission(2)
    with admission, admission:
        with pytest.raises(Overloaded, match="again in a second"), admission:
            pytest.fail("a third was let in")
        assert admission.inside == 2
    with pytest.raises(ZeroDivisionError), admission:
        raise ZeroDivisionError
    assert admission.inside == 0


def test_bodies_share_the_room_and_give_it_back() -> None:
    room = BodyRoom(10)
    first, second = Share(room), Share(room)
    first.take(6)
    second.take(3)
    for refused in (second.expect, second.take):
        with pytest.raises(Overloaded, match="request bodies"):
            refused(2)
    assert room.held == 9
    first.leave()
    second.take(2)
    second.leave()
    second.leave()
    assert room.held == 0


def test_what_weighs_more_than_all_the_room_has_it_when_it_is_alone() -> None:
    room = BodyRoom(10)
    heavy, light = Share(room), Share(room)
    heavy.take(4)
    light.take(1)
    with pytest.raises(Overloaded):
        heavy.weigh(1000)
    light.leave()
    heavy.weigh(1000)
    assert room.held == 10
