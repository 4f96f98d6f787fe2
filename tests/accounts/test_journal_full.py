"""Records that cannot go to the store fill the journal: what callers get then, by JOURNAL_FULL, and afterwards."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.administration import ADMIN_KEY
from tests.support.client import CHAT, NO_CERTIFICATES, TIMEOUT_S, body_of, eventually
from tests.support.gateway import TEST_KEY, LiveGateway, in_front_of, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow

# The name of a model is in the journal several times for each call: a hundred calls fill the smallest one.
LONG = "x" * 2_000
MOST = 500
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/lab/v1/chat/completions", body_of(CHAT, "refused#whole")),
    ("/lab/v1/chat/completions", body_of(CHAT, "refused#streamed", stream=True)),
    ("/lab/v1/embeddings", {"model": "refused#embedding", "input": "Hi"}),
    ("/api/chat", {"model": "lab/refused#ollama", "messages": [{"role": "user", "content": "Hi"}]}),
]


@contextmanager
def gateway(upstream: Upstream, data: Path, policy: str) -> Iterator[LiveGateway]:
    with running_gateway(
        **in_front_of(upstream),
        ADMIN_API_KEY=ADMIN_KEY,
        ALLOWED_API_KEYS=TEST_KEY,
        GATEWAY_DATA_DIR=str(data),
        JOURNAL_MAX_SIZE=str(2**20),
        JOURNAL_FULL=policy,
    ) as live:
        yield live


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Nobody else can write the store."""
    with closing(sqlite3.connect(data / "gateway.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def client_of(live: LiveGateway) -> httpx2.Client:
    headers = {"authorization": f"Bearer {TEST_KEY}"}
    return httpx2.Client(
        base_url=live.base_url, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES
    )


def journal(client: httpx2.Client) -> dict[str, Any]:
    """What `/health` says of it."""
    report = client.get("/health").json()
    found: dict[str, Any] = report["accounts"]["journal"]
    assert report["status"] == ("ok" if found["state"] == "ready" else "degraded")
    return found


def records(data: Path) -> int:
    with closing(sqlite3.connect(data / "gateway.db")) as db:
        count: int = db.execute("SELECT COUNT(*) FROM records").fetchone()[0]
    return count


def fill(client: httpx2.Client) -> int:
    """Call until the journal is full. Returns how many calls were made."""
    for number in range(MOST):
        reply = client.post("/lab/v1/chat/completions", json=body_of(CHAT, f"m#{number}{LONG}"))
        if reply.status_code != 200:
            return number
        if number % 20 == 19 and journal(client)["state"] == "full":
            return number + 1
    pytest.fail("the journal is not full")


def test_with_refuse_no_call_is_made_that_could_leave_no_record_and_calls_go_on_afterwards(
    upstream: Upstream, tmp_path: Path
) -> None:
    with gateway(upstream, tmp_path, "refuse") as live, client_of(live) as client:
        with locked(tmp_path):
            made = fill(client)
            asked = len(upstream.requests)
            for path, body in CALLS:
                refused = client.post(path, json=body)
                assert refused.status_code == 503, path
                assert int(refused.headers["retry-after"]) >= 1
                assert "cannot keep records of calls at the moment" in refused.text
                assert "x-should-retry" not in refused.headers or refused.headers["x-should-retry"] == "true"
            assert len(upstream.requests) == asked, "a refused call has reached the upstream"
            assert journal(client)["state"] == "full"
            assert client.get("/v1/models").status_code == 200, "what leaves no record needs no room"
        eventually(lambda: client.post(CALLS[0][0], json=CALLS[0][1]).status_code == 200)
        eventually(lambda: journal(client).items() >= {"state": "ready", "records": 0, "dropped": 0}.items())
        deadline = time.monotonic() + TIMEOUT_S
        while records(tmp_path) < made + 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert records(tmp_path) == len([seen for seen in upstream.requests if seen.path.endswith("completions")])


def test_with_drop_calls_go_on_and_what_still_has_room_in_memory_is_recorded_afterwards(
    upstream: Upstream, tmp_path: Path
) -> None:
    with gateway(upstream, tmp_path, "drop") as live, client_of(live) as client:
        with locked(tmp_path):
            made = fill(client)
            for path, body in CALLS:
                assert client.post(path, json=body).status_code == 200, path
            found = journal(client)
            assert (found["state"], found["dropped"]) == ("full", 0)
            assert "bound of 1048576 bytes" in found["problem"]
        eventually(lambda: records(tmp_path) == made + len(CALLS))
        eventually(lambda: journal(client)["state"] == "ready")
