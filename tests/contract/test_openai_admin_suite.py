"""OpenAI's own tests of its SDK's administration, against a gateway that is administered.

They come with the SDK's source distribution and get an environment of their own. What they name by a placeholder is
there (tests/support/placeholders.py); all else of a request and its reply is as they have it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.administration import ADMINISTERED, Administrator
from tests.support.gateway import SharedGateways
from tests.support.placeholders import named_objects
from tests.support.sdk_sources import passed_by, sdk_sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOLDER = "tests/api_resources/admin/organization"
SERVED = (
    *("test_admin_api_keys", "test_audit_logs", "test_data_retention", "test_projects", "test_spend_alerts"),
    *(
        "test_spend_limit",
        "test_usage",
        "projects/test_api_keys",
        "projects/test_data_retention",
        "projects/test_rate_limits",
    ),
    *("projects/test_hosted_tool_permissions", "projects/test_model_permissions", "projects/test_service_accounts"),
    *("projects/test_spend_alerts", "projects/test_spend_limit", "projects/service_accounts/test_api_keys"),
)
# It asks for an account without a key, and for when that key expires, which the SDK's own words forbid.
CONTRADICTION = "test_service_accounts.py::{}::test_method_create_with_all_params"
# The strict client refuses a reply that is not exactly typed; others send the same and see the same.
CHOSEN = "strict and not Async and not vector_stores and not file_search_calls and not decisions"
ADMIN_KEY, KEY = "My Admin API Key", "My API Key"  # which are written into the SDK's conftest.py


@pytest.fixture(scope="module")
def suite() -> Path:
    return sdk_sources()


@pytest.fixture(scope="module")
def base_url(gateway_for: SharedGateways) -> Iterator[str]:
    live = gateway_for(**{**ADMINISTERED, "ADMIN_API_KEY": ADMIN_KEY, "ALLOWED_API_KEYS": KEY})
    with named_objects(Administrator(live, ADMIN_KEY)) as url:
        yield url


def test_the_sdks_own_tests_of_administration_pass(suite: Path, base_url: str) -> None:
    contradictions = [
        argument
        for name in ("TestServiceAccounts", "TestAsyncServiceAccounts")
        for argument in ("--deselect", f"{FOLDER}/projects/{CONTRADICTION.format(name)}")
    ]
    files = [f"{FOLDER}/{name}.py" for name in SERVED]
    assert passed_by(suite, base_url, "-k", CHOSEN, *contradictions, *files) > 150, "too few to prove anything"
