"""What users of Ollama's own server are used to, with curl in hand: statuses, words, defaults and what is left out."""

import json
import re
from typing import Any

import httpx2
import pytest

from tests.contract.raw_cases import request
from tests.support.client import client_of
from tests.support.gateway import LiveGateway
from tests.support.raw_http import talk

pytestmark = pytest.mark.live

type Json = dict[str, Any]

GO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")
SAY = [{"role": "user", "content": "Hi"}]
ASK: Json = {"model": "m", "messages": SAY, "options": {"num_predict": 2}}
METRICS = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


def ask(gateway: LiveGateway, asked: str, body: object = None, **headers: str) -> httpx2.Response:
    method, path = asked.split()
    content = body if isinstance(body, str) or body is None else json.dumps(body)
    with client_of(gateway) as client:
        return client.request(method, path, content=content, headers=headers)


def lines(reply: httpx2.Response) -> list[Json]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.text.splitlines()]


@pytest.mark.parametrize(
    ("asked", "body", "status", "says"),
    [
        ("GET /api/chat", None, 405, "method"),
        ("PUT /api/generate", {}, 405, "method"),
        ("POST /api/tags", {}, 405, "method"),
        ("GET /api/nothing", None, 404, "nothing at this path"),
        ("GET /api", None, 404, "nothing at this path"),
        ("POST /api/chat", "{bad", 400, "not valid JSON"),
        ("POST /api/chat", "", 400, "no body"),
        ("POST /api/chat", [], 400, "expected an object"),
        ("POST /api/chat", {"messages": SAY}, 400, "model is required"),
        ("POST /api/generate", {}, 400, "model is required"),
        ("POST /api/embed", {}, 400, "model is required"),
        ("POST /api/embeddings", {}, 400, "model is required"),
        ("POST /api/show", {}, 400, "model is required"),
        ("POST /api/show", {"model": "", "name": ""}, 400, "model is required"),
        ("POST /api/chat", {**ASK, "think": "maybe"}, 400, "'think'"),
        ("POST /api/chat", {**ASK, "format": "xml"}, 400, "'format'"),
        ("POST /api/chat", {"model": "m", "messages": [{"role": "bad"}]}, 400, "messages[0].role"),
        ("POST /api/embed", {"model": "m", "input": [5]}, 400, "input"),
        ("POST /api/generate", {"model": "m", "prompt": "x", "template": "t"}, 400, "'template'"),
        ("POST /api/generate", {"model": "m", "prompt": "x", "context": [1]}, 400, "'context'"),
        ("POST /api/generate", {"model": "m", "prompt": "x", "raw": True, "system": "s"}, 400, "'system'"),
        ("POST /api/pull", {"model": "m"}, 501, "keeps no models"),
    ],
)
def test_a_failure_is_one_text_with_its_status(
    gateway: LiveGateway, asked: str, body: object, status: int, says: str
) -> None:
    reply = ask(gateway, asked, body)
    assert reply.status_code == status
    assert list(reply.json()) == ["error"]
    assert says in reply.json()["error"]
    assert status != 405 or reply.headers["allow"]


def test_a_stream_is_the_default_and_only_its_last_line_measures(gateway: LiveGateway) -> None:
    for path, more in (("chat", {"messages": SAY}), ("generate", {"prompt": "Hi"})):
        found = lines(ask(gateway, f"POST /api/{path}", {"model": "m", **more, "options": {"num_predict": 3}}))
        assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
        assert all(GO_TIME.fullmatch(line["created_at"]) for line in found)
        assert all(not METRICS & line.keys() and "done_reason" not in line for line in found[:-1])
        assert found[-1].keys() >= METRICS
        assert found[-1]["done_reason"] == "length"
        assert found[-1]["total_duration"] >= found[-1]["prompt_eval_duration"] + found[-1]["eval_duration"]


@pytest.mark.parametrize(
    ("keep_alive", "reason"),
    [(0, "unload"), (0.0, "unload"), ("0", "unload"), ("0s", "unload"), ("0m", "unload"), (None, "load"), (-1, "load"),
     ("-1m", "load"), (300, "load"), (0.5, "load"), ("5m", "load"), ("1h30m", "load")],
)  # fmt: skip
def test_nothing_asked_loads_or_unloads_and_measures_nothing(
    gateway: LiveGateway, keep_alive: object, reason: str
) -> None:
    for path, empty in (("chat", {"messages": []}), ("chat", {}), ("generate", {"prompt": ""}), ("generate", {})):
        reply = ask(gateway, f"POST /api/{path}", {"model": "m", "keep_alive": keep_alive, **empty})
        assert reply.headers["content-type"] == "application/json"
        found = reply.json()
        assert (found["done"], found["done_reason"]) == (True, reason)
        assert not METRICS & found.keys()


@pytest.mark.parametrize("think", [True, False, None, "low", "medium", "high", "max"])
def test_every_way_to_think_is_taken(gateway: LiveGateway, think: object) -> None:
    assert lines(ask(gateway, "POST /api/chat", {**ASK, "think": think}))[-1]["done"]


def test_nothing_to_embed_is_an_empty_list(gateway: LiveGateway) -> None:
    nothings: list[Json] = [{}, {"input": None}, {"input": ""}, {"input": []}]
    for nothing in nothings:
        reply = ask(gateway, "POST /api/embed", {"model": "custom-embedding", **nothing})
        assert reply.status_code == 200, reply.text
        assert reply.json()["embeddings"] == []
    assert ask(gateway, "POST /api/embeddings", {"model": "custom-embedding"}).json() == {"embedding": []}


def test_what_is_there_is_said_on_the_way_in(gateway: LiveGateway) -> None:
    for path in ("/", "/api/tags", "/api/version"):
        head = ask(gateway, f"HEAD {path}")
        assert (head.status_code, head.text) == (200, "")
    assert ask(gateway, "GET /", accept="text/html").text == "Ollama is running"
    assert ask(gateway, "GET /api/ps").json() == {"models": []}
    listed = ask(gateway, "GET /api/tags").json()["models"]
    assert len({model["digest"] for model in listed}) == len(listed)
    for model in listed:
        assert re.fullmatch(r"[0-9a-f]{64}", model["digest"])
        assert GO_TIME.fullmatch(model["modified_at"])
        for body in ({"model": model["name"]}, {"name": model["name"]}):
            assert ask(gateway, "POST /api/show", body).json()["capabilities"] == model["capabilities"]


def test_a_client_of_http_1_0_gets_lines_without_chunks(gateway: LiveGateway) -> None:
    raw = request(json.dumps(ASK).encode(), path="/api/chat", content_type="text/html")
    answer = talk(gateway, raw.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
    assert answer is not None
    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert [json.loads(line)["done"] for line in answer.body.splitlines()] == [False, False, True]
