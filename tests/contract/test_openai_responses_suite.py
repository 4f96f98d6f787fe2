"""OpenAI's own tests of its SDK's responses, against the built-in provider.

They are written for a mock that answers anything: what they leave out (`model`, `input`) is put in, the names of models
become the built-in provider's, and the id of a response that of one that was just stored.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.placeholders import Asked, renamed
from tests.support.sdk_sources import passed_by, sdk_sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOLDER = "tests/api_resources"
FILES = (
    "test_responses.py",
    "responses/test_input_items.py",
    "responses/test_input_tokens.py",
)
# Left out: what names prompts and conversations of OpenAI's, streams of stored responses, and a page of 0 items.
NOT_SERVED = (
    "create_with_all_params",
    "count_with_all_params",
    "retrieve_overload_2",
    "all_params_overload_2",
    "list_with_all_params",
)
KEY = "My API Key"
MODEL = "custom-chat"
_ID = re.compile(r"resp_\w{3,}|(?<=responses/)response_id")


@pytest.fixture(scope="module")
def base_url(gateway_for: SharedGateways) -> Iterator[str]:
    live = gateway_for(ALLOWED_API_KEYS=KEY, STORE_URL="memory")

    def completed(asked: Asked) -> None:
        if _ID.search(asked.path):
            asked.path = _ID.sub(stored(live, background="cancel" in asked.path), asked.path)
        asked.query = [(name, value) for name, value in asked.query if name != "after"]
        if asked.method == "POST" and asked.body:
            body: dict[str, Any] = json.loads(asked.body)
            body |= {"model": MODEL, "input": body.get("input", "hello")}
            if "previous_response_id" in body:
                body["previous_response_id"] = stored(live)
            asked.body = json.dumps(body).encode()

    with renamed(live, "/custom/v1/", completed) as url:
        yield f"{url}/custom/v1"


def stored(live: LiveGateway, *, background: bool = False) -> str:
    body = {"model": MODEL, "input": "hello", "background": background}
    reply = post(live, "/custom/v1/responses", body, key=KEY)
    assert reply.status_code == 200, reply.text
    identifier: str = reply.json()["id"]
    return identifier


@pytest.fixture(scope="module")
def suite() -> Path:
    return sdk_sources()


def test_the_sdks_own_tests_of_responses_pass(suite: Path, base_url: str) -> None:
    chosen = "strict and not Async and " + " and ".join(f"not {name}" for name in NOT_SERVED)
    files = [f"{FOLDER}/{name}" for name in FILES]
    assert passed_by(suite, base_url, "-k", chosen, *files) > 25, "too few to prove anything"
