"""Two hundred conversations at once, with three tools each, while some of everything fails: nobody gets another's."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.support.client import NO_CERTIFICATES, eventually, get
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways
from tests.support.upstream import Upstream
from tests.tools.asking import SEARCH, added_up
from tests.tools.scripted import SCRIPTS, Says, search

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

CONVERSATIONS, ROUNDS = 200, 2
FAILS_EVERY, LEAVES_EVERY, BREAKS_EVERY = 5, 7, 11


@pytest.fixture(scope="module")
def busy(gateway_for: SharedGateways, model: Upstream) -> LiveGateway:
    return gateway_for(
        PROVIDER_LAB_BASE_URL=model.url,
        TOOL_WEB_SEARCH="custom",
        TOOL_TIMEOUT_S="60",
        STORE_URL="memory",
        **ONE_ATTEMPT,
    )


def script_of(number: int) -> list[Says]:
    """Two rounds of three searches each, of which one may fail, and an answer, or an error in its place."""
    rounds = []
    for at in range(ROUNDS):
        words = [f"c{number}-r{at}-{tool}" for tool in range(3)]
        if number % FAILS_EVERY == 0:
            words[at] += " search-fails"
        rounds.append(Says(f"<{number}.{at}>", tuple(search(each) for each in words)))
    return [*rounds, Says(f"<{number}.end>", status=500 if number % BREAKS_EVERY == 0 else 200)]


def body_of(number: int) -> dict[str, Any]:
    name = f"talk-{number}"
    SCRIPTS[name] = script_of(number)
    stream = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
    return {"model": name, "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH], **stream}


async def talk(client: httpx2.AsyncClient, number: int) -> dict[str, Any] | None:
    """The reply, as it adds up if it is a stream; None where there is an error, or nobody stayed for it."""
    async with client.stream("POST", "/lab/v1/chat/completions", json=body_of(number)) as reply:
        if number % LEAVES_EVERY == 0:
            async for _ in reply.aiter_raw():
                break
            return None
        raw = await reply.aread()
    if number % 2 == 0:
        value: dict[str, Any] = json.loads(raw)
        return value if reply.status_code == 200 else None
    events = [line.removeprefix("data: ") for line in raw.decode().splitlines() if line.startswith("data: ")]
    return added_up([json.loads(event) for event in events[:-1]]) if events[-1] == "[DONE]" else None


def check(number: int, reply: dict[str, Any]) -> None:
    message = reply["choices"][0]["message"]
    assert message["content"] == f"<{number}.0><{number}.1><{number}.end>"
    runs = sorted(message["gateway_tool_calls"], key=lambda run: run["index"])
    assert len(runs) == 3 * ROUNDS
    for place, run in enumerate(runs):
        at, tool = divmod(place, 3)
        query = json.loads(run["function"]["arguments"])["query"]
        assert query.startswith(f"c{number}-r{at}-{tool}")
        assert run["status"] == ("failed" if "search-fails" in query else "completed")
        if run["status"] == "completed":
            assert f"Results for: {query}\n" in run["result"]["content"]
    assert reply["usage"]["total_tokens"] == 15 * (ROUNDS + 1)


async def test_conversations_do_not_mix_and_leave_nothing_behind(busy: LiveGateway) -> None:
    limits = httpx2.Limits(max_connections=CONVERSATIONS)
    headers = {"authorization": f"Bearer {TEST_KEY}"}
    async with httpx2.AsyncClient(
        base_url=busy.base_url, headers=headers, timeout=240, trust_env=False, verify=NO_CERTIFICATES, limits=limits
    ) as client:
        replies = await asyncio.gather(*(talk(client, number) for number in range(1, CONVERSATIONS + 1)))
    answered = 0
    for number, reply in enumerate(replies, 1):
        if number % LEAVES_EVERY == 0 or number % BREAKS_EVERY == 0:
            assert reply is None
        else:
            assert reply is not None, number
            check(number, reply)
            answered += 1
    assert answered == sum(1 for n in range(1, CONVERSATIONS + 1) if n % LEAVES_EVERY and n % BREAKS_EVERY)
    await nothing_is_left(busy)


async def nothing_is_left(live: LiveGateway) -> None:
    """No place at the provider and no request is held any more."""
    held = {"lab": 0.0, "": 0.0}
    await asyncio.to_thread(eventually, lambda: in_flight(get(live, "/metrics").text) == held)


def in_flight(metrics: str) -> dict[str, float]:
    """The gauges of requests in flight: of all, and at the provider."""
    found = {}
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name == 'ai_gateway_upstream_requests_in_flight{provider="lab"}':
            found["lab"] = float(value)
        elif name == "ai_gateway_requests_in_flight":
            found[""] = float(value)
    return found
