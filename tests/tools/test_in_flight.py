"""While a tool runs, its client may leave, its project lose it, time run out; and streams show signs of life."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import client_of, eventually, get, post
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways, running_gateway
from tests.support.upstream import Exchange, Seen, Upstream, running_upstream
from tests.tools.asking import SEARCH, asked, message_of
from tests.tools.fake_searches import asked_by
from tests.tools.scripted import SCRIPTS, Says, search
from tests.tools.test_accounts import PRICES, records_of

pytestmark = pytest.mark.live

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
SILENCE_S = 6  # after which nothing comes but signs of life, every 10 s
PATH = "/lab/v1/chat/completions"


class Slow:
    """A search server that answers what it is asked when it is told to, and knows who has left."""

    def __init__(self) -> None:
        self.released: set[str] = set()

    async def behave(self, exchange: Exchange) -> None:
        text = asked_by(exchange.seen).text
        for _ in range(12_000):
            if text.startswith("fast") or text in self.released:
                break
            await asyncio.sleep(0.01)
        found = [{"url": "https://example.com/a", "title": text, "content": "A."}]
        await exchange.json({"query": text, "results": found})


slow = Slow()


@pytest.fixture(scope="module")
def searches() -> Iterator[Upstream]:
    with running_upstream(slow.behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(model: Upstream, searches: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    home = tmp_path_factory.mktemp("tools")
    (home / "gateway.toml").write_text(PRICES)
    env = {"PROVIDER_LAB_BASE_URL": model.url, "TOOL_WEB_SEARCH": "searxng", "TOOL_TIMEOUT_S": "60", **ONE_ATTEMPT}
    env |= {"TOOL_WEB_SEARCH_URL": f"http://127.0.0.1:{searches.port}", "ALLOWED_API_KEYS": TEST_KEY}
    with running_gateway(GATEWAY_CONFIG=str(home / "gateway.toml"), ADMIN_API_KEY=ADMIN_KEY, **env) as running:
        yield running


def body_of(name: str, *rounds: Says, **fields: Any) -> dict[str, Any]:
    SCRIPTS[name] = list(rounds)
    return {"model": name, "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH], "max_tokens": 5, **fields}


def seen_by(searches: Upstream, text: str) -> Seen:
    """The search for this text, once it has come."""
    found: list[Seen] = []

    def has_come() -> bool:
        found[:] = [seen for seen in searches.requests if asked_by(seen).text == text]
        return bool(found)

    eventually(has_come)
    return found[0]


def completed(live: LiveGateway) -> int:
    """How many searches have come to an end there."""
    found = re.search(r'_tool_calls_total\{outcome="completed",tool="web_search"\} (\d+)', get(live, "/metrics").text)
    return int(found[1]) if found is not None else 0


def leave_during(live: LiveGateway, searches: Upstream, body: dict[str, Any], text: str, request_id: str) -> Seen:
    """Ask, and leave while the search for this text runs and the fast one is done."""
    before = completed(live)
    raw = json.dumps(body).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TEST_KEY}\r\nX-Request-Id: {request_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(head.encode() + raw)
        eventually(lambda: completed(live) > before)
        return seen_by(searches, text)


def records_once(live: LiveGateway, request_id: str, number: int) -> list[dict[str, Any]]:
    """The records of a request, of which there are so many and stay so many."""
    found = records_of(live, request_id, number)
    post(live, PATH, body_of(f"after-{request_id}", Says("Done.")))
    assert records_of(live, request_id, number) == found
    return found


@BOTH
def test_a_tool_whose_client_has_left_is_stopped_and_settled_once(
    live: LiveGateway, searches: Upstream, stream: bool
) -> None:
    text, request_id = f"leaves {stream}", f"req-leaves-{stream}"
    body = body_of(f"leaves-{stream}", Says(calls=(search("fast one"), search(text))), Says("never"), stream=stream)
    seen = leave_during(live, searches, body, text, request_id)
    eventually(seen.gone.is_set)
    (record,) = records_once(live, request_id, 1)
    # Five tokens of a cent each, and two searches of two: that which was stopped was asked for as well.
    assert (record["end"], record["round"], record["cost_usd"]) == ("left", 1, 0.09)
    assert sorted(tool["failed"] for tool in record["tools"]) == [False, True]


@BOTH
def test_who_leaves_in_a_later_round_has_each_round_settled_once(
    live: LiveGateway, searches: Upstream, stream: bool
) -> None:
    text, request_id = f"later {stream}", f"req-later-{stream}"
    rounds = Says(calls=(search("fast one"),)), Says(calls=(search(text),)), Says("never")
    seen = leave_during(live, searches, body_of(f"later-{stream}", *rounds, stream=stream), text, request_id)
    eventually(seen.gone.is_set)
    first, second = records_once(live, request_id, 2)
    assert [(each["round"], each["end"], each["cost_usd"]) for each in (first, second)] == [
        (1, "whole", 0.07),
        (2, "left", 0.07),
    ]


def test_nothing_is_held_after_clients_have_left(live: LiveGateway, searches: Upstream) -> None:
    gauges = ("ai_gateway_requests_in_flight ", "ai_gateway_body_budget_bytes ")

    def held() -> list[float]:
        lines = get(live, "/metrics").text.splitlines()
        return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(gauges)]

    eventually(lambda: held() == [0.0, 0.0])


@BOTH
def test_a_tool_that_is_taken_from_a_project_in_the_middle_is_run_no_more(
    live: LiveGateway, searches: Upstream, stream: bool
) -> None:
    admin = Administrator(live)
    project = admin.project()
    key = str(admin.account(project)["api_key"]["value"])
    text = f"revoked {stream}"
    rounds = Says(calls=(search(text),)), Says(calls=(search("fast again"),)), Says("Done.")
    body = body_of(f"revoked-{stream}", *rounds, stream=stream)
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(post, live, PATH, body, key=key)
        seen_by(searches, text)
        admin.post(f"projects/{project}/hosted_tool_permissions", {"web_search": {"enabled": False}})
        slow.released.add(text)
        reply = asking.result(60)
    assert reply.status_code == 200
    assert "'gateway_web_search' has been switched off for this project" in reply.text
    assert "Done." in reply.text
    assert [asked_by(seen).text for seen in searches.requests].count("fast again") == 0


def test_tools_leave_time_for_an_answer(gateway_for: SharedGateways, model: Upstream) -> None:
    """To a whole one and to a stream, which are waited for at once."""
    with running_upstream(slow.behave) as searches:
        patient = gateway_for(
            PROVIDER_LAB_BASE_URL=model.url, TOOL_WEB_SEARCH="searxng", REQUEST_TIMEOUT_S="8", TOOL_TIMEOUT_S="60",
            TOOL_WEB_SEARCH_URL=f"http://127.0.0.1:{searches.port}", **ONE_ATTEMPT,
        )  # fmt: skip
        rounds = Says(calls=(search("hangs"),)), Says("So be it.")

        def answer(stream: bool) -> Any:
            return message_of(asked(patient, f"in-time-{stream}", *rounds, stream=stream))

        with ThreadPoolExecutor() as pool:
            messages = list(pool.map(answer, [False, True]))
    for message in messages:
        (run,) = message["gateway_tool_calls"]
        assert (run["status"], "was stopped" in run["result"]["content"]) == ("failed", True)
        assert message["content"] == "So be it."


DOORS: dict[str, dict[str, Any]] = {
    "/lab/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "tools": [SEARCH]},
    "/api/chat": {"messages": [{"role": "user", "content": "a"}], "tools": [SEARCH]},
    "/lab/v1/responses": {"input": "a", "tools": [{"type": "web_search"}]},
}


@pytest.mark.slow
def test_streams_of_every_wire_show_signs_of_life_while_a_tool_runs(live: LiveGateway, searches: Upstream) -> None:
    def lines_before_the_end(path: str) -> list[str]:
        name, text = f"alive{path.replace('/', '-')}", f"alive {path}"
        SCRIPTS[name] = [Says(calls=(search(text),)), Says("Done.")]
        model_ = f"lab/{name}" if path == "/api/chat" else name
        said: list[str] = []
        with client_of(live) as client:
            body = {"model": model_, "stream": True, **DOORS[path]}
            with client.stream("POST", path, json=body, timeout=60) as reply:
                assert reply.status_code == 200, reply.read()
                began = time.monotonic()
                for piece in reply.iter_text():
                    if time.monotonic() - began > SILENCE_S and piece.strip() and text not in slow.released:
                        slow.released.add(text)  # which ends the search
                        said.append(piece)
        return said

    with ThreadPoolExecutor() as pool:
        signs = dict(zip(DOORS, pool.map(lines_before_the_end, DOORS), strict=True))
    assert all(signs.values()), signs
    for path in ("/lab/v1/chat/completions", "/lab/v1/responses"):
        assert signs[path][0].startswith(":"), "a comment, which clients pass over"
    line = json.loads(signs["/api/chat"][0])
    assert (line["message"], line["done"]) == ({"role": "assistant", "content": ""}, False)
