"""What callers of Ollama's wire take is recorded, also where an Ollama server answers them in its own words."""

import time

import pytest

from tests.support.administration import ADMINISTERED, Administrator
from tests.support.client import eventually, post
from tests.support.gateway import HOST, SharedGateways
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_call_to_an_ollama_server_is_recorded(
    gateway_for: SharedGateways, ollama_upstream: Upstream, *, stream: bool
) -> None:
    live = gateway_for(**ADMINISTERED, OLLAMA_HOST=f"http://{HOST}:{ollama_upstream.port}")
    began, admin = int(time.time()) - 60, Administrator(live)

    def requests() -> int:
        page = admin.get("usage/completions", start_time=began)
        return sum(result["num_model_requests"] for bucket in page["data"] for result in bucket["results"])

    before = requests()
    message = {"role": "user", "content": "hello"}
    body = {"model": "ollama/good", "messages": [message], "stream": stream}
    reply = post(live, "/api/chat", body)
    assert reply.status_code == 200, reply.text
    eventually(lambda: requests() > before)
