"""From SIGTERM to the end: readiness says so at once, what runs may end, and then nothing answers."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.background import WORDS, Tap
from tests.support.client import CHAT, body_of, client_of, eventually, get, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live


@contextmanager
def streaming(upstream: Upstream, model: str, **env: str) -> Iterator[tuple[LiveGateway, list[str]]]:
    """A gateway with one stream in flight, whose text is in the list once it has ended."""
    texts: list[str] = []
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url, **env) as live:

        def read() -> None:
            body = body_of(CHAT, model, stream=True)
            texts.append(post(live, "/lab/v1/chat/completions", body).text)

        client = threading.Thread(target=read)
        client.start()
        upstream.last(model)
        live.settle()
        yield live, texts
        client.join(60)


def refused(live: LiveGateway) -> bool:
    try:
        socket.create_connection((HOST, live.port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_readiness_is_503_at_once_while_the_stream_goes_on_and_new_work_is_still_done() -> None:
    tap = Tap()
    with running_upstream(tap.behave) as upstream, streaming(upstream, "ready") as (live, texts):
        assert get(live, "/ready").status_code == 200
        live.process.send_signal(signal.SIGTERM)
        eventually(lambda: get(live, "/ready").status_code == 503)
        ready = get(live, "/ready")
        assert ready.headers["retry-after"] == "1"
        assert ready.json()["error"]["code"] == "overloaded"
        with client_of(live) as client:
            assert client.head("/ready").status_code == 503
        assert get(live, "/healthz").status_code == 200
        last = get(live, "/custom/v1/models")
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        tap.words["ready"] = WORDS + 1
        assert live.process.wait(60) == 0
        assert "Traceback" not in live.log()
    assert texts[0].endswith("data: [DONE]\n\n")


def test_after_a_moment_no_connection_is_taken_and_the_grace_time_bounds_it_all(upstream: Upstream) -> None:
    with streaming(upstream, "drip#bounded", GRACE_PERIOD_S="3", DRAIN_DELAY_S="0.5") as (live, texts):
        live.process.send_signal(signal.SIGTERM)
        reported = time.monotonic()
        eventually(lambda: refused(live))
        assert live.process.poll() is None
        assert live.process.wait(60) == 0
        assert time.monotonic() - reported > 2.5
    assert '"code":"overloaded"' in texts[0]
    assert "[DONE]" not in texts[0]
    assert upstream.last("drip#bounded").gone.wait(15)


def test_an_idle_gateway_stops_at_once() -> None:
    with running_gateway(GRACE_PERIOD_S="600", DRAIN_DELAY_S="300") as live, client_of(live) as client:
        assert client.get("/ready").status_code == 200  # and its connection stays open
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(60) == 0
