"""Anthropic's own tests of its SDK's messages and models, against the built-in provider.

They are written for a mock that answers anything: the names of models become the built-in provider's, and cursors that
nothing has are left out.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import SharedGateways
from tests.support.placeholders import Asked, renamed
from tests.support.sdk_sources import ANTHROPIC, sdk_sources

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
    ran = subprocess.run(
        [
            *(suite.parent / "venv" / "bin" / "python", "-m", "pytest", "-q", "-o", "addopts="),
            *("-k", "strict and not Async and not batches", *FILES),
        ],
        cwd=suite,
        env={"PATH": os.environ["PATH"], "HOME": str(suite.parent), "TEST_API_BASE_URL": base_url},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed, ran.stdout[-2000:]
    assert int(passed[1]) >= 20, "too few to prove anything"
