"""Names that never resolve: who brings them waits, in bounds, and nobody else does."""

import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.attacks.wires import WIRES, Wire
from tests.support.behaviours import behave
from tests.support.client import ask, post
from tests.support.fake_ollama import behave as behave_as_ollama
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

IMAGES = 64
OTHER_KEY = "sk-other-0123456789abcdef"
CONNECT_S = 1


@pytest.fixture(scope="module")
def upstreams() -> Iterator[tuple[Upstream, Upstream]]:
    with running_upstream(behave) as openai, running_upstream(behave_as_ollama) as ollama:
        yield openai, ollama


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose name server knows `up.test`, and says nothing of `*.silent.test`."""
    startup: Path = tmp_path_factory.mktemp("startup")
    program = """
        import socket, time
        known = socket.getaddrinfo
        def getaddrinfo(host, *rest, **named):
            if str(host).endswith("silent.test") and not named.get("flags"):
                time.sleep(100)
            return known("127.0.0.1" if host == "up.test" and not named.get("flags") else host, *rest, **named)
        socket.getaddrinfo = getaddrinfo
    """
    (startup / "sitecustomize.py").write_text(textwrap.dedent(program))
    return {
        "PYTHONPATH": str(startup),
        "ALLOWED_API_KEYS": f"{TEST_KEY},{OTHER_KEY}",
        "CONNECT_TIMEOUT_S": str(CONNECT_S),
        **ONE_ATTEMPT,
    }


@pytest.fixture(scope="module")
def lost(name_server: dict[str, str]) -> Iterator[LiveGateway]:
    with running_gateway(
        PROVIDER_LAB_BASE_URL="http://lab.silent.test/v1",
        CEREBRAS_BASE_URL="http://cerebras.silent.test",
        CEREBRAS_API_KEY="sk-cerebras-0123456789",
        ANTHROPIC_BASE_URL="http://anthropic.silent.test",
        ANTHROPIC_API_KEY="sk-anthropic-0123456789",
        OLLAMA_HOST="http://ollama.silent.test",
        MODEL_LIST_URL="http://list.silent.test/models.json",
        **name_server,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def live(name_server: dict[str, str], upstreams: tuple[Upstream, Upstream]) -> Iterator[LiveGateway]:
    openai, ollama = upstreams
    with running_gateway(
        PROVIDER_NAMED_BASE_URL=f"http://up.test:{openai.port}/v1",
        OLLAMA_HOST=f"http://up.test:{ollama.port}",
        FETCH_IMAGES="true",
        **name_server,
    ) as running:
        yield running


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_a_silent_name_server_has_the_time_for_a_connection_on_every_transport(lost: LiveGateway, wire: Wire) -> None:
    began = time.monotonic()
    assert ask(lost, "m", provider=wire.provider, stream=wire is WIRES[0]).status_code == 504
    assert CONNECT_S <= time.monotonic() - began < 40 * CONNECT_S


def test_images_whose_names_never_resolve_hold_up_nobody_but_images(live: LiveGateway) -> None:
    """They are more than the threads that an event loop has for looking up names."""

    def asked(name: str, key: str) -> httpx2.Response:
        part = {"type": "image_url", "image_url": {"url": f"http://{name}/a.png"}}
        body = {"model": "good", "messages": [{"role": "user", "content": [part]}]}
        return post(live, "/ollama/v1/chat/completions", body, key=key)

    def picture(number: int) -> None:
        reply = asked(f"{number}.silent.test", TEST_KEY)
        reported.append(reply.json()["error"]["message"])
        assert reply.status_code == 400 or reply.headers["retry-after"] == "1"
        busy.append(reply.status_code == 503)

    reported: list[str] = []
    busy: list[bool] = []
    asking = [threading.Thread(target=picture, args=(number,)) for number in range(IMAGES)]
    for each in asking:
        each.start()
    for _ in range(20):
        assert ask(live, "good", provider="named").status_code == 200
    for each in asking:
        each.join()
    assert len(reported) == IMAGES
    assert all("could not be fetched" in message for message in reported)
    assert len(busy) == IMAGES
    assert any(busy)
    assert asked("busy.silent.test", TEST_KEY).status_code == 503
    assert asked("up.test", OTHER_KEY).status_code == 400, "it was looked up, and is not public"
    for _ in range(12):  # an upstream's address is looked up anew every ten seconds
        assert ask(live, "good", provider="named").status_code == 200
        time.sleep(0.1)
