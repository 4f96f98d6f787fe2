"""Keys of the configuration: listed among the others with what they are held to, and changed nowhere but there."""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx2
import pytest

from ai_gateway.accounts.key_format import redacted
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import NO_CERTIFICATES, TIMEOUT_S, eventually
from tests.support.gateway import LiveGateway, run_cli, running_gateway

PLAIN, HASHED, NAMED = "sk-plain-0123456789abcd", "sk-hashed-0123456789efgh", "sk-named-0123456789ijkl"
DIGEST = sha256(HASHED.encode()).hexdigest()
SHORT = "hunter2"
CONFIGURATION = f"""
[keys.alice]
digest = "{DIGEST}"
project = "research"
requests_per_minute = 60
spend_limit_cents = 500
spend_interval = "week"
models = ["custom-a"]

[keys.bob]
key_env = "KEY_OF_BOB"
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("configured")
    (home / "gateway.toml").write_text(CONFIGURATION)
    return {
        "ADMIN_API_KEY": ADMIN_KEY,
        "ALLOWED_API_KEYS": PLAIN,
        "KEY_OF_BOB": NAMED,
        "GATEWAY_CONFIG": str(home / "gateway.toml"),
        "GATEWAY_DATA_DIR": str(home / "data"),
    }


@pytest.fixture(scope="module")
def live(settings: dict[str, str]) -> Iterator[LiveGateway]:
    with running_gateway(**settings) as live:
        yield live


@pytest.fixture(scope="module")
def admin(live: LiveGateway) -> Administrator:
    return Administrator(live)


def keys_of(admin: Administrator, project: str) -> dict[str, Any]:
    """Those of a project by their names."""
    return {key["name"]: key for key in admin.get(f"projects/{project}/api_keys", limit=100)["data"]}


def project_of(admin: Administrator, name: str) -> str:
    (found,) = [each["id"] for each in admin.get("projects", limit=100)["data"] if each["name"] == name]
    return str(found)


def test_they_are_in_the_lists_of_their_projects_without_their_values(admin: Administrator) -> None:
    listed = keys_of(admin, "default")
    assert listed.keys() == {"env-1", "keys.bob"}
    assert listed["env-1"]["redacted_value"] == "sk-...abcd"
    assert listed["env-1"]["configured_in"] == "ALLOWED_API_KEYS"
    assert listed["keys.bob"]["configured_in"] == "[keys.bob]"
    assert listed["env-1"]["owner"]["service_account"]["name"] == "env-1"
    assert listed["env-1"]["owner_project_access"] == "active"
    research = project_of(admin, "research")
    (alice,) = keys_of(admin, research).values()
    assert alice["redacted_value"] == f"sha256:{DIGEST[:8]}..."
    assert alice["rate_limits"] == {"max_requests_per_1_minute": 60}
    assert alice["spend_limit"].items() >= {"threshold_amount": 500, "interval": "week"}.items()
    assert alice["model_permissions"] == {"mode": "allow_list", "model_ids": ["custom-a"]}
    assert admin.get(f"projects/{research}/api_keys/{alice['id']}") == alice
    admin.refused(404, "GET", f"projects/default/api_keys/{alice['id']}")
    assert not [key for key in (PLAIN, HASHED, NAMED) if key in json.dumps([listed, alice])]


def metrics(live: LiveGateway) -> str:
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.get("/metrics", headers={"authorization": f"Bearer {PLAIN}"}).text


def test_their_budgets_are_in_the_metrics(admin: Administrator) -> None:
    (alice,) = keys_of(admin, project_of(admin, "research")).values()
    labels = f'id="{alice["id"]}",interval="week",of="key"'
    reported = [line for line in metrics(admin.live).splitlines() if alice["id"] in line and not line.startswith("#")]
    assert any(line.startswith("ai_gateway_spend_limit_usd{") and line.endswith(" 5.0") for line in reported), (
        labels,
        reported,
    )


@pytest.mark.parametrize("key", [PLAIN, HASHED, NAMED, ADMIN_KEY])
def test_no_other_key_is_made_of_one(admin: Administrator, key: str) -> None:
    """Its limits would never hold: the configuration counts for more."""
    digest = sha256(key.encode()).hexdigest()
    error = admin.refused(
        400, "POST", "projects/default/service_accounts", {"name": "twice", "digest": digest, "rate_limits": {}}
    )
    assert (error["param"], error["code"]) == ("digest", "key_exists")


def test_of_a_short_one_nothing_is_shown() -> None:
    assert redacted(SHORT) == redacted("s3cret") == "..."
    assert redacted(PLAIN) == "sk-...abcd"


def test_their_last_use_is_told_by_the_id_that_records_have(admin: Administrator) -> None:
    assert admin.infers(PLAIN).status_code == 200
    eventually(lambda: keys_of(admin, "default")["env-1"]["last_used_at"] is not None)


def test_made_ones_are_beside_them_page_by_page(admin: Administrator) -> None:
    made = admin.account("default")["api_key"]["id"]
    pages = list(admin.pages("projects/default/api_keys", limit=1))
    assert [len(page) for page in pages] == [1, 1, 1]
    assert {page[0] for page in pages} == {key["id"] for key in keys_of(admin, "default").values()}
    admin.delete(f"projects/default/api_keys/{made}")


@pytest.mark.parametrize(("name", "setting"), [("env-1", "ALLOWED_API_KEYS"), ("keys.bob", "[keys.bob]")])
def test_nobody_changes_or_deletes_them_here(admin: Administrator, name: str, setting: str) -> None:
    path = f"projects/default/api_keys/{keys_of(admin, 'default')[name]['id']}"
    for method, body in (("DELETE", None), ("POST", {"rate_limits": None})):
        error = admin.refused(400, method, path, body)
        assert error["code"] == "key_configured"
        assert setting in error["message"]
    assert name in keys_of(admin, "default")


def test_the_administrators_key_is_listed_as_well(admin: Administrator) -> None:
    (key,) = admin.get("admin_api_keys")["data"]
    assert (key["name"], key["configured_in"]) == ("admin-1", "ADMIN_API_KEY")
    assert key["redacted_value"].endswith(ADMIN_KEY[-4:])
    assert admin.get(f"admin_api_keys/{key['id']}") == key
    error = admin.refused(400, "DELETE", f"admin_api_keys/{key['id']}")
    assert (error["code"], "ADMIN_API_KEY" in error["message"]) == ("key_configured", True)


def test_the_official_client_reads_them(live: LiveGateway) -> None:
    from openai import OpenAI

    with OpenAI(base_url=f"{live.base_url}/v1", api_key="unused", admin_api_key=ADMIN_KEY) as client:
        names = {key.name for key in client.admin.organization.projects.api_keys.list("default")}
        assert names == {"env-1", "keys.bob"}


def test_the_command_line_shows_them_and_says_where_they_are_changed(
    settings: dict[str, str], live: LiveGateway
) -> None:
    remote = {"ADMIN_API_KEY": ADMIN_KEY}, ("--url", live.base_url)
    for env, options in ((settings, ()), remote):
        listed = run_cli("keys", "list", "--json", *options, **env)
        names = {each["name"] for each in json.loads(listed.stdout)["data"]}
        assert names >= {"env-1", "keys.alice", "keys.bob", "admin-1"}
        for command in ("revoke", "rotate"):
            refused = run_cli("keys", command, "keys.bob", *options, **env)
            assert (refused.returncode, "[keys.bob]" in refused.stderr) == (1, True)
