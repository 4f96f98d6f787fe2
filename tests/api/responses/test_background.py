"""Responses that are made in the background: polled, cancelled, billed once, and failed when their gateway is gone."""

import asyncio
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.administration import ADMIN_KEY, ADMINISTERED, Administrator
from tests.support.background import ended
from tests.support.behaviours import behave as well_behaved
from tests.support.client import client_of, eventually, get, post
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.slow

SETTINGS = {**ADMINISTERED, "ALLOWED_API_KEYS": TEST_KEY}


def start(live: LiveGateway, path: str, model: str) -> str:
    reply = post(live, f"{path}/responses", {"model": model, "input": "x", "background": True})
    assert reply.status_code == 200, reply.text
    assert (reply.json()["status"], reply.json()["background"]) == ("queued", True)
    identifier: str = reply.json()["id"]
    return identifier


def records(live: LiveGateway) -> list[dict[str, Any]]:
    """The calls of createResponse that are on record, once there are any and have been all for a while."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        everything = Administrator(live, ADMIN_KEY).send("GET", "../gateway/requests").json()["data"]
        found[:] = [each for each in everything if each["operation"] == "createResponse"]
        return bool(found)

    eventually(look)
    time.sleep(1.5)
    look()
    return found


def test_why_a_response_in_the_background_cannot_be_stored_is_said() -> None:
    body: dict[str, Any] = {"model": "custom-chat", "input": "x", "background": True}
    with running_gateway(**SETTINGS) as live:
        refused = post(live, "/custom/v1/responses", {**body, "store": False})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "background")
        assert "`store` is false: leave `background` out" in refused.json()["error"]["message"]
        Administrator(live, ADMIN_KEY).post("data_retention", {"retention_type": "zero_data_retention"})
        refused = post(live, "/custom/v1/responses", body)
        assert refused.status_code == 400
        assert "nothing is stored for this caller (RESPONSES_KEEP_DAYS, data retention)" in refused.text


def test_a_response_in_the_background_is_completed_and_billed_once() -> None:
    with running_gateway(**SETTINGS) as live:
        response = ended(live, start(live, "/custom/v1", "custom-chat"))
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["text"]
        assert len(records(live)) == 1


def test_one_that_is_cancelled_ends_its_call_upstream(upstream: Upstream) -> None:
    with running_gateway(**SETTINGS, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        response_id = start(live, "/lab/v1", "hang-before-headers#cancelled")
        seen = upstream.last("hang-before-headers#cancelled")
        cancelled = post(live, f"/v1/responses/{response_id}/cancel", None).json()
        assert cancelled["status"] == "cancelled"
        assert seen.gone.wait(20)
        assert ended(live, response_id) == cancelled
        assert post(live, f"/v1/responses/{response_id}/cancel", None).json() == cancelled
        assert len(records(live)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_its_body_counts_for_the_memory_of_all_requests_until_it_is_over(upstream: Upstream, stream: bool) -> None:
    def used(live: LiveGateway) -> float:
        lines = get(live, "/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("ai_gateway_body_budget_bytes ")).split()[1])

    with running_gateway(**SETTINGS, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        model = f"hang-before-headers#memory-{stream}"
        body = {"model": model, "input": "x" * 200_000, "background": True, "stream": stream}
        with client_of(live) as client, client.stream("POST", "/lab/v1/responses", json=body) as reply:
            first = next(reply.iter_text())
        response_id = first.partition('"id":"')[2].partition('"')[0]
        upstream.last(model)
        assert used(live) >= 200_000
        assert post(live, f"/v1/responses/{response_id}/cancel", None).json()["status"] == "cancelled"
        eventually(lambda: used(live) == 0)


def test_one_that_ends_while_the_store_is_locked_is_there_when_it_is_free(tmp_path: Path) -> None:
    ending = threading.Event()

    async def behave(exchange: Exchange) -> None:
        await asyncio.to_thread(ending.wait, 60)
        await well_behaved(exchange)

    settings = {**SETTINGS, "STORE_URL": f"sqlite:///{tmp_path}/s.db"}
    with running_upstream(behave) as upstream, running_gateway(**settings, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        response_id = start(live, "/lab/v1", "good#locked")
        upstream.last("good#locked")
        with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ending.set()
            eventually(lambda: bool(live.records("response not stored yet")), within=90)
            # It was not possible to renew its lease for so long that another maker would be taken for dead.
            other.execute("UPDATE responses SET lease = 1")
            other.execute("COMMIT")
        response = ended(live, response_id)
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["text"]
        assert len(records(live)) == 1


def test_one_that_fails_says_why(upstream: Upstream) -> None:
    with running_gateway(**SETTINGS, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        response = ended(live, start(live, "/lab/v1", "status-429"))
        assert (response["status"], response["error"]["code"]) == ("failed", "rate_limit_exceeded")


def test_one_whose_gateway_is_gone_has_failed(upstream: Upstream, tmp_path: Path) -> None:
    """Its lease has to run out first: of both endings at once."""
    left: dict[signal.Signals, str] = {}
    settings: dict[signal.Signals, dict[str, str]] = {}
    for ending in (signal.SIGTERM, signal.SIGKILL):
        store = {"STORE_URL": f"sqlite:///{tmp_path}/{ending.name}.db"}
        settings[ending] = {**SETTINGS, **store, "PROVIDER_LAB_BASE_URL": upstream.url}
        model = f"hang-before-headers#{ending.name}"
        with running_gateway(**settings[ending], GRACE_PERIOD_S="1") as live:
            left[ending] = start(live, "/lab/v1", model)
            upstream.last(model)
            live.process.send_signal(ending)
            live.process.wait(30)
    for ending, response_id in left.items():
        with running_gateway(**settings[ending]) as live:
            response = ended(live, response_id)
            assert (response["status"], response["error"]["code"]) == ("failed", "server_error"), ending
