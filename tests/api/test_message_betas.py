"""Betas of a caller: where its request goes on to Anthropic they do too, translated or not, and nowhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fake_anthropic
from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

BETAS = "context-1m-2025-08-07,unheard-of-2099-01-01"
ROUTE = '[routes.mixed]\ntargets = ["anthropic/good", "lab/good"]\n'


async def behave(exchange: Exchange) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    await exchange.json({**head, "choices": [choice]})


@pytest.fixture(scope="module")
def anthropic() -> Iterator[Upstream]:
    with running_upstream(fake_anthropic.behave) as running:
        yield running


@pytest.fixture(scope="module")
def chats() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(
    gateway_for: SharedGateways, anthropic: Upstream, chats: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> LiveGateway:
    path: Path = tmp_path_factory.mktemp("routes") / "gateway.toml"
    path.write_text(ROUTE)
    return gateway_for(
        GATEWAY_CONFIG=str(path),
        ANTHROPIC_API_KEY="sk-ant-test",
        ANTHROPIC_BASE_URL=anthropic.url,
        PROVIDER_LAB_BASE_URL=chats.url,
    )


def asked(live: LiveGateway, model: str, betas: str | None = BETAS) -> str:
    """What the reply names as dropped."""
    body = {
        "model": model,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
        "metadata": {},
        "top_k": 5,
    }
    headers = {"anthropic-version": "2023-06-01", **({"anthropic-beta": betas} if betas else {})}
    reply = post(live, "/v1/messages", body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.headers.get("x-gateway-dropped-params", "")


@pytest.mark.parametrize(("model", "is_translated"), [("anthropic/good", False), ("mixed", True)])
def test_they_reach_anthropic(live: LiveGateway, anthropic: Upstream, model: str, is_translated: bool) -> None:
    assert ("top_k" in asked(live, model)) is is_translated
    assert anthropic.last("good").header("anthropic-beta") == BETAS
    asked(live, model, None)
    assert anthropic.last("good").header("anthropic-beta") is None


def test_they_reach_nobody_else(live: LiveGateway, chats: Upstream) -> None:
    asked(live, "lab/good")
    assert chats.last("good").header("anthropic-beta") is None
