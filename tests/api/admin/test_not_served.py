"""What the official API has and a gateway has not says so, and what cannot be done now says when."""

import sqlite3
from pathlib import Path

import pytest

from tests.support.administration import ADMINISTERED, Administrator
from tests.support.client import get
from tests.support.gateway import LiveGateway, SharedGateways, running_gateway

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("GET", "users", "users"),
        ("POST", "users/u/roles", "roles"),
        ("GET", "roles", "roles"),
        ("GET", "groups", "groups"),
        ("GET", "invites", "invites"),
        ("POST", "certificates/activate", "certificates"),
        ("GET", "projects/default/users", "users"),
        ("DELETE", "projects/default/users/u", "users"),
        ("GET", "projects/default/groups", "groups"),
        ("GET", "projects/default/certificates", "certificates"),
        ("GET", "external_keys", "external keys"),
        ("GET", "workload_identity_providers/p/federation_rules", "workload identity providers"),
        ("GET", "usage/vector_stores", "such operation"),
    ],
)
def test_what_is_not_served_is_a_404_that_says_so(admin: Administrator, method: str, path: str, what: str) -> None:
    error = admin.refused(404, method, path)
    assert f"This gateway has no {what}" in error["message"]
    assert error["code"] == "not_found"


def test_roles_of_projects_are_not_served_either(admin: Administrator) -> None:
    reply = get(admin.live, "/v1/projects/default/roles")
    assert reply.status_code == 404
    assert "This gateway has no roles" in reply.json()["error"]["message"]


def test_a_method_that_a_path_does_not_take_names_those_that_it_does(admin: Administrator) -> None:
    reply = admin.send("PUT", "projects/default")
    assert reply.status_code == 405
    assert set(reply.headers["allow"].split(", ")) >= {"GET", "POST"}


def test_without_a_store_nothing_is_administered_and_the_contract_has_nothing_of_it(
    gateway_for: SharedGateways,
) -> None:
    live: LiveGateway = gateway_for(STORE_URL="off")
    reply = get(live, "/v1/organization/projects")
    assert reply.status_code == 404
    assert "STORE_URL" in reply.json()["error"]["message"]
    contract = get(live, "/openapi.json").text
    assert "/v1/organization" not in contract
    assert "AdminApiKeyAuth" not in contract
    assert "SpendAlert" not in contract


def test_a_store_that_takes_no_writes_is_a_503_that_says_when_to_try_again(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with running_gateway(**ADMINISTERED | {"STORE_URL": f"sqlite:///{path}"}) as live:
        admin = Administrator(live)
        project = admin.project("Locked")
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            reply = admin.send("POST", f"projects/{project}", {"name": "Never"})
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert "store" in reply.json()["error"]["message"]
            assert admin.get(f"projects/{project}")["name"] == "Locked", "what is there is still shown"
            other.execute("ROLLBACK")
        other.close()
        assert admin.post(f"projects/{project}", {"name": "Again"})["name"] == "Again"


def test_what_was_made_is_there_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("store")
    settings = ADMINISTERED | {"STORE_URL": f"sqlite:///{place}/gateway.db", "GATEWAY_DATA_DIR": str(place)}
    with running_gateway(**settings) as live:
        admin = Administrator(live)
        project = admin.project("Lasting")
        account = admin.account(project, spend_limit={"threshold_amount": 9, "currency": "USD", "interval": "total"})
        keys = admin.get(f"projects/{project}/api_keys")
        acts = admin.get("audit_logs")
    with running_gateway(**settings) as live:
        admin = Administrator(live)
        assert admin.get(f"projects/{project}")["name"] == "Lasting"
        assert admin.get(f"projects/{project}/api_keys") == keys
        assert admin.get("audit_logs") == acts
        assert admin.infers(account["api_key"]["value"]).status_code != 401
