"""The audit log: every administrative act, with who did it, what was there before and what there is now."""

import asyncio
from typing import Any

import pytest

from tests.support.administration import ADMINISTERED, Administrator
from tests.support.gateway import SharedGateways
from tests.support.servers import migrated_database

pytestmark = pytest.mark.live

MONTH: dict[str, Any] = {"threshold_amount": 5, "currency": "USD", "interval": "month"}
MAIL: dict[str, Any] = {"type": "email", "recipients": ["a@b.example"]}


@pytest.fixture(scope="module", params=["memory", "postgres"])
def admin(request: pytest.FixtureRequest, gateway_for: SharedGateways) -> Administrator:
    """With the store in its memory, and with one that sorts text otherwise."""
    if request.param == "memory":
        return Administrator(gateway_for(**ADMINISTERED))
    url = asyncio.run(migrated_database(request.getfixturevalue("postgres")))
    return Administrator(gateway_for(**{**ADMINISTERED, "STORE_URL": url}))


def acts(admin: Administrator, **query: Any) -> list[dict[str, Any]]:
    """The oldest first."""
    found: list[dict[str, Any]] = admin.get("audit_logs", limit=100, **query)["data"]
    return found[::-1]


def test_every_act_is_recorded_in_the_order_in_which_it_happened(admin: Administrator) -> None:
    project = admin.project("Audited")
    account = admin.account(project)
    key = account["api_key"]["id"]
    admin.post(f"projects/{project}", {"name": "Renamed"})
    admin.post(f"projects/{project}/service_accounts/{account['id']}", {"role": "owner"})
    admin.post(f"projects/{project}/api_keys/{key}", {"rate_limits": {"max_requests_per_1_minute": 1}})
    admin.post(f"projects/{project}/rate_limits/rl-m", {"max_requests_per_1_minute": 2})
    admin.post(f"projects/{project}/spend_limit", MONTH)
    admin.delete(f"projects/{project}/spend_limit")
    alert = admin.post(f"projects/{project}/spend_alerts", {**MONTH, "notification_channel": MAIL})["id"]
    admin.delete(f"projects/{project}/spend_alerts/{alert}")
    admin.post(f"projects/{project}/model_permissions", {"mode": "deny_list", "model_ids": ["m"]})
    admin.delete(f"projects/{project}/model_permissions")
    admin.post(f"projects/{project}/hosted_tool_permissions", {"mcp": {"enabled": True}})
    admin.post(f"projects/{project}/data_retention", {"retention_type": "none"})
    admin.delete(f"projects/{project}/service_accounts/{account['id']}")
    admin.post(f"projects/{project}/archive")
    found = acts(admin, **{"project_ids[]": project})
    assert [each["type"] for each in found] == [
        "project.created", "service_account.created", "api_key.created", "project.updated", "service_account.updated",
        "api_key.updated", "rate_limit.updated", *["project.updated"] * 8, "service_account.deleted",
        "api_key.deleted", "project.archived",
    ]  # fmt: skip
    assert {each["project"]["id"] for each in found} == {project}
    assert {each["actor"]["type"] for each in found} == {"api_key"}
    renamed = found[3]
    assert (renamed["before"]["name"], renamed["after"]["name"]) == ("Audited", "Renamed")
    assert renamed["project.updated"] == {"id": project, "changes_requested": {"title": "Renamed"}}
    limited, unlimited = found[7], found[8]
    assert limited["before"] == {"spend_limit": None}
    assert limited["after"]["spend_limit"]["threshold_amount"] == 5
    assert unlimited["before"] == limited["after"]
    assert unlimited["after"] == {"spend_limit": None}
    assert found[5]["after"]["rate_limits"] == {"max_requests_per_1_minute": 1}


@pytest.mark.parametrize("of", ["organization", "project"])
def test_a_webhooks_password_is_not_in_it(admin: Administrator, of: str) -> None:
    project = admin.project("Hooked")
    path = "spend_alerts" if of == "organization" else f"projects/{project}/spend_alerts"
    channel = {"type": "webhook", "url": "https://user:pass-canary@hooks.example/a?token=token-canary"}
    alert = admin.post(path, {**MONTH, "notification_channel": channel})["id"]
    admin.delete(f"{path}/{alert}")
    reported = str(admin.get("audit_logs", limit=10))
    assert "https://hooks.example/a" in reported
    assert "canary" not in reported


