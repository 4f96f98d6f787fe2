"""A count with a top."""

import pytest

from ai_gateway.contract.admission import Admission
from ai_gateway.errors import Overloaded


def test_only_so_many_are_inside_at_once_and_a_failure_gives_its_place_back() -> None:
    admission = Admission(2)
    with admission, admission:
        with pytest.raises(Overloaded, match="again in a second"), admission:
            pytest.fail("a third was let in")
        assert (admission.inside, admission.refused) == (2, 1)
    with pytest.raises(ZeroDivisionError), admission:
        raise ZeroDivisionError
    assert admission.inside == 0
