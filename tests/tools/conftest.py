"""A gateway in front of the scripted model, with a search that makes its results up."""

from collections.abc import Iterator

import pytest

from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways, running_gateway
from tests.support.upstream import Upstream, shared
from tests.tools.scripted import scripted_model
from tests.tools.test_mcp import running_server


@pytest.fixture(scope="session")
def model() -> Iterator[Upstream]:
    with shared(scripted_model()) as running:
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


@pytest.fixture(scope="module")
def mcp_address() -> Iterator[str]:
    with running_server() as (url, _):
        yield url


@pytest.fixture(scope="module")
def doors(mcp_address: str, model: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """One with every tool, a server of the Model Context Protocol that is there and one that is not."""
    config = tmp_path_factory.mktemp("doors") / "gateway.toml"
    there = f'[mcp.lab]\nurl = "{mcp_address}"\nallowed_tools = ["add", "echo", "slow"]\n'
    config.write_text(f'{there}[mcp.dead]\nurl = "http://127.0.0.1:9/mcp"\n')
    with running_gateway(
        GATEWAY_CONFIG=str(config),
        ALLOWED_API_KEYS=TEST_KEY,
        STORE_URL="memory",
        PROVIDER_LAB_BASE_URL=model.url,
        TOOL_WEB_SEARCH="custom",
        TOOL_CODE_EXECUTION="monty",
        TOOL_MEMORY="true",
        TOOL_TIMEOUT_S="3",
        CUSTOM_PACE_MS="0",
        **ONE_ATTEMPT,
    ) as running:
        yield running