def test_what_changes_nothing_and_what_is_refused_is_no_act(admin: Administrator) -> None:
    project = admin.project("Still")
    admin.post(f"projects/{project}", {"name": "Still"})
    admin.post(f"projects/{project}/hosted_tool_permissions", {})
    admin.delete(f"projects/{project}/model_permissions")
    admin.refused(404, "DELETE", f"projects/{project}/spend_limit")
    admin.refused(400, "POST", f"projects/{project}/spend_limit", {**MONTH, "time_zone": "Nowhere/Here"})
    made = [each["type"] for each in acts(admin, **{"project_ids[]": project})]
    assert made[0] == "project.created"
    assert set(made[1:]) <= {"project.updated"}
    assert len(made) <= 2


def test_an_act_names_the_key_the_address_and_the_program(admin: Administrator) -> None:
    made = admin.post("admin_api_keys", {"name": "robot"})
    robot = Administrator(admin.live, made["value"])
    project = robot.project("By a robot")
    (act,) = acts(admin, **{"actor_ids[]": made["id"]})
    assert act["actor"]["api_key"] == {
        "id": made["id"], "type": "service_account", "service_account": {"id": made["id"], "name": "robot"},
    }  # fmt: skip
    assert act["actor"]["ip_address"] == "127.0.0.1"
    assert act["actor"]["user_agent"].startswith("python-httpx2")
    assert act["project.created"]["id"] == project
    kinds = [each["type"] for each in acts(admin, **{"resource_ids[]": made["id"]})]
    assert kinds == ["tenant.admin_api_key.created"]
    assert made["value"] not in str(acts(admin))


def test_acts_are_filtered_by_kind_time_and_scope(admin: Administrator) -> None:
    project = admin.project("Filtered")
    admin.account(project)
    here = {"project_ids[]": project}
    assert [each["type"] for each in acts(admin, **here, **{"event_types[]": ["api_key.created", "user.added"]})] == [
        "api_key.created"
    ]
    (made,) = acts(admin, **here, **{"event_types[]": "project.created"})
    at = made["effective_at"]
    assert len(acts(admin, **here, **{"effective_at[gte]": at})) == 3
    assert len(acts(admin, **here, **{"effective_at[lte]": at + 5, "effective_at[gt]": at - 1})) == 3
    assert acts(admin, **here, **{"effective_at[lt]": at}) == []
    assert acts(admin, **here, **{"effective_at[gt]": at + 5}) == []
    assert acts(admin, **here, tenant_only="true") == []
    assert acts(admin, **here, **{"actor_emails[]": "a@b.example"}) == []
    admin.post("admin_api_keys", {"name": "x"})
    assert {each["type"].split(".")[0] for each in acts(admin, tenant_only="true")} == {"tenant"}


def test_the_log_has_pages_in_both_directions(admin: Administrator) -> None:
    project = admin.project("Paged")
    for name in "abcd":
        admin.post(f"projects/{project}", {"name": name})
    here = {"project_ids[]": project}
    newest_first = [each["id"] for each in acts(admin, **here)][::-1]
    assert len(newest_first) == 5
    assert list(admin.pages("audit_logs", 2, **here)) == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    page = admin.get("audit_logs", limit=2, before=newest_first[4], **here)
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (newest_first[2:4], True)
    page = admin.get("audit_logs", after=newest_first[0], before=newest_first[3], **here)
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (newest_first[1:3], False)
    assert admin.get("audit_logs", limit=0, **here)["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 101}, "limit"),
        ({"event_types[]": "project.exploded"}, "event_types[0]"),
        ({"effective_at[gt]": "now"}, "effective_at.gt"),
        ({"effective_at[gt]": 10**30}, "effective_at.gt"),
        ({"after": "nobody"}, "after"),
        ({"before": "audit_log_"}, "before"),
    ],
)
def test_a_wrong_filter_is_named(admin: Administrator, query: dict[str, Any], param: str) -> None:
    assert admin.refused(400, "GET", "audit_logs", **query)["param"] == param


def test_a_bound_of_time_that_there_is_not_is_refused_by_its_name(admin: Administrator) -> None:
    error = admin.refused(400, "GET", "audit_logs", **{"effective_at[from]": 1, "effective_at[lt]": 5})
    assert (error["param"], error["code"]) == ("effective_at.from", "unknown_parameter")
