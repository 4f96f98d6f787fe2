"""Anthropic's own tests of its SDK's messages and models, against the built-in provider.

They are written for a mock that answers anything: the names of models become the built-in provider's, and cursors that
nothing has are left out.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import SharedGateways
from tests.support.placeholders import Asked, renamed
from tests.support.sdk_sources import ANTHROPIC, passed_by, sdk_sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILES = ("tests/api_resources/test_messages.py", "tests/api_resources/test_models.py")
KEY = "my-anthropic-api-key"
MODEL = "custom-chat"


@pytest.fixture(scope="module")
def base_url(gateway_for: SharedGateways) -> Iterator[str]:
    live = gateway_for(ALLOWED_API_KEYS=KEY)

    def completed(asked: Asked) -> None:
        asked.path = asked.path.replace("models/model_id", f"models/{MODEL}")
        asked.query = [(name, value) for name, value in asked.query if name not in {"after_id", "before_id"}]
        if asked.method == "POST" and asked.body:
            body: dict[str, Any] = json.loads(asked.body)
            asked.body = json.dumps(body | {"model": MODEL}).encode()

    with renamed(live, "/custom/v1/", completed) as url:
        yield f"{url}/custom"


def test_the_sdks_own_tests_of_messages_pass(base_url: str) -> None:
    suite = sdk_sources(ANTHROPIC)
    chosen = "strict and not Async and not batches"
    assert passed_by(suite, base_url, "-k", chosen, *FILES) >= 20, "too few to prove anything"
