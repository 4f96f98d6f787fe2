"""A request that failed leaves nothing behind, even where no garbage collector runs: the next one finds its memory."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.wires import WIRES, Wire
from tests.support.behaviours import behave
from tests.support.client import client_of
from tests.support.gateway import HOST, IMPATIENT, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

MB = 2**20
BODY_MB = 9
# What one such request may take while it is there, and the allocator may keep of it.
ROOM = 5 * BODY_MB * MB
COMMON = [
    "close-at-once",
    "garbage",
    "short-body",
    "broken-json",
    "redirect",
    "status-400-nested",
    "status-429-nested",
    "status-500-html",
    "stream-cut",
    "stream-error",
]
RARE = [
    "reset-at-once",
    "hang-before-headers",
    "bad-status-line",
    "html",
    "wrong-shape",
    "gzip-bomb",
    "fat-header",
    "status-401-nested",
    "stream-reset",
    "stream-empty",
    "stream-unfinished",
    "stalled-stream",
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """A gateway that never collects garbage, between upstreams that fail and one where nobody listens."""
    startup: Path = tmp_path_factory.mktemp("startup")
    program = """
        import gc
        gc.disable()
        gc.enable = gc.collect = lambda *_: 0
    """
    (startup / "sitecustomize.py").write_text(textwrap.dedent(program))
    address = f"http://{HOST}:{upstream.port}"
    with running_gateway(
        PYTHONPATH=str(startup),
        ALLOWED_API_KEYS=TEST_KEY,
        PROVIDER_LAB_BASE_URL=upstream.url,
        PROVIDER_DEAD_BASE_URL=f"http://{HOST}:1/v1",
        PROVIDER_LOST_BASE_URL="http://nowhere.invalid/v1",
        PROVIDER_TLS_BASE_URL=f"https://{HOST}:{upstream.port}/v1",
        PROVIDER_TWICE_BASE_URL="http://localhost:1/v1",
        CEREBRAS_BASE_URL=address,
        CEREBRAS_API_KEY="sk-cerebras-0123456789",
        ANTHROPIC_BASE_URL=address,
        ANTHROPIC_API_KEY="sk-anthropic-0123456789",
        OLLAMA_HOST=address,
        BREAKER_THRESHOLD="0",
        MAX_RETRIES="1",
        LOG_LEVEL="error",
        **IMPATIENT,
    ) as running:
        yield running


def body_of(model: str, *, stream: bool) -> bytes:
    content = "x" * (BODY_MB * MB)
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}], "stream": stream}).encode()


def ask(live: LiveGateway, path: str, body: bytes) -> None:
    with client_of(live) as client:
        reply = client.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code < 500 or "error" in reply.text


@pytest.mark.parametrize(
    "provider",
    ["dead", "twice", "custom", *(pytest.param(name, marks=pytest.mark.soak) for name in ("lost", "tls"))],
)
def test_large_requests_that_reach_nobody_leave_nothing(live: LiveGateway, provider: str) -> None:
    model = "fault-500" if provider == "custom" else "m"
    doors = [(f"/{provider}/v1/chat/completions", model), ("/api/chat", f"{provider}/{model}")]
    requests = [(path, body_of(name, stream=stream)) for path, name in doors for stream in (False, True)]
    for request in requests[::2]:
        ask(live, *request)
    before = live.rss()
    for request in requests * (1 if provider == "tls" else 2):
        ask(live, *request)
    assert live.rss() - before < (ROOM if provider != "tls" else 3 * BODY_MB * MB)


def all_fail(live: LiveGateway, upstream: Upstream, provider: str, failures: list[str], times: int) -> None:
    requests = [body_of(name, stream=number % 2 == 1) for number, name in enumerate(failures * times)]
    path = f"/{provider}/v1/chat/completions"
    ask(live, path, requests[0])
    before = live.rss()
    for body in requests:
        ask(live, path, body)
        upstream.forget()
    assert live.rss() - before < ROOM


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_large_requests_that_fail_leave_nothing(live: LiveGateway, upstream: Upstream, wire: Wire) -> None:
    all_fail(live, upstream, wire.provider, COMMON, 1)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_large_requests_that_fail_in_any_way_leave_nothing(live: LiveGateway, upstream: Upstream, wire: Wire) -> None:
    all_fail(live, upstream, wire.provider, COMMON + RARE + ["good"], 5)
