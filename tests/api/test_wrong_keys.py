"""Keys that are none: the same answer for each, throttled by address, and revoked ones known at once everywhere."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ai_gateway.accounts.key_format import new_key
from ai_gateway.api.access import address_of
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, NO_CERTIFICATES, TIMEOUT_S, body_of, eventually
from tests.support.gateway import LiveGateway, running_gateway

MOST = 30
"""Wrong keys of an address in a minute."""


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """Where any number of wrong keys may be sent."""
    data = tmp_path_factory.mktemp("unlimited") / "data"
    with running_gateway(GATEWAY_DATA_DIR=str(data), ADMIN_API_KEY=ADMIN_KEY, WRONG_KEYS_PER_MINUTE="0") as live:
        yield live


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """One of its own: whoever tries many keys here would be refused in the tests of others."""
    data = tmp_path_factory.mktemp("wrong") / "data"
    with running_gateway(GATEWAY_DATA_DIR=str(data), ADMIN_API_KEY=ADMIN_KEY) as live:
        yield live


def inferred(live: LiveGateway, key: str) -> int:
    """The status of one call of a model, by whichever worker."""
    headers = {"authorization": f"Bearer {key}", "connection": "close"}
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        url = f"{live.base_url}/custom/v1/chat/completions"
        return client.post(url, headers=headers, json=body_of(CHAT, "custom-chat")).status_code


def asked(live: LiveGateway, key: str) -> httpx2.Response:
    """The reply to one request on a connection of its own, so that any worker may get it."""
    headers = {"authorization": f"Bearer {key}", "connection": "close"}
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.get(f"{live.base_url}/v1/models", headers=headers)


DOORS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/v1/models", None),
    ("POST", "/v1/chat/completions", body_of(CHAT, "custom-chat")),
    ("POST", "/custom/v1/chat/completions", body_of(CHAT, "custom-chat", stream=True)),
    ("GET", "/api/tags", None),
    ("POST", "/api/chat", {"model": "custom-chat", "messages": [{"role": "user", "content": "Hi"}]}),
    ("GET", "/v1/organization/projects", None),
    ("POST", "/v1/organization/projects", {"name": "nobody's"}),
    ("GET", "/v1/gateway/requests", None),
]


@pytest.fixture(scope="module")
def none_of_ours(unlimited: LiveGateway) -> dict[str, str]:
    """Keys that are none, or none any more, by what is wrong with them."""
    live = unlimited
    admin = Administrator(live)
    project = admin.project()
    account = admin.account(project)["api_key"]
    administrators = [
        admin.post("admin_api_keys", {"name": name, "expires_in_seconds": 1 if name == "expired" else 3600})
        for name in ("expired", "revoked")
    ]
    found = {
        "unknown": new_key(),
        "unknown administrator's": new_key("administrator"),
        "misspelt": new_key()[:-1] + "_",
        "malformed": "x",
        "of an archived project": admin.account(archived := admin.project())["api_key"]["value"],
        "expired": admin.account(project, expires_in_seconds=1)["api_key"]["value"],
        "revoked": account["value"],
        "expired administrator's": administrators[0]["value"],
        "revoked administrator's": administrators[1]["value"],
    }
    assert asked(live, account["value"]).status_code == 200
    admin.delete(f"projects/{project}/api_keys/{account['id']}")
    admin.delete(f"admin_api_keys/{administrators[1]['id']}")
    admin.post(f"projects/{archived}/archive")
    for name in ("expired", "expired administrator's"):
        eventually(lambda name=name: asked(live, found[name]).status_code == 401)  # type: ignore[misc]
    return found


@pytest.mark.parametrize(("method", "path", "body"), DOORS)
def test_whatever_is_wrong_with_a_key_the_answer_is_the_same_to_the_byte(
    unlimited: LiveGateway, none_of_ours: dict[str, str], method: str, path: str, body: dict[str, Any] | None
) -> None:
    with httpx2.Client(
        base_url=unlimited.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES
    ) as client:
        replies = [
            client.request(method, path, headers={name: form.format(key)}, json=body)
            for key in none_of_ours.values()
            for name, form in (("authorization", "Bearer {}"), ("x-api-key", "{}"), ("api-key", "{}"))
        ]
        malformed = ("Basic eDp5", "Bearer", "sk-without-a-scheme")
        replies += [client.request(method, path, headers={"authorization": form}, json=body) for form in malformed]
    assert {reply.status_code for reply in replies} == {401}
    assert len({reply.content for reply in replies}) == 1
    assert b"Incorrect API key provided" in replies[0].content
    volatile = {"date", "x-request-id", "openai-processing-ms"}
    headers = [{name: value for name, value in each.headers.items() if name not in volatile} for each in replies]
    assert {name for each in headers for name in each if each[name] != headers[0].get(name)} == set()


def test_no_key_is_in_the_log(unlimited: LiveGateway, none_of_ours: dict[str, str]) -> None:
    log = unlimited.log()
    assert not [name for name, key in none_of_ours.items() if len(key) > 1 and key in log]


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
def test_two_workers_count_wrong_keys_together(tmp_path: Path) -> None:
    env = {"ADMIN_API_KEY": ADMIN_KEY, "WORKERS": "2", "WRONG_KEYS_PER_MINUTE": "10"}
    with running_gateway(GATEWAY_DATA_DIR=str(tmp_path), **env) as live:
        began = time.monotonic()
        statuses = Counter(asked(live, f"sk-wrong-{number}").status_code for number in range(40))
        if time.monotonic() - began < 60:
            # Each by itself lets 10 through. On a busy machine the counters may be locked for some.
            assert 10 <= statuses[401] < 15
            assert statuses.keys() == {401, 429}
        assert asked(live, ADMIN_KEY).status_code in {200, 403}


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(host: str, counted: str) -> None:
    assert address_of({"type": "http", "client": (host, 1)}) == counted
    assert address_of({"type": "http", "client": None}) == ""  # a Unix socket


@pytest.mark.slow
def test_two_workers_know_a_new_key_at_once_and_its_limits_and_its_end_within_seconds(tmp_path: Path) -> None:
    with running_gateway(GATEWAY_DATA_DIR=str(tmp_path), ADMIN_API_KEY=ADMIN_KEY, WORKERS="2") as live:
        admin = Administrator(live)
        project = admin.project()
        key = admin.account(project)["api_key"]
        assert {asked(live, key["value"]).status_code for _ in range(12)} == {200}
        for limit, status in (
            ({"model_permissions": {"mode": "allow_list", "model_ids": ["none"]}}, 403),
            ({"model_permissions": None, "rate_limits": {"max_requests_per_1_day": 0}}, 429),
            ({"rate_limits": None}, 200),
        ):
            admin.post(f"projects/{project}/api_keys/{key['id']}", limit)
            eventually(lambda status=status: {inferred(live, key["value"]) for _ in range(8)} == {status})  # type: ignore[misc]
        admin.delete(f"projects/{project}/api_keys/{key['id']}")
        deadline = time.monotonic() + 15  # a second on an idle machine
        refused = 0
        while refused < 8:  # in a row, so that it was both
            refused = refused + 1 if asked(live, key["value"]).status_code in {401, 429} else 0
            assert time.monotonic() < deadline
            time.sleep(0.1)
