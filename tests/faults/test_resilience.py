"""An upstream that fails now and then is asked again; one that only fails is left alone; callers always know."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.behaviours import TEXT
from tests.support.client import ask as ask_at, eventually, get
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

QUICK = {"REQUEST_TIMEOUT_S": "3", "BREAKER_PAUSE_S": "3", "BREAKER_THRESHOLD": "6", "LOG_LEVEL": "warning"}


def in_front(upstream: Upstream, **env: str) -> dict[str, str]:
    """One upstream under several names, each of which has a breaker of its own."""
    names = ("OPENAI", *(f"PROVIDER_{name}" for name in ("OTHER", "REFUSING", "STREAMING")))
    return {**{f"{name}_BASE_URL": upstream.url for name in names}, "OPENAI_API_KEY": "k", **QUICK, **env}


@pytest.fixture(scope="module")
def calm(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    """One whose breakers never open."""
    return gateway_for(**in_front(upstream, BREAKER_THRESHOLD="0"))


@pytest.fixture(scope="module")
def guarded(upstream: Upstream) -> Iterator[LiveGateway]:
    """One whose breakers open. They remember, so each test has a provider to itself."""
    with serving(upstream) as live:
        yield live


@contextmanager
def serving(upstream: Upstream, **env: str) -> Iterator[LiveGateway]:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **in_front(upstream, **env)) as live:
        yield live


def ask(live: LiveGateway, model: str, provider: str = "openai", **fields: Any) -> httpx2.Response:
    return ask_at(live, model, provider=provider, **fields)


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
    assert len(upstream.seen(model)) == 3


def test_a_first_answer_says_that_it_is_the_first(calm: LiveGateway) -> None:
    response = ask(calm, "good")
    assert response.json()["choices"][0]["message"]["content"] == TEXT
    assert response.headers["x-gateway-attempts"] == "1"


def test_retries_come_to_an_end(relay: LiveGateway, upstream: Upstream) -> None:
    with serving(upstream, MAX_RETRIES="1") as twice:
        for live, asked in ((relay, 1), (twice, 2)):
            model = f"status-502#{asked}"
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
    assert len(upstream.seen(f"status-{status}#all")) == 3


def refusing(status: int, retry_after: str) -> bytes:
    head = f"HTTP/1.1 {status} No\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    return head.encode()


def test_a_wait_that_the_upstream_asks_for_is_kept_if_it_is_short(calm: LiveGateway, upstream: Upstream) -> None:
    upstream.program("soon", refusing(503, "0.6"))
    assert ask(calm, "soon").status_code == 502
    times = [seen.at for seen in upstream.seen("soon")]
    assert len(times) == 3
    assert all(then - now >= 0.6 for now, then in pairwise(times))


@pytest.mark.parametrize(("status", "reported"), [(503, 502), (429, 429)])
@pytest.mark.parametrize("wait", ["3600", "Wed, 21 Oct 2037 07:28:00 GMT"], ids=["an hour", "a date"])
def test_a_long_wait_is_the_callers_to_keep_and_is_told_as_it_was(
    calm: LiveGateway, upstream: Upstream, status: int, reported: int, wait: str
) -> None:
    model = f"late-{status}-{wait[:3]}"
    upstream.program(model, refusing(status, wait))
    response = ask(calm, model)
    assert (response.status_code, response.headers["retry-after"]) == (reported, wait)
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
    assert ask(calm, "hang-before-headers#deadline").status_code == 504
    assert len(upstream.seen("hang-before-headers#deadline")) == 1


def test_an_upstream_that_only_fails_is_left_alone_until_it_is_back(guarded: LiveGateway, upstream: Upstream) -> None:
    for at in range(2):
        assert ask(guarded, f"status-500#down-{at}").status_code == 502  # three tries each
    refused = ask(guarded, "good#while-open")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 4
    assert refused.headers["x-gateway-provider"] == "openai"
    assert upstream.seen("good#while-open") == []
    assert ask(guarded, "good", provider="other").status_code == 200, "others are not affected"
    states = breakers(guarded)
    assert (states["openai"], states["other"], states["custom"]) == ("open", "closed", "closed")
    eventually(lambda: breakers(guarded)["openai"] == "half-open")
    assert ask(guarded, "good#probe").status_code == 200
    assert breakers(guarded)["openai"] == "closed"


def test_a_model_can_be_judged_by_itself(upstream: Upstream) -> None:
    with serving(upstream, BREAKER_PER_MODEL="true", MAX_RETRIES="0", BREAKER_THRESHOLD="2") as live:
        for _ in range(2):
            ask(live, "status-500#lone")
        assert ask(live, "status-500#lone").status_code == 503
        assert ask(live, "good").status_code == 200


def test_refusals_do_not_open_the_breaker(guarded: LiveGateway) -> None:
    for _ in range(8):
        assert ask(guarded, "status-404", "refusing").status_code == 404
    assert ask(guarded, "good", "refusing").status_code == 200


def test_refusals_in_a_stream_keep_their_status_and_do_not_open_the_breaker(
    guarded: LiveGateway, upstream: Upstream
) -> None:
    for _ in range(8):
        reported = ask(guarded, "stream-refused-first", "streaming", stream=True)
        assert (reported.status_code, reported.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert len(upstream.seen("stream-refused-first")) == 8
    assert ask(guarded, "good", "streaming").status_code == 200


def breakers(live: LiveGateway) -> dict[str, str]:
    report = get(live, "/health").json()
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
        assert times[0] < times[1]
        assert times[1] > 2.4
        assert [ask(live, "sloppy", provider).status_code for provider in ("openai", "slow")] == [502, 200]
