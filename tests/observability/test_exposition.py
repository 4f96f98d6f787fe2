"""What Prometheus gets: of one worker and of several, and no more series than there are things to count."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx2
import psutil
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ai_gateway.observability.families import FAMILIES, PREFIX
from tests.support.client import CHAT, LISTED_S, ask, client_of, eventually, get, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, SharedGateways, free_port, run_cli, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

OPENMETRICS = "application/openmetrics-text"


def parsed(text: str) -> list[Metric]:
    """In either form."""
    read: Any = openmetrics_families if text.endswith("# EOF\n") else text_string_to_metric_families
    return list(read(text))


def samples_of(live: LiveGateway, path: str = "/metrics") -> list[Sample]:
    reply = get(live, path)
    assert reply.status_code == 200, reply.text
    return [sample for family in parsed(reply.text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of all series of this metric that have these labels."""
    return sum(each.value for each in samples if each.name == PREFIX + name and labels.items() <= each.labels.items())


def of(live: LiveGateway, name: str, **labels: str) -> float:
    return value(samples_of(live), name, **labels)


def test_both_formats_are_what_their_parsers_read(gateway: LiveGateway) -> None:
    ask(gateway, "custom-chat", provider="custom")
    plain = get(gateway, "/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    with client_of(gateway) as client:
        modern = client.get("/v1/metrics", headers={"accept": f"{OPENMETRICS};version=1.0.0,text/plain;q=0.5"})
    assert modern.headers["content-type"] == f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
    assert modern.text.endswith("# EOF\n")
    named = {PREFIX + family.name for family in FAMILIES}
    assert {family.name for family in parsed(plain.text)} == named
    assert {family.name for family in parsed(modern.text)} == named


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/openmetrics-text;version=x", "text/plain;version=1x", OPENMETRICS.upper()]
)
def test_any_accept_header_gets_an_answer_with_a_type_of_ours(gateway: LiveGateway, accept: str) -> None:
    with client_of(gateway) as client:
        reply = client.get("/metrics", headers={"accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"] in {
        "text/plain; version=0.0.4; charset=utf-8",
        f"{OPENMETRICS}; version=1.0.0; charset=utf-8",
    }


def test_an_exemplar_names_a_request(relay: LiveGateway) -> None:
    request_id = f"exemplar-{uuid4()}"
    body = {"model": "good", "messages": [{"role": "user", "content": "hello"}]}
    assert post(relay, "/lab/v1/chat/completions", body, headers={"x-request-id": request_id}).status_code == 200
    with client_of(relay) as client:
        text = client.get("/metrics", headers={"accept": OPENMETRICS}).text
    exemplars = [
        sample.exemplar.labels
        for family in parsed(text)
        for sample in family.samples
        if sample.exemplar is not None and sample.labels.get("operation") == "createChatCompletion"
    ]
    assert {"request_id": request_id} in exemplars


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_requests_tokens_and_times_are_told_apart(relay: LiveGateway, *, stream: bool) -> None:
    labels = {"operation": "createChatCompletion", "provider": "lab"}
    times = {**labels, "stream": "true" if stream else "false"}

    def now() -> list[float]:
        samples = samples_of(relay)
        return [
            value(samples, "requests_total", **labels, wire="openai", status="2xx", code="", end="whole"),
            value(samples, "request_duration_seconds_count", **times),
            value(samples, "first_byte_seconds_count", **times),
            value(samples, "tokens_total", provider="lab", **{"class": "output"}),
            value(samples, "request_body_bytes_count", operation="createChatCompletion"),
            value(samples, "overhead_seconds_count", operation="createChatCompletion", stream=times["stream"]),
        ]

    before = now()
    assert ask(relay, "good", provider="lab", stream=stream).status_code == 200
    eventually(lambda: now()[0] == before[0] + 1)
    after = now()
    assert [late - early for early, late in zip(before, after, strict=True) if late == early] == []


@pytest.mark.parametrize(
    ("model", "stream", "labels"),
    [
        ("status-500", False, {"status": "5xx", "code": "upstream_error", "end": "refused"}),
        ("status-429", False, {"status": "4xx", "code": "other", "end": "refused"}),
        ("stream-cut", True, {"status": "2xx", "code": "upstream_stream_truncated", "end": "broken"}),
    ],
)
def test_failures_are_told_by_status_code_and_end(
    relay: LiveGateway, model: str, labels: dict[str, str], *, stream: bool
) -> None:
    before = of(relay, "requests_total", provider="lab", **labels)
    ask(relay, model, provider="lab", stream=stream)
    eventually(lambda: of(relay, "requests_total", provider="lab", **labels) == before + 1)


def test_a_client_that_leaves_is_told_from_one_that_stays(relay: LiveGateway, upstream: Upstream) -> None:
    before = of(relay, "requests_total", provider="lab", end="left")
    with (
        client_of(relay) as client,
        client.stream(
            "POST", "/lab/v1/chat/completions", json={"model": "paced#left", "messages": [], "stream": True}
        ) as reply,
    ):
        if reply.status_code == 200:
            next(reply.iter_bytes())
    body = {"model": "paced#gone", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with client_of(relay) as client, client.stream("POST", "/lab/v1/chat/completions", json=body) as reply:
        next(reply.iter_bytes())
    upstream.last("paced#gone")
    eventually(lambda: of(relay, "requests_total", provider="lab", end="left") == before + 1)


# -- no more series than there are things to count --


async def scan(port: int, heads: list[bytes]) -> int:
    """Send all over a few connections that stay open; how many answers came."""

    async def send(mine: list[bytes]) -> int:
        reader, writer = await asyncio.open_connection(HOST, port)
        answers = 0
        for head in mine:
            writer.write(head)
            reply = await reader.readuntil(b"\r\n\r\n")
            (length,) = (int(line[16:]) for line in reply.split(b"\r\n") if line.startswith(b"content-length: "))
            await reader.readexactly(length)
            answers += 1
            if b"connection: close" in reply:
                writer.close()
                await writer.wait_closed()
                reader, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        await writer.wait_closed()
        return answers

    return sum(await asyncio.gather(*(send(heads[at::8]) for at in range(8))))


def odd(number: int) -> bytes:
    """A request that nobody sends but a scanner: a path, a model, a provider or a field that there is not."""
    made: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
        ("GET", f"/wp-{number}/login.php", None),
        ("GET", f"/p{number}/v1/models", None),
        (f"BREW{number}", "/v1/models", None),
        ("POST", "/v1/chat/completions", {}),
        ("POST", "/custom/v1/chat/completions", {}),
        ("POST", "/api/chat", {"stream": False}),
        ("POST", f"/nobody{number}/v1/chat/completions", {}),
    )
    method, path, fields = made[number % len(made)]
    chat = {"model": f"m{number}", "messages": [{"role": "user", "content": "x"}], f"field{number}": 1}
    body = json.dumps({**chat, **fields}) if fields is not None else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEST_KEY}\r\n"
    media = "Content-Type: application/json\r\n" if body else ""
    return f"{head}{media}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def series(live: LiveGateway) -> set[str]:
    """All but what the gateway does of its own accord, or for this very look."""
    found = (each for each in samples_of(live) if "event_loop" not in each.name)
    return {
        f"{each.name} {sorted(each.labels.items())}" for each in found if each.labels.get("operation") != "getMetrics"
    }


