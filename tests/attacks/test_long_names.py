"""Callers choose the names of models. However long they are, nothing of them is kept, and little is sent back."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.behaviours import behave
from tests.support.client import client_of
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

NAME = "x" * 1_000_000
TIMES = 30
GROWTH = 12 * 2**20  # one name of each request would be 30 MB
SAID = [{"role": "user", "content": "Hello"}]
DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "a provider's chat": ("/lab/v1/chat/completions", {"messages": SAID}),
    "chat by model": ("/v1/chat/completions", {"messages": SAID}),
    "streamed chat": ("/v1/chat/completions", {"messages": SAID, "stream": True}),
    "completions": ("/v1/completions", {"prompt": "Hello"}),
    "embeddings": ("/v1/embeddings", {"input": "Hello"}),
    "responses": ("/v1/responses", {"input": "Hello"}),
    "messages": ("/v1/messages", {"messages": SAID, "max_tokens": 5}),
    "count_tokens": ("/v1/messages/count_tokens", {"messages": SAID}),
    "Ollama's chat": ("/api/chat", {"messages": SAID}),
    "Ollama's generate": ("/api/generate", {"prompt": "Hello"}),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """A gateway that counts what each model costs, and has a breaker for each of them."""
    config = tmp_path_factory.mktemp("limits") / "gateway.toml"
    limits = 'key_env = "TEST_KEY"\nrequests_per_minute = 1_000_000\nspend_limit_cents = 1_000_000'
    config.write_text(f'[keys.test]\n{limits}\n[prices."lab/*"]\ninput = 0.000001\noutput = 0.000001\n')
    with running_gateway(
        GATEWAY_CONFIG=str(config), TEST_KEY=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url, BREAKER_PER_MODEL="true"
    ) as running:
        yield running


@pytest.mark.parametrize("door", DOORS)
def test_a_name_that_no_model_has_is_refused_shortly_and_forgotten(
    live: LiveGateway, upstream: Upstream, door: str
) -> None:
    path, body = DOORS[door]
    prefix = "" if path.startswith("/lab/") else "lab/"
    with client_of(live) as client:

        def ask(number: int) -> None:
            sent = json.dumps({"model": f"{prefix}{number}-{NAME}", **body})
            reply = client.post(path, content=sent, headers={"content-type": "application/json"})
            assert reply.status_code == 404, reply.text[:300]
            assert "characters" in reply.text
            assert len(reply.content) < 2_000

        ask(0)
        before = live.rss()
        for number in range(TIMES):
            ask(number)
    assert live.rss() - before < GROWTH
    assert not upstream.requests
