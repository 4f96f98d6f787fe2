"""Calls that were never sent to an upstream cost nothing: its breaker is open, or it has its share of calls already."""

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.accounts.metered import CENT
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, NO_CERTIFICATES, TIMEOUT_S, body_of
from tests.support.gateway import HOST, LiveGateway, closed_port, in_front_of, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

# A reply is four tokens, and so a cent. What goes in costs nothing where it is answered, and much elsewhere.
CONFIG = """
[prices."lab/*"]
input = 0
output = 2500

[prices."dead/*"]
input = 1000
output = 2500

[prices."small/*"]
input = 1000
output = 2500

[providers.dead]
base_url = "http://127.0.0.1:{closed}/v1"

[providers.small]
base_url = "{upstream}"
provider_max_in_flight = 1

[routes.either]
targets = ["dead/m", "lab/m"]

[routes.busy]
targets = ["small/m", "lab/m"]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def live(shared_upstream: Upstream, home: Path) -> Iterator[LiveGateway]:
    with closed_port() as closed:
        (home / "gateway.toml").write_text(CONFIG.format(closed=closed, upstream=shared_upstream.url))
        env = {**in_front_of(shared_upstream), "BREAKER_THRESHOLD": "2", "BREAKER_PAUSE_S": "600"}
        env |= {"GATEWAY_DATA_DIR": str(home), "GATEWAY_CONFIG": str(home / "gateway.toml")}
        with running_gateway(**env, ADMIN_API_KEY=ADMIN_KEY) as live:
            yield live


def new_key(live: LiveGateway) -> tuple[str, str]:
    admin = Administrator(live)
    project = admin.project()
    return project, admin.account(project)["api_key"]["value"]


def ask(live: LiveGateway, key: str, model: str, *, stream: bool) -> int:
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        body = body_of(CHAT, model, max_tokens=4, stream=stream)
        reply = client.post("/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=body)
        return reply.status_code


def costs(home: Path, project: str, count: int) -> list[int | None]:
    """Of each call, once so many are recorded."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with closing(sqlite3.connect(home / "gateway.db")) as db:
            rows = db.execute("SELECT cost FROM records WHERE project_id = ? ORDER BY at, id", (project,)).fetchall()
        if len(rows) >= count or time.monotonic() > deadline:
            assert len(rows) == count
            return [cost for (cost,) in rows]
        time.sleep(0.05)


@contextmanager
def taken(live: LiveGateway, key: str, upstream: Upstream, model: str) -> Iterator[None]:
    """The provider's one place."""
    body = f'{{"model": "small/{model}", "messages": [{{"role": "user", "content": "Hi"}}]}}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((HOST, live.port), timeout=TIMEOUT_S) as connection:
        connection.sendall((head + body).encode())
        upstream.last(model)
        yield


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_a_breaker_stops_costs_nothing(live: LiveGateway, home: Path, stream: bool) -> None:
    project, key = new_key(live)
    statuses = [ask(live, key, "dead/m", stream=stream) for _ in range(5)]
    assert set(statuses) <= {502, 503}
    assert statuses[-1] == 503
    assert costs(home, project, 5) == [0] * 5
    assert ask(live, key, "either", stream=stream) == 200
    assert costs(home, project, 6)[-1] == CENT, "what the first target would have cost was added"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_for_which_a_provider_has_no_place_costs_nothing(
    live: LiveGateway, home: Path, shared_upstream: Upstream, stream: bool
) -> None:
    _, other = new_key(live)
    project, key = new_key(live)
    with taken(live, other, shared_upstream, f"hang-before-headers#{stream}"):
        assert ask(live, key, "small/m", stream=stream) in {429, 503}
        assert costs(home, project, 1) == [0]
        assert ask(live, key, "busy", stream=stream) == 200
        assert costs(home, project, 2)[-1] == CENT
