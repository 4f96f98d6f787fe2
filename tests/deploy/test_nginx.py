"""The nginx of deploy/ in front of a real gateway: TLS, events as they come, and clients that leave."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.certificate import self_signed
from tests.support.client import KEY, TIMEOUT_S
from tests.support.gateway import HOST, LiveGateway, free_port
from tests.support.nginx import deployed, nginx_with
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def front(relay: LiveGateway, certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with _front(tmp_path_factory.mktemp("nginx"), [relay.port], certificate) as made:
        yield made


@contextmanager
def _front(home: Path, ports: list[int], certificate: Path) -> Iterator[httpx2.Client]:
    """A client of an nginx, which trusts its certificate and no other."""
    port = free_port()
    trust = ssl.create_default_context(cafile=str(certificate))
    with (
        nginx_with(home, deployed(home, port, ports, certificate)),
        httpx2.Client(base_url=f"https://{HOST}:{port}", verify=trust, timeout=TIMEOUT_S, trust_env=False) as client,
    ):
        yield client


def _body(model: str, *, stream: bool = False) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}


def test_a_call_goes_through_over_tls(front: httpx2.Client) -> None:
    answer = front.post("/openai/v1/chat/completions", json=_body("good#tls"), headers=KEY)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"]
    assert "server" not in answer.headers or "/" not in answer.headers["server"]  # no version of nginx


def test_without_a_key_it_is_the_gateway_that_refuses(front: httpx2.Client) -> None:
    answer = front.post("/openai/v1/chat/completions", json=_body("good#none"))
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "missing_api_key"


def test_an_event_arrives_while_the_rest_of_the_stream_is_still_to_come(
    front: httpx2.Client, upstream: Upstream
) -> None:
    model = "stalled-stream#nginx"
    body = _body(model, stream=True)
    with front.stream("POST", "/openai/v1/chat/completions", json=body, headers=KEY) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data:"))
        assert "chat.completion.chunk" in first
        assert not upstream.last(model).gone.is_set()  # the upstream has still not ended it
    # The client has left by now: the call that nobody waits for is ended.
    assert upstream.last(model).gone.wait(TIMEOUT_S)


def test_metrics_are_not_for_everybody(front: httpx2.Client) -> None:
    assert front.get("/metrics").status_code == 404
    assert front.get("/v1/metrics").status_code == 404
    assert front.get("/metrics").headers["content-type"].startswith("text/html")  # nginx's own


def test_a_body_as_large_as_the_gateway_takes_goes_through(front: httpx2.Client) -> None:
    body = _body("good#large")
    body["messages"] = [{"role": "user", "content": "x" * (10 * 2**20 - 1_000)}]
    assert front.post("/openai/v1/chat/completions", json=body, headers=KEY).status_code == 200
    body["messages"] = [{"role": "user", "content": "x" * (10 * 2**20)}]
    refused = front.post("/openai/v1/chat/completions", json=body, headers=KEY)
    assert refused.status_code == 413
    assert refused.json()["error"]["code"]  # the gateway's own words


def test_a_client_is_told_by_its_address_and_by_nothing_that_it_claims(certificate: Path, tmp_path: Path) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.json(dict(exchange.seen.headers))

    claims = {
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-proto": "gopher",
        "x-forwarded-host": "evil.example",
        "forwarded": "for=203.0.113.9",
        "x-real-ip": "203.0.113.9",
    }
    with running_upstream(echo) as instead, _front(tmp_path, [instead.port], certificate) as front:
        seen = front.get("/v1/models", headers=claims).json()
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-host"]) == (HOST, "https", HOST)
    assert not {"forwarded", "x-real-ip"} & set(seen)
    assert "203.0.113.9" not in str(seen)
