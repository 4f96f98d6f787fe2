"""A reload takes over keys, their limits and projects, administrators and prices."""

import os
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import eventually
from tests.support.gateway import LiveGateway, running_gateway

pytestmark = pytest.mark.live

KEY, OTHER = "sk-gw-test-of-alice-0001", "sk-gw-test-of-bob-0002"


class Configured:
    """A gateway whose keys are in gateway.toml."""

    def __init__(self, live: LiveGateway, path: Path) -> None:
        self.live, self.path = live, path
        self.admin = Administrator(live)

    def reload(self, text: str, outcome: str = "configuration reloaded") -> dict[str, Any]:
        before = len(self.live.records(outcome))
        self.path.write_text(text, encoding="utf-8")
        os.kill(self.live.process.pid, signal.SIGHUP)
        eventually(lambda: len(self.live.records(outcome)) > before)
        return self.live.records(outcome)[-1]

    def projects(self, name: str) -> list[Any]:
        found = self.admin.get("projects", limit=100, include_archived="true")["data"]
        return [project for project in found if project["name"] == name]


def table(key: str, name: str = "alice", **more: object) -> str:
    values = {"digest": sha256(key.encode()).hexdigest(), **more}
    lines = [
        f'{field} = "{value}"' if isinstance(value, str) else f"{field} = {value}" for field, value in values.items()
    ]
    return "\n".join([f"[keys.{name}]", *lines, ""])


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    home = tmp_path_factory.mktemp("keys")
    path = home / "gateway.toml"
    path.write_text(table(KEY, project="research"), encoding="utf-8")
    with running_gateway(
        GATEWAY_CONFIG=str(path), GATEWAY_DATA_DIR=str(home / "data"), ADMIN_API_KEY=ADMIN_KEY
    ) as live:
        yield Configured(live, path)


def test_the_project_that_a_key_names_is_made_once_by_the_gateway(configured: Configured) -> None:
    (project,) = configured.projects("research")
    configured.reload(table(KEY, project="research"))
    assert configured.projects("research") == [project]
    (entry,) = configured.admin.get("audit_logs", **{"project_ids[]": project["id"]})["data"]
    assert (entry["type"], entry["actor"]["session"]["user"]["id"]) == ("project.created", "gateway")
    configured.reload(table(KEY, project=project["id"]))
    assert configured.projects(project["id"]) == []


def test_a_new_key_its_limits_and_those_of_its_project_are_taken_over(configured: Configured) -> None:
    assert configured.admin.infers(OTHER).status_code == 401
    configured.reload(table(KEY) + table(OTHER, "bob", project="limited", requests_per_day=2))
    replies = [configured.admin.infers(OTHER) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    configured.reload(table(KEY) + table(OTHER, "bob", project="limited", requests_per_day=50))
    assert configured.admin.infers(OTHER).headers["x-ratelimit-limit-requests"] == "50"
    (project,) = configured.projects("limited")
    configured.admin.post(f"projects/{project['id']}/rate_limits/rl-*", {"max_requests_per_1_minute": 7})
    reply = configured.admin.infers(OTHER)
    assert reply.headers["x-ratelimit-limit-requests"] == "7", "the project's, which is nearer to its end"
    configured.reload(table(KEY) + table(OTHER, "bob", models=["another"]))
    assert configured.admin.infers(OTHER).json()["error"]["code"] == "model_not_allowed"
    configured.reload(table(KEY))
    assert configured.admin.infers(OTHER).status_code == 401


def test_a_key_of_an_archived_project_is_refused_and_its_project_not_made_anew(configured: Configured) -> None:
    configured.reload(table(KEY) + table(OTHER, "bob", project="over"))
    assert configured.admin.infers(OTHER).status_code == 200
    (project,) = configured.projects("over")
    configured.admin.post(f"projects/{project['id']}/archive")
    assert configured.admin.infers(OTHER).status_code == 401
    configured.reload(table(KEY) + table(OTHER, "bob", project="over"))
    assert configured.admin.infers(OTHER).status_code == 401
    assert len(configured.projects("over")) == 1
    warnings = [record["warning"] for record in configured.live.records("configuration")]
    assert any("keys.bob" in warning and "archived" in warning for warning in warnings)


def test_prices_of_the_file_are_taken_over(configured: Configured) -> None:
    tables = table(KEY, spend_limit_cents=100_000, project="priced")
    configured.reload(tables + '[prices."custom/custom-chat"]\ninput = 0\noutput = 0\n')
    assert configured.admin.infers(KEY).headers["x-gateway-cost"] == "0"
    configured.reload(tables + '[prices."custom/custom-chat"]\ninput = 1000\noutput = 1000\n')
    assert float(configured.admin.infers(KEY).headers["x-gateway-cost"]) > 0
    configured.reload(tables + '[prices."custom/custom-chat"]\ninput = 0\noutput = 1000000\n')
    assert configured.admin.infers(KEY).json()["error"]["code"] == "insufficient_quota"


def test_a_reload_with_mistakes_in_keys_changes_nothing(configured: Configured) -> None:
    configured.reload(table(KEY))
    bad = table(KEY) + '[keys."no name"]\nkey_env = "NOWHERE"\n'
    (problem,) = configured.reload(bad, "configuration not reloaded")["problems"]
    assert "keys.no name" in problem
    twice = table(KEY) + table(KEY, "bob")
    (problem,) = configured.reload(twice, "configuration not reloaded")["problems"]
    assert "are the same key" in problem
    assert configured.admin.infers(KEY).status_code == 200