def test_a_scanner_makes_no_series(gateway_for: SharedGateways) -> None:
    live = gateway_for(LOG_LEVEL="warning", ENABLE_METRICS="true")
    asyncio.run(scan(live.port, [odd(number) for number in range(140)]))  # each kind of answer has one
    before = series(live)
    assert asyncio.run(scan(live.port, [odd(number) for number in range(140, 10_140)])) == 10_000
    assert series(live) - before == set()
    assert of(live, "requests_total", model="other") > 1_000


def test_a_model_that_its_provider_lists_is_told_by_name(relay: LiveGateway) -> None:
    eventually(lambda: '"lab/' in get(relay, "/v1/models").text, within=LISTED_S)
    listed = get(relay, "/lab/v1/models").json()["data"][0]["id"]
    ask(relay, listed, provider="lab")
    eventually(lambda: of(relay, "requests_total", provider="lab", model=listed) >= 1)


# -- several workers --


@pytest.fixture
def pair() -> Iterator[LiveGateway]:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, WORKERS="2") as live:
        yield live


def test_workers_are_one_target_whose_counters_never_fall(pair: LiveGateway) -> None:
    workers = psutil.Process(pair.process.pid)
    eventually(lambda: len(workers.children()) == 2)
    asked, seen = 0, [0.0]

    def rounds(most: int) -> None:
        nonlocal asked
        for _ in range(most):
            with suppress(httpx2.TransportError):  # of the worker that is killed
                asked += ask(pair, "custom-chat", provider="custom").status_code == 200
            with suppress(httpx2.TransportError):
                seen.append(of(pair, "requests_total", provider="custom"))

    rounds(20)
    eventually(lambda: of(pair, "requests_total", provider="custom") == asked)
    assert of(pair, "workers") == 2
    assert {each.labels["worker"] for each in samples_of(pair) if "worker" in each.labels} == {"0", "1"}
    victim = workers.children()[0].pid
    os.kill(victim, signal.SIGKILL)
    rounds(5)
    eventually(lambda: len(workers.children()) == 2 and victim not in {each.pid for each in workers.children()})
    rounds(20)
    eventually(lambda: of(pair, "requests_total", provider="custom") == asked)
    assert sorted(seen) == seen, "a counter fell"
    assert {each.labels["worker"] for each in samples_of(pair) if "worker" in each.labels} == {"0", "1"}


# -- settings --


def test_metrics_may_need_a_key_or_be_elsewhere_or_nowhere(gateway_for: SharedGateways) -> None:
    guarded = gateway_for(METRICS_REQUIRE_KEY="true", METRICS_PATH="/inner/numbers")
    assert [get(guarded, path, key=None).status_code for path in ("/metrics", "/inner/numbers")] == [401, 401]
    assert [get(guarded, path).status_code for path in ("/metrics", "/inner/numbers", "/v1/metrics")] == [200, 200, 404]
    off = gateway_for(ENABLE_METRICS="false")
    replies = [get(off, path) for path in ("/metrics", "/v1/metrics")]
    assert [reply.status_code for reply in replies] == [404, 404]
    assert "ENABLE_METRICS" in replies[0].json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/models", "something else"),
        ("/metrics", "something else"),
        ("/docs", "something else"),
        ("metrics", "must be a path"),
    ],
)
def test_a_path_that_cannot_be_is_told_at_the_start(path: str, words: str) -> None:
    done = run_cli("serve", "--port", str(free_port()), METRICS_PATH=path)
    assert done.returncode == 2
    assert "METRICS_PATH" in done.stderr
    assert words in done.stderr


def test_one_operation_is_one_label_whatever_its_provider(gateway: LiveGateway) -> None:
    post(gateway, "/custom/v1/embeddings", {"model": "custom-embedding", "input": "x"})
    post(gateway, f"/v1/{CHAT}", {"model": "custom-chat"})
    operations = {each.labels["operation"] for each in samples_of(gateway) if "operation" in each.labels}
    assert {"createEmbedding", "createChatCompletion"} <= operations
    assert not {name for name in operations if "/" in name}
