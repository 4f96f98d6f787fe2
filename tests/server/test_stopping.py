"""From SIGTERM to the end: readiness says so at once, what runs may end, and then nothing answers."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream

KEY = {"authorization": f"Bearer {TEST_KEY}"}
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


@contextmanager
def streaming(upstream: Upstream, model: str, **env: str) -> Iterator[tuple[LiveGateway, list[str]]]:
    """A gateway with one stream in flight, whose text is in the list once it has ended."""
    texts: list[str] = []
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url, **env) as live:

        def read() -> None:
            url, body = f"{live.base_url}/lab/v1/chat/completions", {"model": model, **CHAT, "stream": True}
            texts.append(httpx2.post(url, json=body, headers=KEY, timeout=30, trust_env=False).text)

        client = threading.Thread(target=read)
        client.start()
        upstream.last(model)
        time.sleep(0.3)
        yield live, texts
        client.join(20)


def get(live: LiveGateway, path: str) -> httpx2.Response:
    return httpx2.get(live.base_url + path, headers=KEY, timeout=5, trust_env=False)


def refused(live: LiveGateway) -> bool:
    try:
        socket.create_connection((HOST, live.port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_readiness_is_503_at_once_while_the_stream_goes_on_and_new_work_is_still_done(upstream: Upstream) -> None:
    with streaming(upstream, "paced#ready") as (live, texts):
        assert get(live, "/ready").status_code == 200
        live.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        ready = get(live, "/ready")
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
        assert ready.json()["error"]["code"] == "overloaded"
        assert httpx2.head(live.base_url + "/ready", trust_env=False).status_code == 503
        assert get(live, "/healthz").status_code == 200
        last = get(live, "/custom/v1/models")
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        assert live.process.wait(10) == 0
        assert "Traceback" not in live.log()
    assert texts[0].endswith("data: [DONE]\n\n")


def test_after_a_moment_no_connection_is_taken_and_the_grace_time_bounds_it_all(upstream: Upstream) -> None:
    with streaming(upstream, "drip#bounded", GRACE_PERIOD_S="3", DRAIN_DELAY_S="0.5") as (live, texts):
        live.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        time.sleep(1.2)
        assert refused(live)
        assert live.process.poll() is None
        assert live.process.wait(10) == 0
        assert 2.5 < time.monotonic() - told < 5
    assert '"code":"overloaded"' in texts[0]
    assert "[DONE]" not in texts[0]
    assert upstream.last("drip#bounded").gone.wait(2)


def test_an_idle_gateway_stops_at_once() -> None:
    with running_gateway() as live, httpx2.Client(trust_env=False) as client:
        assert client.get(live.base_url + "/ready").status_code == 200  # and its connection stays open
        told = time.monotonic()
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(10) == 0
        assert time.monotonic() - told < 1.5
