"""What `/health` knows of each provider, and what a deep check asks."""

import socket
from typing import Any

import httpx2
import pytest

from tests.support.application import running_application
from tests.support.gateway import HOST
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

ASK = [{"role": "user", "content": "Hello"}]
SECRET = "sk-canary-12345678"


async def provider(http: httpx2.AsyncClient, name: str, query: str = "", **headers: str) -> dict[str, Any]:
    report = (await http.get(f"/health{query}", headers=headers)).json()
    return next(each for each in report["providers"] if each["name"] == name)


def of(upstream: Upstream, **env: str) -> dict[str, str]:
    return {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": SECRET, "MAX_RETRIES": "0", "STORE_URL": "off", **env}


async def test_a_deep_check_asks_each_provider_now(upstream: Upstream) -> None:
    before = len(upstream.seen("models-list"))
    async with running_application(**of(upstream)) as http:
        first = await provider(http, "openai", "?deep=true")
        again = await provider(http, "openai", "?deep=true")
    assert (first["state"], "last_error" in first) == ("ready", False)
    assert first["latency_s"] >= 0
    assert again["last_success_at"] >= first["last_success_at"] > 1_700_000_000
    assert len(upstream.seen("models-list")) == before + 2


async def test_an_error_is_told_as_callers_are_told_it_and_a_success_does_not_hide_it(upstream: Upstream) -> None:
    body = f'{{"error": {{"message": "bad key {SECRET}"}}}}'.encode()
    head = f"HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    upstream.program("models-list", head + body)
    async with running_application(**of(upstream)) as http:
        failed = await provider(http, "openai", "?deep=true")
        assert failed["state"] == "unreachable"
        assert failed["last_error"]["code"] == "upstream_auth_error"
        assert failed["last_error"]["at"] > 1_700_000_000
        assert SECRET not in str(failed)
        assert "last_success_at" not in failed
        upstream.forget()
        mended = await provider(http, "openai", "?deep=true")
    assert mended["state"] == "ready"
    assert mended["last_error"] == failed["last_error"]
    assert mended["last_success_at"] >= failed["last_error"]["at"]


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_tell_of_a_provider_as_well(upstream: Upstream, stream: bool) -> None:
    async with running_application(**of(upstream)) as http:
        found: dict[str, Any] = {}
        for model in ("status-500", "good", "status-400"):
            body = {"model": model, "messages": ASK, "stream": stream}
            reply = await http.post("/openai/v1/chat/completions", json=body)
            assert (reply.status_code == 200) is (model == "good")
            if model == "good":
                found = await provider(http, "openai")
        assert found["last_error"]["message"]
        assert found["last_success_at"] >= found["last_error"]["at"]
        last = await provider(http, "openai")
    assert last["last_error"] == found["last_error"], "what a caller got wrong is no error of the provider"


async def test_a_provider_that_hangs_costs_a_deep_check_its_time_and_no_more() -> None:
    with socket.create_server((HOST, 0)) as silent:
        address = f"http://{HOST}:{silent.getsockname()[1]}/v1"
        env = {"VLLM_BASE_URL": address, "HEALTH_CHECK_TIMEOUT": "0.2", "STORE_URL": "off"}
        async with running_application(**env) as http:
            found = await provider(http, "vllm", "?deep=true")
            assert (await provider(http, "custom"))["state"] == "ready"
    assert (found["state"], found["last_error"]["code"]) == ("unreachable", "upstream_timeout")


async def test_a_deep_check_is_for_those_who_are_shown_details(upstream: Upstream) -> None:
    before = len(upstream.seen("models-list"))
    async with running_application(**of(upstream), ALLOWED_API_KEYS="sk-mine") as http:
        refused = await http.get("/health?deep=true")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "missing_api_key")
        assert len(upstream.seen("models-list")) == before
        assert (await provider(http, "openai", "?deep=true", authorization="Bearer sk-mine"))["state"] == "ready"
        odd = await http.get("/health?deep=perhaps", headers={"authorization": "Bearer sk-mine"})
    assert (odd.status_code, odd.json()["error"]["param"]) == (400, "deep")


async def test_readiness_does_not_depend_on_providers() -> None:
    async with running_application(VLLM_BASE_URL="http://127.0.0.1:9/v1", STORE_URL="off") as http:
        report = (await http.get("/health?deep=true")).json()
        assert report["status"] == "degraded"
        assert (await http.get("/ready")).status_code == 200
