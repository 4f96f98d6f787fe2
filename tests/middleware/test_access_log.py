"""One log record a request."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.client import ask as ask_at, eventually, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, closed_port, running_gateway

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a-private-question"}]}
ID = "of-the-access-log"


def ask(gateway: LiveGateway, key: str = TEST_KEY, **more: Any) -> httpx2.Response:
    path = "/custom/v1/chat/completions?q=1"
    return post(gateway, path, {**CHAT, **more}, key=key, headers={"x-request-id": ID})


def records_of(gateway: LiveGateway) -> list[dict[str, Any]]:
    return [record for record in gateway.records() if record.get("request_id") == ID]


@pytest.fixture(scope="module")
def quiet() -> Iterator[LiveGateway]:
    """Without records of what went well, in front of an upstream that nobody reaches."""
    with closed_port() as port:
        upstream = {"OPENAI_BASE_URL": f"http://{HOST}:{port}/v1", "OPENAI_API_KEY": "sk-canary"}
        with running_gateway(LOG_LEVEL="warning", **upstream) as live:
            yield live


def test_a_record_says_who_asked_what_and_how_it_went_and_nothing_private(gateway: LiveGateway) -> None:
    assert ask(gateway).status_code == 200
    assert ask(gateway, stream=True).status_code == 200
    assert ask(gateway, key="wrong-key-canary").status_code == 401
    eventually(lambda: len(records_of(gateway)) == 3)  # a record leaves at the end of a turn, behind the reply
    whole, streamed, refused = records_of(gateway)
    assert set(whole) >= {"timestamp", "level", "provider", "status_code", "duration_ms"}
    assert whole["method"] == "POST"
    assert whole["path"] == "/custom/v1/chat/completions"
    assert (whole["provider"], whole["status_code"], whole["level"]) == ("custom", 200, "info")
    assert streamed["status_code"] == 200
    assert (refused["status_code"], refused.get("provider")) == (401, None)
    for private in ("a-private-question", TEST_KEY, "wrong-key-canary"):
        assert private not in gateway.log()


def test_a_quieter_level_leaves_the_records_out(quiet: LiveGateway) -> None:
    assert ask(quiet).status_code == 200
    assert records_of(quiet) == []


def test_why_an_upstream_failed_is_in_the_log_under_the_requests_id(quiet: LiveGateway) -> None:
    reply = ask_at(quiet, "m", provider="openai")
    (failed,) = quiet.records("request failed")
    assert reply.status_code == 502
    assert failed["request_id"] == reply.headers["x-request-id"]
    assert failed["code"] == "upstream_unreachable"
    assert "Connect" in failed["detail"]
    assert "sk-canary" not in quiet.log()
