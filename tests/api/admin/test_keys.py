"""Service accounts and keys: a value is shown once, works at once, and stops at once."""

import json
from typing import Any

import pytest

from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import eventually
from tests.support.gateway import TEST_KEY

pytestmark = pytest.mark.live

LIMITS: dict[str, Any] = {
    "spend_limit": {"threshold_amount": 1000, "currency": "USD", "interval": "day", "time_zone": "Europe/Berlin"},
    "rate_limits": {"max_requests_per_1_minute": 60, "max_parallel_requests": 2},
    "model_permissions": {"mode": "allow_list", "model_ids": ["custom-a", "custom-b"]},
}


def test_a_service_account_comes_with_a_key_that_works_and_is_shown_once(admin: Administrator) -> None:
    project = admin.project()
    made = admin.account(project)
    value = made["api_key"]["value"]
    assert made.items() >= {"object": "organization.project.service_account", "name": "alice", "role": "member"}.items()
    assert value.startswith("sk-gw-")
    assert admin.infers(value).status_code == 200
    everything = [
        admin.get(f"projects/{project}/service_accounts/{made['id']}"),
        admin.get(f"projects/{project}/service_accounts"),
        admin.get(f"projects/{project}/api_keys"),
        admin.get("audit_logs", limit=100),
    ]
    assert value not in json.dumps(everything)
    assert value not in admin.live.log()
    (listed,) = everything[2]["data"]
    assert listed["redacted_value"] == f"sk-gw-...{value[-4:]}"
    assert listed["owner"]["service_account"]["id"] == made["id"]
    assert (listed["id"], listed["expires_at"]) == (made["api_key"]["id"], None)


def test_a_second_key_works_beside_the_first_which_can_then_go(admin: Administrator) -> None:
    project = admin.project()
    account = admin.account(project)
    second = admin.post(f"projects/{project}/service_accounts/{account['id']}/api_keys", {"name": "December"})
    assert (second["name"], second["object"]) == ("December", "organization.project.service_account.api_key")
    assert admin.infers(second["value"]).status_code == 200
    gone = admin.delete(f"projects/{project}/api_keys/{account['api_key']['id']}")
    assert gone == {
        "object": "organization.project.api_key.deleted", "id": account["api_key"]["id"], "deleted": True,
    }  # fmt: skip
    assert admin.infers(account["api_key"]["value"]).status_code == 401
    assert admin.infers(second["value"]).status_code == 200
    assert [key["id"] for key in admin.get(f"projects/{project}/api_keys")["data"]] == [second["id"]]
    admin.refused(404, "DELETE", f"projects/{project}/api_keys/{account['api_key']['id']}")


def test_an_account_without_a_key_gets_one_later(admin: Administrator) -> None:
    project = admin.project()
    account = admin.account(project, create_service_account_only=True)
    assert (account["role"], account["api_key"]) == ("none", None)
    key = admin.post(f"projects/{project}/service_accounts/{account['id']}/api_keys")
    assert key["name"] == "Secret key"
    assert admin.infers(key["value"]).status_code == 200
    for name, value in {"expires_in_seconds": 5, **LIMITS}.items():
        body = {"name": "x", "create_service_account_only": True, name: value}
        assert admin.refused(400, "POST", f"projects/{project}/service_accounts", body)["param"] == name


def test_a_deleted_account_takes_its_keys_with_it(admin: Administrator) -> None:
    project = admin.project()
    account, other = admin.account(project), admin.account(project)
    second = admin.post(f"projects/{project}/service_accounts/{account['id']}/api_keys")
    assert admin.delete(f"projects/{project}/service_accounts/{account['id']}")["deleted"] is True
    for value in (account["api_key"]["value"], second["value"]):
        assert admin.infers(value).status_code == 401
    assert [each["id"] for each in admin.get(f"projects/{project}/service_accounts")["data"]] == [other["id"]]
    assert [each["id"] for each in admin.get(f"projects/{project}/api_keys")["data"]] == [other["api_key"]["id"]]
    admin.refused(404, "POST", f"projects/{project}/service_accounts/{account['id']}/api_keys", {})


