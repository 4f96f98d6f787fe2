"""A gateway that is administered, shared by all tests of administration: each makes projects of its own."""

import pytest

from tests.support.administration import ADMINISTERED, Administrator
from tests.support.gateway import SharedGateways


@pytest.fixture(scope="session")
def admin(gateway_for: SharedGateways) -> Administrator:
    return Administrator(gateway_for(**ADMINISTERED))
