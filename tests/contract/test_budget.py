"""Counts with a top."""

import pytest

from ai_gateway.contract.budget import Admission, Allocation, BudgetExceeded, ByteBudget
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


def test_what_is_charged_is_in_use_until_it_is_released() -> None:
    budget = ByteBudget(10)
    budget.charge(6)
    budget.charge(4)
    assert not budget.exceeded
    with pytest.raises(BudgetExceeded):
        budget.charge(1)
    assert (budget.used, budget.exceeded, budget.fits(0), budget.fits(1)) == (10, True, True, False)
    budget.release(3)
    budget.charge(3)
    assert budget.used == 10


def test_bodies_share_the_budget_and_give_it_back() -> None:
    budget = ByteBudget(10)
    first, second = Allocation(budget), Allocation(budget)
    first.charge(6)
    second.charge(3)
    assert (second.fits(1), second.fits(2)) == (True, False)
    for refused in (second.reserve, second.charge):
        with pytest.raises(Overloaded, match="request bodies"):
            refused(2)
    second.reserve(1)
    assert budget.used == 9
    first.release()
    second.charge(2)
    second.release()
    second.release()
    assert budget.used == 0


def test_what_needs_more_than_all_of_the_budget_has_it_when_it_is_alone() -> None:
    budget = ByteBudget(10)
    heavy, light = Allocation(budget), Allocation(budget)
    heavy.charge(4)
    light.charge(1)
    with pytest.raises(Overloaded):
        heavy.charge_at_most(1000)
    light.release()
    heavy.charge_at_most(1000)
    assert budget.used == 10
