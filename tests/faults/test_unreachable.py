"""Upstreams that no connection reaches: 502 at once, held against them by their breaker, and somebody else is asked."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.certificate import self_signed
from tests.support.client import ask
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, closed_port, running_gateway
from tests.support.serving import serving

pytestmark = pytest.mark.live

WIRES = ("openai", "anthropic", "ollama", "cerebras")
NOWHERE = "http://nowhere.invalid"  # a name that nobody may ever have
FAULTS = ("refused", "no such name", "a certificate that nobody trusts", "no answer to the greeting")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@contextmanager
def untrusted_server(certificate: Path) -> Iterator[str]:
    """A server that would answer, if anybody trusted it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with serving(_leave, ssl=context) as port:
        yield f"https://{HOST}:{port}"


async def _leave(_: object, writer: asyncio.StreamWriter) -> None:
    writer.close()


@contextmanager
def silent() -> Iterator[str]:
    """A port that takes connections and says nothing, not even in the handshake."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(64)
        yield f"https://{HOST}:{listener.getsockname()[1]}"


class Live:
    """A gateway, what is wrong with all its upstreams, and what it answers: on every wire at once."""

    def __init__(self, gateway: LiveGateway, fault: str) -> None:
        self.gateway = gateway
        self.expected = (504, "upstream_timeout") if fault == FAULTS[3] else (502, "upstream_unreachable")
        with ThreadPoolExecutor() as pool:
            self.replies = dict(zip(WIRES, pool.map(self._replies, WIRES), strict=True))

    def _replies(self, wire: str) -> list[httpx2.Response]:
        """A whole one and a stream, which fail; one by another target; and one when the breaker is open."""
        return [
            self.ask("any", wire),
            self.ask("any", wire, stream=True),
            self.ask(f"route-{wire}"),
            self.ask("any", wire),
        ]

    def ask(self, model: str, provider: str = "", *, stream: bool = False) -> httpx2.Response:
        return ask(self.gateway, model, provider=provider, max_tokens=5, stream=stream)


@pytest.fixture(scope="module", params=FAULTS)
def live(request: pytest.FixtureRequest, certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Every wire, towards an upstream with this fault; `/v1` with the model `route-<wire>` may ask the built-in one."""
    with untrusted_server(certificate) as untrusted, silent() as mute, closed_port() as closed:
        url = dict(zip(FAULTS, (f"http://{HOST}:{closed}", NOWHERE, untrusted, mute), strict=True))[request.param]
        config = tmp_path_factory.mktemp("config") / "gateway.toml"
        routes = "".join(f'[routes."route-{wire}"]\ntargets = ["{wire}/any", "custom/custom-chat"]\n' for wire in WIRES)
        config.write_text(routes, encoding="utf-8")
        with running_gateway(
            GATEWAY_CONFIG=str(config),
            ALLOWED_API_KEYS=TEST_KEY,
            OPENAI_BASE_URL=f"{url}/v1",
            OPENAI_API_KEY="sk-none-0123456789",
            ANTHROPIC_BASE_URL=url,
            ANTHROPIC_API_KEY="sk-none-0123456789",
            OLLAMA_HOST=url,
            CEREBRAS_BASE_URL=url,
            CEREBRAS_API_KEY="sk-none-0123456789",
            CONNECT_TIMEOUT_S="1",  # far less than the rest of a request may take
            MAX_RETRIES="0",
            BREAKER_THRESHOLD="3",
            BREAKER_PAUSE_S="60",
        ) as gateway:
            yield Live(gateway, request.param)


@pytest.mark.parametrize("wire", WIRES)
def test_it_is_told_in_time_held_against_the_upstream_and_another_target_answers(live: Live, wire: str) -> None:
    *failed, fallen_back, refused = live.replies[wire]
    for reply in failed:
        assert (reply.status_code, reply.json()["error"]["code"]) == live.expected
        assert (reply.headers["x-gateway-provider"], reply.headers["x-gateway-attempts"]) == (wire, "1")
        assert HOST not in reply.text
        assert "nowhere" not in reply.text
    assert (fallen_back.status_code, fallen_back.headers["x-gateway-provider"]) == (200, "custom")
    assert fallen_back.headers["x-gateway-attempts"] == "2"
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_unavailable")
    assert "Traceback" not in live.gateway.log()
