"""Projects: made, renamed, listed in pages, archived for good."""

from typing import Any

import pytest

from tests.support.administration import Administrator

pytestmark = pytest.mark.live


def test_a_project_is_made_shown_and_renamed(admin: Administrator) -> None:
    made = admin.post("projects", {"name": "Research", "external_key_id": "k", "geography": "moon"})
    assert made.items() >= {
        "object": "organization.project", "name": "Research", "status": "active", "archived_at": None,
        "external_key_id": "k", "geography": "moon",
    }.items()  # fmt: skip
    assert admin.get(f"projects/{made['id']}") == made
    renamed = admin.post(f"projects/{made['id']}", {"name": "Search", "external_key_id": None})
    assert renamed == {name: value for name, value in made.items() if name != "external_key_id"} | {"name": "Search"}
    assert admin.post(f"projects/{made['id']}", {"name": None}) == renamed, "null leaves a name as it is"


def test_the_default_project_is_there_and_stays(admin: Administrator) -> None:
    assert admin.get("projects/default")["name"] == "Default"
    assert admin.refused(400, "POST", "projects/default/archive")["code"] == "default_project"


def test_an_archived_project_is_listed_only_if_asked_for_and_cannot_be_changed(admin: Administrator) -> None:
    project = admin.project()
    archived = admin.post(f"projects/{project}/archive")
    assert (archived["status"], archived["archived_at"] is None) == ("archived", False)
    assert admin.post(f"projects/{project}/archive") == archived, "to archive it again is to archive it"
    assert admin.get(f"projects/{project}") == archived
    assert project not in [each for page in admin.pages("projects", 100) for each in page]
    assert project in [each for page in admin.pages("projects", 100, include_archived="true") for each in page]
    month: Any = {"threshold_amount": 1, "currency": "USD", "interval": "month"}
    for path, body in {
        "": {"name": "other"},
        "/service_accounts": {"name": "late"},
        "/rate_limits/rl-*": {},
        "/spend_limit": month,
        "/spend_alerts": {**month, "notification_channel": {"type": "email", "recipients": ["a@b.example"]}},
        "/model_permissions": {"mode": "deny_list", "model_ids": []},
        "/hosted_tool_permissions": {},
        "/data_retention": {"retention_type": "none"},
    }.items():
        assert admin.refused(400, "POST", f"projects/{project}{path}", body)["code"] == "project_archived", path


def test_the_keys_of_an_archived_project_stop_working_at_once(admin: Administrator) -> None:
    project = admin.project()
    key = admin.account(project)["api_key"]["value"]
    assert admin.infers(key).status_code == 200
    admin.post(f"projects/{project}/archive")
    assert admin.infers(key).status_code == 401
    (listed,) = admin.get(f"projects/{project}/api_keys")["data"]
    assert listed["owner_project_access"] == "inactive"


def test_pages_are_in_the_order_of_creation_and_survive_what_is_archived_between_them(admin: Administrator) -> None:
    made = [admin.project(f"p{number}") for number in range(5)]
    seen: list[str] = []
    for page in admin.pages("projects", 2):
        seen += page
        for project in set(page) & set(made):
            admin.post(f"projects/{project}/archive")
    assert [each for each in seen if each in made] == made


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 101}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"after": "proj_nowhere"}, "after"),
        ({"include_archived": "perhaps"}, "include_archived"),
    ],
)
def test_a_wrong_parameter_of_a_list_is_named(admin: Administrator, query: dict[str, Any], param: str) -> None:
    assert admin.refused(400, "GET", "projects", **query)["param"] == param


def test_a_misspelt_parameter_is_told_the_right_one(admin: Administrator) -> None:
    assert admin.refused(400, "GET", "projects", limt=3)["message"].endswith("'limt'. Did you mean 'limit'?")
    body = {"name": "x", "external_key": "y", "nme": "z"}
    assert "Unknown parameter: '" in admin.refused(400, "POST", "projects", body)["message"]
    assert "Did you mean 'name'?" in admin.refused(400, "POST", "projects", {"name": "x", "nme": "z"})["message"]


@pytest.mark.parametrize(
    "path",
    [
        "projects",
        "admin_api_keys",
        "audit_logs",
        "spend_alerts",
        "projects/default/api_keys",
        "projects/default/service_accounts",
        "projects/default/rate_limits",
        "projects/default/spend_alerts",
    ],
)
def test_a_page_of_nothing_leads_nowhere(admin: Administrator, path: str) -> None:
    """A client that goes from page to page would never end."""
    admin.account(admin.project())
    page = admin.get(path, limit=0)
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x", "residency": "EU_STORAGE_PROCESSING"}, "residency"),
        ({"name": "x", "budget": 5}, "budget"),
    ],
)
def test_what_a_gateway_cannot_keep_is_refused_with_its_name(
    admin: Administrator, body: dict[str, Any], param: str
) -> None:
    assert admin.refused(400, "POST", "projects", body)["param"] == param


@pytest.mark.parametrize("identifier", ["nothing", "proj_'; DROP TABLE entities; --", "../default", "%00", "*", "ä"])
def test_an_id_of_nothing_is_a_404_whatever_it_says(admin: Administrator, identifier: str) -> None:
    reply = admin.send("GET", f"projects/{identifier}")
    assert reply.status_code in {400, 404}, reply.text
    assert admin.get("projects/default")["id"] == "default"