def test_an_account_is_renamed_and_gets_another_role(admin: Administrator) -> None:
    project = admin.project()
    account = admin.account(project)
    path = f"projects/{project}/service_accounts/{account['id']}"
    changed = admin.post(path, {"name": "bob", "role": "owner"})
    assert (changed["name"], changed["role"]) == ("bob", "owner")
    assert admin.post(path, {}) == changed == admin.get(path)
    assert admin.refused(400, "POST", path, {"role": "none"})["param"] == "role"


def test_a_key_is_made_with_limits_of_its_own_which_can_be_changed_and_taken_away(admin: Administrator) -> None:
    project = admin.project()
    account = admin.account(project, **LIMITS, expires_in_seconds=3600)
    path = f"projects/{project}/api_keys/{account['api_key']['id']}"
    shown = admin.get(path)
    assert {name: shown[name] for name in LIMITS} == LIMITS
    assert shown["expires_at"] == account["api_key"]["expires_at"] == shown["created_at"] + 3600
    assert admin.infers(account["api_key"]["value"], "custom-a").status_code == 200
    refused = admin.infers(account["api_key"]["value"], "custom-other")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    changed = admin.post(path, {"spend_limit": None, "rate_limits": {"max_requests_per_1_day": 9}})
    assert "spend_limit" not in changed
    assert changed["rate_limits"] == {"max_requests_per_1_day": 9}
    assert changed["model_permissions"] == LIMITS["model_permissions"], "what is left out stays"
    later = admin.post(path, {"expires_in_seconds": 7200, "scopes": ["models.read"]})
    assert later["expires_at"] > shown["expires_at"]
    assert later["scopes"] == ["models.read"]
    assert "scopes" not in admin.post(path, {"scopes": []})


