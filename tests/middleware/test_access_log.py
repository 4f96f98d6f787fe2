"""One log record a request."""

import json
from typing import Any

import httpx2

from tests.support.gateway import TEST_KEY, LiveGateway, free_port, running_gateway

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a-private-question"}]}


def records(gateway: LiveGateway) -> list[dict[str, Any]]:
    lines = [line for line in gateway.log().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def ask(gateway: LiveGateway, key: str = TEST_KEY, **body: Any) -> httpx2.Response:
    return httpx2.post(
        f"{gateway.base_url}/custom/v1/chat/completions?q=1",
        json={**CHAT, **body},
        headers={"authorization": f"Bearer {key}", "x-request-id": "my-request"},
    )


def test_a_record_says_who_asked_what_and_how_it_went_and_nothing_private() -> None:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY) as gateway:
        assert ask(gateway).status_code == 200
        assert ask(gateway, stream=True).status_code == 200
        assert ask(gateway, key="wrong-key-canary").status_code == 401
        (whole, streamed, refused) = [each for each in records(gateway) if each["path"] != "/healthz"]
        log = gateway.log()
    assert set(whole) >= {"timestamp", "level", "provider", "status_code", "duration_ms"}
    assert (whole["request_id"], whole["method"]) == ("my-request", "POST")
    assert whole["path"] == "/custom/v1/chat/completions"
    assert (whole["provider"], whole["status_code"], whole["level"]) == ("custom", 200, "info")
    assert streamed["status_code"] == 200
    assert (refused["status_code"], refused.get("provider")) == (401, None)
    for private in ("a-private-question", TEST_KEY, "wrong-key-canary"):
        assert private not in log


def test_a_quieter_level_leaves_the_records_out() -> None:
    with running_gateway(LOG_LEVEL="warning") as gateway:
        assert ask(gateway).status_code == 200
        assert records(gateway) == []


def test_why_an_upstream_failed_is_in_the_log_under_the_requests_id() -> None:
    closed = f"http://127.0.0.1:{free_port()}/v1"
    with running_gateway(OPENAI_BASE_URL=closed, OPENAI_API_KEY="sk-canary") as gateway:
        reply = httpx2.post(f"{gateway.base_url}/openai/v1/chat/completions", json=CHAT)
        (failed,) = [each for each in records(gateway) if each["event"] == "request failed"]
        log = gateway.log()
    assert reply.status_code == 502
    assert failed["request_id"] == reply.headers["x-request-id"]
    assert failed["code"] == "upstream_unreachable"
    assert "Connect" in failed["detail"]
    assert "sk-canary" not in log
