"""An upstream that fails now and then is asked again; one that only fails is left alone; callers always know."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.behaviours import TEXT, behave, good
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Exchange, Upstream, running_upstream

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
QUICK = {"REQUEST_TIMEOUT_S": "3", "BREAKER_PAUSE_S": "1", "BREAKER_THRESHOLD": "6", "LOG_LEVEL": "warning"}


async def flaky(exchange: Exchange) -> None:
    """`flaky-N-<behaviour>` behaves so N times, and well from then on; every other name is as always."""
    name = exchange.seen.model.partition("#")[0]
    if not name.startswith("flaky-"):
        return await behave(exchange)
    _, times, how = name.split("-", 2)
    if len(SEEN.setdefault(exchange.seen.model, [])) >= int(times):
        return await good(exchange)
    SEEN[exchange.seen.model].append(time.monotonic())
    exchange.seen.body = exchange.seen.body.replace(exchange.seen.model.encode(), how.encode())
    return await behave(exchange)


SEEN: dict[str, list[float]] = {}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(flaky) as running:
        yield running


@pytest.fixture(scope="module")
def calm(upstream: Upstream) -> Iterator[LiveGateway]:
    """One whose breakers never open."""
    with serving(upstream, BREAKER_THRESHOLD="0") as running:
        yield running


@pytest.fixture
def live(upstream: Upstream) -> Iterator[LiveGateway]:
    """A fresh one for each test: breakers remember."""
    with serving(upstream) as running:
        yield running


def serving(upstream: Upstream, **env: str) -> Any:
    settings = {"ALLOWED_API_KEYS": TEST_KEY, "OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "k", **QUICK, **env}
    other = {"PROVIDER_OTHER_BASE_URL": upstream.url}
    return running_gateway(**settings, **other)


def ask(live: LiveGateway, model: str, provider: str = "openai", **fields: Any) -> httpx2.Response:
    with httpx2.Client(timeout=15, trust_env=False) as client:
        return client.post(
            f"{live.base_url}/{provider}/v1/chat/completions",
            json={"model": model, **CHAT, **fields},
            headers={"authorization": f"Bearer {TEST_KEY}"},
        )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "how", ["status-500", "status-503", "status-529", "close-at-once", "reset-at-once", "status-408"]
)
def test_a_failure_that_passes_is_not_seen_by_the_caller(
    calm: LiveGateway, upstream: Upstream, how: str, stream: bool
) -> None:
    model = f"flaky-2-{how}#{stream}"
    response = ask(calm, model, stream=stream)
    assert response.status_code == 200, response.text
    assert "Gr" in response.text
    assert response.headers["x-gateway-attempts"] == "3"
    assert len(upstream.seen(model)) + len(upstream.seen(how)) >= 3


def test_a_first_answer_says_that_it_is_the_first(calm: LiveGateway) -> None:
    response = ask(calm, "good")
    assert response.json()["choices"][0]["message"]["content"] == TEXT
    assert response.headers["x-gateway-attempts"] == "1"


@pytest.mark.parametrize(("retries", "asked"), [("0", 1), ("1", 2), ("2", 3)])
def test_retries_come_to_an_end(upstream: Upstream, retries: str, asked: int) -> None:
    model = f"status-502#{retries}"
    with serving(upstream, MAX_RETRIES=retries) as live:
        response = ask(live, model)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")
    assert len(upstream.seen(model)) == asked
    assert response.headers["x-gateway-attempts"] == str(asked)


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_every_failure_of_an_upstream_is_tried_three_times_and_is_a_502_then(
    calm: LiveGateway, upstream: Upstream, status: int
) -> None:
    response = ask(calm, f"status-{status}#all", stream=status == 503)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")
    times = [seen.at for seen in upstream.seen(f"status-{status}#all")]
    assert len(times) == 3
    assert times[1] - times[0] < 0.5 + 0.2, "the first pause is drawn from half a second"
    assert times[2] - times[1] < 1 + 0.2, "the second from one"


def refusing(status: int, retry_after: str) -> bytes:
    head = f"HTTP/1.1 {status} No\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    return head.encode()


def test_a_wait_that_the_upstream_asks_for_is_kept_if_it_is_short(calm: LiveGateway, upstream: Upstream) -> None:
    upstream.program("soon", refusing(503, "0.6"))
    assert ask(calm, "soon").status_code == 502
    times = [seen.at for seen in upstream.seen("soon")]
    assert len(times) == 3
    assert all(0.6 <= then - now < 1 for now, then in pairwise(times))


@pytest.mark.parametrize(("status", "told"), [(503, 502), (429, 429)])
@pytest.mark.parametrize("wait", ["3600", "Wed, 21 Oct 2037 07:28:00 GMT"], ids=["an hour", "a date"])
def test_a_long_wait_is_the_callers_to_keep_and_is_told_as_it_was(
    calm: LiveGateway, upstream: Upstream, status: int, told: int, wait: str
) -> None:
    model = f"late-{status}-{wait[:3]}"
    upstream.program(model, refusing(status, wait))
    response = ask(calm, model)
    assert (response.status_code, response.headers["retry-after"]) == (told, wait)
    if wait.isdecimal() or status == 429:
        assert len(upstream.seen(model)) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 429])
def test_what_a_second_try_cannot_change_is_asked_once(calm: LiveGateway, upstream: Upstream, status: int) -> None:
    model = f"status-{status}#once"
    ask(calm, model)
    assert len(upstream.seen(model)) == 1


def test_rate_limits_are_waited_out_if_configured_and_short_enough(upstream: Upstream) -> None:
    with serving(upstream, RETRY_REFUSALS="429", RETRY_AFTER_MAX_S="1") as live:
        response = ask(live, "status-429#wait")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert len(upstream.seen("status-429#wait")) == 1


def test_nothing_is_asked_again_after_the_first_byte(calm: LiveGateway, upstream: Upstream) -> None:
    response = ask(calm, "stream-cut#late", stream=True)
    assert "upstream_stream_truncated" in response.text
    assert response.headers["x-gateway-attempts"] == "1"
    assert len(upstream.seen("stream-cut#late")) == 1


def test_silence_is_not_asked_again_beyond_the_deadline(calm: LiveGateway, upstream: Upstream) -> None:
    started = time.monotonic()
    response = ask(calm, "hang-before-headers#deadline")
    assert response.status_code == 504
    assert time.monotonic() - started < 4.5
    assert len(upstream.seen("hang-before-headers#deadline")) == 1


def test_an_upstream_that_only_fails_is_left_alone_until_it_is_back(live: LiveGateway, upstream: Upstream) -> None:
    for at in range(2):
        assert ask(live, f"status-500#down-{at}").status_code == 502  # three tries each
    started = time.monotonic()
    refused = ask(live, "good#while-open")
    assert time.monotonic() - started < 0.5
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert refused.headers["x-gateway-provider"] == "openai"
    assert upstream.seen("good#while-open") == []
    assert ask(live, "good", provider="other").status_code == 200, "others are not affected"
    assert breakers(live) == {"openai": "open", "other": "closed", "custom": "closed"}
    time.sleep(1.1)
    assert breakers(live)["openai"] == "half-open"
    assert ask(live, "good#probe").status_code == 200
    assert breakers(live)["openai"] == "closed"


def test_a_model_can_be_judged_by_itself(upstream: Upstream) -> None:
    with serving(upstream, BREAKER_PER_MODEL="true", MAX_RETRIES="0", BREAKER_THRESHOLD="2") as live:
        for _ in range(2):
            ask(live, "status-500#lone")
        assert ask(live, "status-500#lone").status_code == 503
        assert ask(live, "good").status_code == 200


def test_refusals_do_not_open_the_breaker(live: LiveGateway) -> None:
    for _ in range(8):
        assert ask(live, "status-404").status_code == 404
    assert ask(live, "good").status_code == 200


def test_refusals_in_a_stream_keep_their_status_and_do_not_open_the_breaker(
    live: LiveGateway, upstream: Upstream
) -> None:
    for _ in range(8):
        told = ask(live, "stream-refused-first", stream=True)
        assert (told.status_code, told.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert len(upstream.seen("stream-refused-first")) == 8
    assert ask(live, "good").status_code == 200


def breakers(live: LiveGateway) -> dict[str, str]:
    with httpx2.Client(trust_env=False) as client:
        report = client.get(f"{live.base_url}/health", headers={"authorization": f"Bearer {TEST_KEY}"}).json()
    assert report["status"] == ("degraded" if any(one["breaker"] == "open" for one in report["providers"]) else "ok")
    return {one["name"]: one["breaker"] for one in report["providers"]}


def test_each_provider_can_have_times_and_conformance_of_its_own(tmp_path: Path, upstream: Upstream) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[providers.openai]\nrequest_timeout_s = 0.5\nconformance = "enforce"\n'
        f'[providers.slow]\nbase_url = "{upstream.url}"\nrequest_timeout_s = 2.5\n',
        encoding="utf-8",
    )
    with serving(upstream, GATEWAY_CONFIG=str(config)) as live:
        times = []
        for provider in ("openai", "slow"):
            started = time.monotonic()
            assert ask(live, "hang-before-headers#own", provider).status_code == 504
            times.append(time.monotonic() - started)
        assert times[0] < 2 < times[1] < 4.5
        assert [ask(live, "sloppy", provider).status_code for provider in ("openai", "slow")] == [502, 200]
