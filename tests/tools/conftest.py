"""A gateway in front of the scripted model, with a search that makes its results up."""

from collections.abc import Iterator

import pytest

from tests.support.gateway import ONE_ATTEMPT, LiveGateway, SharedGateways
from tests.support.upstream import Upstream
from tests.tools.scripted import scripted_model


@pytest.fixture(scope="session")
def model() -> Iterator[Upstream]:
    with scripted_model() as running:
        yield running


@pytest.fixture(scope="session")
def tooled(gateway_for: SharedGateways, model: Upstream) -> LiveGateway:
    return gateway_for(
        PROVIDER_LAB_BASE_URL=model.url,
        TOOL_WEB_SEARCH="custom",
        TOOL_ROUNDS_MAX="3",
        TOOL_CALLS_MAX="4",
        TOOL_RESULT_MAX_SIZE="2000",
        **ONE_ATTEMPT,
    )
