"""Keys that are none: the same answer for each, throttled by address, and revoked ones known at once everywhere."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ai_gateway.accounts.key_format import new_key
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import NO_CERTIFICATES, TIMEOUT_S, eventually
from tests.support.gateway import LiveGateway, running_gateway

MOST = 30
"""Wrong keys of an address in a minute."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """One of its own: whoever tries many keys here would be refused in the tests of others."""
    data = tmp_path_factory.mktemp("wrong") / "data"
    with running_gateway(GATEWAY_DATA_DIR=str(data), ADMIN_API_KEY=ADMIN_KEY) as live:
        yield live


def asked(live: LiveGateway, key: str) -> httpx2.Response:
    """The reply to one request on a connection of its own, so that any worker may get it."""
    headers = {"authorization": f"Bearer {key}", "connection": "close"}
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.get(f"{live.base_url}/v1/models", headers=headers)


def test_unknown_misspelt_expired_and_revoked_keys_get_the_same_answer(live: LiveGateway) -> None:
    admin = Administrator(live)
    project = admin.project()
    expired = admin.account(project, expires_in_seconds=1)["api_key"]["value"]
    account = admin.account(project)
    revoked = account["api_key"]["value"]
    assert asked(live, revoked).status_code == 200
    admin.delete(f"projects/{project}/api_keys/{account['api_key']['id']}")
    eventually(lambda: asked(live, expired).status_code == 401)
    misspelt = new_key()[:-1] + "_"
    replies = [asked(live, key) for key in (new_key(), misspelt, "x", expired, revoked)]
    assert [reply.status_code for reply in replies] == [401] * 5
    assert len({reply.text for reply in replies}) == 1
    assert replies[0].json()["error"]["message"].startswith("Incorrect API key provided")
    assert len({reply.headers["www-authenticate"] for reply in replies}) == 1
    assert new_key() not in live.log()


def test_a_revoked_key_is_refused_on_this_process_within_a_second(live: LiveGateway) -> None:
    admin = Administrator(live)
    project = admin.project()
    key = admin.account(project)["api_key"]
    assert asked(live, key["value"]).status_code == 200
    admin.delete(f"projects/{project}/api_keys/{key['id']}")
    assert asked(live, key["value"]).status_code == 401  # the process that deleted it knows at once


def test_whoever_tries_many_keys_is_told_to_stop_and_right_keys_still_work(live: LiveGateway) -> None:
    admin = Administrator(live)
    key = admin.account(admin.project())["api_key"]["value"]
    statuses = Counter(asked(live, f"sk-wrong-{number}").status_code for number in range(MOST + 5))
    assert statuses.keys() == {401, 429}
    assert statuses[401] <= MOST
    refused = asked(live, "sk-wrong-again")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert asked(live, key).status_code == 200
    assert asked(live, ADMIN_KEY).status_code in {200, 403}
    assert admin.get("projects")["data"]


@pytest.mark.slow
def test_two_workers_know_a_new_key_at_once_and_a_revoked_one_within_seconds(tmp_path: Path) -> None:
    with running_gateway(GATEWAY_DATA_DIR=str(tmp_path), ADMIN_API_KEY=ADMIN_KEY, WORKERS="2") as live:
        admin = Administrator(live)
        project = admin.project()
        key = admin.account(project)["api_key"]
        assert {asked(live, key["value"]).status_code for _ in range(12)} == {200}
        admin.delete(f"projects/{project}/api_keys/{key['id']}")
        deadline = time.monotonic() + 15  # 5 s on an idle machine
        refused = 0
        while refused < 8:  # in a row, so that it was both
            refused = refused + 1 if asked(live, key["value"]).status_code in {401, 429} else 0
            assert time.monotonic() < deadline
            time.sleep(0.1)
