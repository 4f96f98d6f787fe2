"""What every suite shares: one live gateway per worker, and asyncio as the only event loop."""

from collections.abc import Iterator

import pytest

from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def gateway() -> Iterator[LiveGateway]:
    """The built-in provider only, guarded by one key."""
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY) as live:
        yield live
