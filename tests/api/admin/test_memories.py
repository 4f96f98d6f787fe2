"""What models have saved, as administrators show and delete it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ai_gateway.accounts.memories import Memories, Owner, Quota
from ai_gateway.accounts.store.sqlite import SqliteStore
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import NO_CERTIFICATES, TIMEOUT_S
from tests.support.command import run_command
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway

pytestmark = pytest.mark.live

OWNERS = (
    *(Owner("key_a", "default"), Owner("key_a", "default", "u1"), Owner("key_a", "other", "u1")),
    *(Owner("key_b", "default", "u1"), Owner("", "default")),
)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveGateway]:
    """A gateway whose store has two memories of each owner."""

    async def fill() -> None:
        store = SqliteStore(tmp_path / "gateway.db")
        await store.open()
        memories = Memories(store, Quota())
        for owner in OWNERS:
            for number in (1, 2):
                await memories.save(owner, f"{owner.key_id}/{owner.project_id}/{owner.user_id} {number}")
        await store.aclose()

    asyncio.run(fill())
    with running_gateway(ADMIN_API_KEY=ADMIN_KEY, ALLOWED_API_KEYS=TEST_KEY, GATEWAY_DATA_DIR=str(tmp_path)) as running:
        yield running


def ask(live: LiveGateway, method: str, key: str = ADMIN_KEY, **query: Any) -> httpx2.Response:
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        url = f"{live.base_url}/v1/gateway/memories"
        return client.request(method, url, headers={"authorization": f"Bearer {key}"}, params=query)


def contents(live: LiveGateway, **query: Any) -> list[str]:
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = ask(live, "GET", limit=3, **query, **after).json()
        found += [each["content"] for each in page["data"]]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


def test_the_memories_of_a_subject_are_shown_and_deleted(live: LiveGateway) -> None:
    assert len(contents(live)) == 10
    assert contents(live, subject="u1", project_id="other") == ["key_a/other/u1 1", "key_a/other/u1 2"]
    one = ask(live, "GET", api_key_id="key_b", limit=1).json()["data"][0]
    assert one | {"id": "", "created_at": 0, "updated_at": 0} == {
        "object": "gateway.memory", "id": "", "project_id": "default", "api_key_id": "key_b", "subject": "u1",
        "created_at": 0, "updated_at": 0, "content": "key_b/default/u1 1",
    }  # fmt: skip
    deleted = ask(live, "DELETE", subject="u1", api_key_id="key_a")
    assert deleted.json() == {"object": "gateway.memories.deleted", "deleted": 4}
    assert sorted(contents(live)) == ["/default/ 1", "/default/ 2", "key_a/default/ 1", "key_a/default/ 2",
                                      "key_b/default/u1 1", "key_b/default/u1 2"]  # fmt: skip
    event = Administrator(live).get("audit_logs", limit=1)["data"][0]
    assert event["type"] == "organization.updated"
    asked = {"memories": {"deleted": 4, "api_key_id": "key_a", "subject": "u1"}}
    assert event["organization.updated"]["changes_requested"] == asked


def test_nobody_but_an_administrator_may_and_nothing_is_deleted_of_everybody(live: LiveGateway) -> None:
    for method in ("GET", "DELETE"):
        assert ask(live, method, key=TEST_KEY, subject="u1").status_code == 403
        assert ask(live, method, key="sk-wrong", subject="u1").status_code == 401
    refused = ask(live, "DELETE")
    assert refused.status_code == 400
    assert "api_key_id, project_id, subject" in refused.json()["error"]["message"]
    assert ask(live, "DELETE", subject="").status_code == 400
    assert len(contents(live)) == 10


def test_the_command_line_exports_and_deletes_on_the_store_of_this_machine(live: LiveGateway, tmp_path: Path) -> None:
    def command(*arguments: str) -> Any:
        return run_command("memories", *arguments, GATEWAY_DATA_DIR=str(tmp_path))

    exported = command("export", "--subject", "u1", "--key", "key_a")
    assert exported.returncode == 0, exported.stderr
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert len(lines) == 4
    assert {line["subject"] for line in lines} == {"u1"}
    assert command("delete").returncode == 2
    deleted = command("delete", "--project", "default")
    assert deleted.stdout == "8 memories were deleted.\n"
    assert sorted(contents(live)) == ["key_a/other/u1 1", "key_a/other/u1 2"]
    unknown = command("export", "--key", "nobody")
    assert unknown.returncode == 1
    assert "found by its id" in unknown.stderr
