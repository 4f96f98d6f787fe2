"""Every message that the guide to troubleshooting quotes is one that a gateway really gives."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.client import NO_CERTIFICATES, TIMEOUT_S
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways, closed_port, run_cli

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^\| `([^|]*)` \| ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
CHAT: dict[str, Any] = {"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}
JSON = {"content-type": "application/json"}


def said(live: LiveGateway, method: str, path: str, *, key: str | None = TEST_KEY, **more: Any) -> str:
    """All text of the response."""
    headers = {**({"authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.request(method, live.base_url + path, headers=headers, **more).text


@pytest.fixture(scope="module")
def answers(gateway_for: SharedGateways, gateway: LiveGateway, relay: LiveGateway) -> Iterator[list[str]]:
    """What a gateway says in each of the cases that the page describes."""
    chat, routed = "/custom/v1/chat/completions", "/v1/chat/completions"
    bare = gateway_for(ALLOWED_API_KEYS="")
    with closed_port() as nobody:
        failing = gateway_for(
            PROVIDER_LAB_BASE_URL=f"{gateway.base_url}/custom/v1",
            PROVIDER_LAB_API_KEY="sk-of-nobody-at-all",
            PROVIDER_AWAY_BASE_URL=f"http://127.0.0.1:{nobody}/v1",
            REQUEST_MAX_SIZE="2048",
            **ONE_ATTEMPT,
        )
        yield [
            said(gateway, "GET", "/v1/models", key=None),
            said(gateway, "GET", "/v1/models", key="sk-wrong"),
            said(bare, "GET", "/v1/models", key=None, headers={"x-forwarded-for": "203.0.113.9"}),
            said(bare, "POST", chat, key=None, json=CHAT, headers={"origin": "https://page.example.com"}),
            said(gateway, "GET", "/v1/organization/projects"),
            said(gateway, "POST", "/chat/completions", json=CHAT),
            said(gateway, "GET", chat),
            said(gateway, "POST", "/olama/v1/chat/completions", json=CHAT),
            said(gateway, "POST", "/ollama/v1/chat/completions", json=CHAT),
            said(gateway, "POST", routed, json={**CHAT, "model": "openai/gpt-4o"}),
            said(gateway, "POST", chat, json={"model": "custom-chat"}),
            said(gateway, "POST", chat, content=b"{}", headers={"content-type": "text/plain"}),
            said(gateway, "POST", chat, content=b"{'a'", headers=JSON),
            said(failing, "POST", chat, content=b" " * 4096, headers=JSON),
            said(gateway, "POST", "/api/pull", json={"model": "custom-chat"}),
            said(failing, "POST", "/away/v1/chat/completions", json=CHAT),
            said(failing, "POST", "/lab/v1/chat/completions", json=CHAT),
            *(
                said(relay, "POST", "/lab/v1/chat/completions", json={**CHAT, "model": model, "stream": True})
                for model in ("stream-unfinished", "stream-cut")
            ),
            *_refused_starts(gateway),
        ]


def _refused_starts(gateway: LiveGateway) -> Iterator[str]:
    for settings in (
        {"SERVICE_PORT": str(gateway.port)},
        {"SERVICE_HOST": "0.0.0.0", "SERVICE_PORT": "0"},  # noqa: S104 - which is refused
        {"REQUEST_TIMEOUT_S": "soon"},
    ):
        done = run_cli("serve", **settings)
        assert done.returncode == 2
        yield done.stderr


def test_the_page_quotes_messages() -> None:
    assert len(QUOTED) > 15


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_given(message: str, answers: list[str]) -> None:
    pattern = ".*".join(re.escape(part) for part in message.split("..."))
    assert [text for text in answers if re.search(pattern, text)], message