def test_an_expired_key_does_not_work_and_cannot_be_changed(admin: Administrator) -> None:
    project = admin.project()
    account = admin.account(project, expires_in_seconds=1)
    eventually(lambda: admin.infers(account["api_key"]["value"]).status_code == 401)
    path = f"projects/{project}/api_keys/{account['api_key']['id']}"
    assert admin.get(path)["id"] == account["api_key"]["id"], "it is listed until it is deleted"
    assert admin.refused(400, "POST", path, {"expires_in_seconds": 60})["code"] == "key_expired"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
        ({"expires_in_seconds": 10**12}, "expires_in_seconds"),
        (
            {"spend_limit": {"threshold_amount": 0, "currency": "USD", "interval": "day"}},
            "spend_limit.threshold_amount",
        ),
        ({"spend_limit": {"threshold_amount": 1, "currency": "EUR", "interval": "day"}}, "spend_limit.currency"),
        ({"spend_limit": {**LIMITS["spend_limit"], "time_zone": "Mars/Olympus"}}, "spend_limit.time_zone"),
        ({"spend_limit": {**LIMITS["spend_limit"], "time_zone": "../etc/passwd"}}, "spend_limit.time_zone"),
        ({"rate_limits": {"max_requests_per_1_minute": -1}}, "rate_limits.max_requests_per_1_minute"),
        ({"rate_limits": {"max_requests_per_minute": 1}}, "rate_limits.max_requests_per_minute"),
        ({"model_permissions": {"mode": "some", "model_ids": []}}, "model_permissions.mode"),
        ({"spend_limits": {}}, "spend_limits"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_and_makes_no_key(
    admin: Administrator, body: dict[str, Any], param: str
) -> None:
    project = admin.project()
    assert admin.refused(400, "POST", f"projects/{project}/service_accounts", {"name": "x", **body})["param"] == param
    assert admin.get(f"projects/{project}/service_accounts")["data"] == []
    assert admin.get(f"projects/{project}/api_keys")["data"] == []


def test_an_administrators_key_administers_until_it_is_deleted_and_never_infers(admin: Administrator) -> None:
    made = admin.post("admin_api_keys", {"name": "on call", "expires_in_seconds": 60})
    assert made["value"].startswith("sk-gw-admin-")
    assert made["expires_at"] == made["created_at"] + 60
    other = Administrator(admin.live, made["value"])
    shown = other.get(f"admin_api_keys/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "value"}
    assert made["id"] in [each for page in other.pages("admin_api_keys", 1, order="desc") for each in page]
    refused = admin.infers(made["value"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert admin.delete(f"admin_api_keys/{made['id']}")["deleted"] is True
    other.refused(401, "GET", "projects")
    admin.refused(404, "GET", f"admin_api_keys/{made['id']}")


def test_administrators_keys_are_listed_in_either_order(admin: Administrator) -> None:
    made = [admin.post("admin_api_keys", {"name": f"a{number}"})["id"] for number in range(3)]
    for order, wanted in (("asc", made), ("desc", made[::-1])):
        seen = [each for page in admin.pages("admin_api_keys", 2, order=order) for each in page]
        assert [each for each in seen if each in made] == wanted


@pytest.mark.parametrize("path", ["projects", "projects/default/api_keys", "spend_limit", "audit_logs", "costs"])
def test_callers_keys_administer_nothing(admin: Administrator, path: str) -> None:
    stored = admin.account(admin.project())["api_key"]["value"]
    for key in (TEST_KEY, stored):
        error = Administrator(admin.live, key).refused(403, "GET", path)
        assert error["message"].startswith("You have insufficient permissions for this operation")
        assert error["code"] == "insufficient_permissions"


def test_a_key_of_a_caller_is_no_administrators_key_and_the_other_way_round(admin: Administrator) -> None:
    caller = admin.account(admin.project())["api_key"]["id"]
    admin.refused(404, "GET", f"admin_api_keys/{caller}")
    admin.refused(404, "DELETE", f"admin_api_keys/{caller}")
    made = admin.post("admin_api_keys", {"name": "x"})["id"]
    admin.refused(404, "GET", f"projects/default/api_keys/{made}")
    admin.refused(404, "DELETE", f"projects/default/api_keys/{made}")
    assert Administrator(admin.live, ADMIN_KEY).get(f"admin_api_keys/{made}")["id"] == made


def test_a_key_is_found_without_its_project(admin: Administrator) -> None:
    owner, projects = "whose-place-nobody-knows", [admin.project() for _ in range(3)]
    made = [admin.account(project, name=owner) for project in projects]
    ids = [each["api_key"]["id"] for each in made]

    def named(name: str, **query: object) -> dict[str, Any]:
        listed: dict[str, Any] = admin.get("../gateway/keys", name=name, **query)
        return listed

    found = named(owner)
    assert [(each["id"], each["project_id"]) for each in found["data"]] == [*zip(ids, projects, strict=True)]
    one = found["data"][1]
    assert one["key"] == admin.get(f"projects/{projects[1]}/api_keys/{ids[1]}")
    assert one["project_name"] == admin.get(f"projects/{projects[1]}")["name"]
    assert [each["id"] for each in named(ids[2])["data"]] == [ids[2]]
    shown = one["key"]["redacted_value"]
    assert ids[1] in {each["id"] for each in named(shown)["data"]}
    first = named(owner, limit=2)
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = named(owner, limit=2, after=first["last_id"])
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[2:], False)
    every = admin.get("../gateway/keys", limit=1000)["data"]
    assert set(ids) <= {each["id"] for each in every}
    admin.delete(f"projects/{projects[0]}/api_keys/{ids[0]}")
    assert [each["id"] for each in named(owner)["data"]] == ids[1:]
    assert named("nobody")["data"] == []
