"""Counts that are easily lost: zeros of upstreams that count nothing, and those of replies that nobody gets."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.support.administration import ADMIN_KEY
from tests.support.client import TIMEOUT_S, get, post
from tests.support.fake_ollama import answer as answer_as_ollama
from tests.support.gateway import LiveGateway, in_front_of, running_gateway
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

type Replies = dict[str, httpx2.Response]

CALLER = "sk-caller-0123456789"
PRICES = """
[prices."lab/*"]
input = 1
output = 2

[prices."ollama/*"]
input = 1
output = 2

[providers.ant]
base_url = "%s"
api_key = "sk-upstream"
wire = "anthropic"

[prices."ant/*"]
input = 1
output = 2

[providers.native]
base_url = "%s"
api_key = "sk-upstream"
wires = ["responses"]

[prices."native/*"]
input = 1
output = 2
"""
TEXT = "Four words and more"
NOTHING = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
NO_COUNTS: dict[str, Any] = {"prompt_eval_count": None, "eval_count": None}
HALF = {"prompt_tokens": 500, "completion_tokens": 0, "total_tokens": 500}

REFUSED: dict[str, Any] = {
    "id": "x",
    "object": "list",
    "created": 1,
    "model": "m",
    "choices": 5,
    "data": 5,
    "usage": {"prompt_tokens": 500, "total_tokens": 500},
}

# The counts of other APIs, and of Ollama's, which are no object of their own.
FORMS: dict[str, dict[str, Any]] = {
    "refused": {"usage": REFUSED["usage"]},
    "anthropic": {"type": "odd", "usage": {"input_tokens": 500, "output_tokens": 0}},
    "responses": {"usage": {"input_tokens": 500, "output_tokens": 0, "total_tokens": 500}},
    "ollama": {"prompt_eval_count": 500},
}


async def _behave(exchange: Exchange) -> None:
    path, body = exchange.seen.path, exchange.seen.json
    if body.get("model") in FORMS:
        return await exchange.json({**REFUSED, "usage": None, **FORMS[body["model"]]})
    is_half, text = body.get("model") in {"half", "silent"}, "" if body.get("model") == "silent" else TEXT
    nothing = HALF if is_half else NOTHING
    if path.startswith("/api/"):
        counts = {**NO_COUNTS, "prompt_eval_count": 500} if is_half else NO_COUNTS
        return await answer_as_ollama(exchange, [{"content": text}], **counts)
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}]
        return await exchange.json({"object": "list", "data": data, "model": "m", "usage": NOTHING})
    if path.endswith("/messages"):
        said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
        counts = {"input_tokens": 500 if is_half else 0, "output_tokens": 0}
        content = [{"type": "text", "text": text}] if text else []
        return await exchange.json({**said, "content": content, "stop_reason": "end_turn", "usage": counts})
    head = {"id": "chatcmpl-1", "created": 1_790_000_000, "model": "m"}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    said = {"role": "assistant", "content": text}
    if not body.get("stream"):
        choices = [{**choice, "message": said}]
        return await exchange.json({**head, "object": "chat.completion", "choices": choices, "usage": nothing})
    await exchange.open_stream()
    head["object"] = "chat.completion.chunk"
    await exchange.event({**head, "choices": [{**choice, "delta": said}]})
    await exchange.event({**head, "choices": [], "usage": nothing})
    await exchange.chunk(b"data: [DONE]\n\n")
    return await exchange.end_stream()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(_behave) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def live(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    home = tmp_path_factory.mktemp("counts")
    (home / "gateway.toml").write_text(PRICES % (upstream.url, upstream.url))
    with running_gateway(
        **in_front_of(upstream),
        OLLAMA_HOST=f"127.0.0.1:{upstream.port}",
        ADMIN_API_KEY=ADMIN_KEY,
        ALLOWED_API_KEYS=CALLER,
        GATEWAY_DATA_DIR=str(home),
        GATEWAY_CONFIG=str(home / "gateway.toml"),
    ) as live:
        yield live


def _record(live: LiveGateway, request_id: str) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := get(live, f"/v1/gateway/requests?request_id={request_id}", key=ADMIN_KEY).json()["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


_SAYS = [{"role": "user", "content": "How many words?"}]


UNCOUNTED: list[tuple[str, dict[str, Any], bool]] = [
    ("/lab/v1/chat/completions", {"messages": _SAYS}, True),
    ("/lab/v1/chat/completions", {"messages": _SAYS, "stream": True}, True),
    ("/lab/v1/responses", {"input": "How many words?"}, True),
    ("/lab/v1/messages", {"messages": _SAYS, "max_tokens": 100}, True),
    ("/lab/v1/embeddings", {"input": "How many words?"}, False),
    ("/ollama/v1/chat/completions", {"messages": _SAYS}, True),
    ("/ollama/v1/chat/completions", {"messages": _SAYS, "stream": True}, True),
    ("/api/chat", {"model": "ollama/m", "messages": _SAYS, "stream": False}, True),
    ("/ant/v1/chat/completions", {"messages": _SAYS}, True),
    ("/ant/v1/messages", {"messages": _SAYS, "max_tokens": 100}, True),
]


@pytest.mark.parametrize(("path", "body", "has_output"), UNCOUNTED)
def test_what_an_upstream_counts_as_nothing_is_estimated(
    live: LiveGateway, replies: Replies, path: str, body: dict[str, Any], has_output: bool
) -> None:
    reply = replies[_name(path, {"model": "m", **body})]
    assert reply.status_code == 200, reply.text
    record = _record(live, reply.headers["x-request-id"])
    assert record["basis"] == "estimated"
    assert record["tokens"]["input"] >= len("How many words?") // 4
    assert (record["tokens"]["output"] >= len(TEXT) // 4) is has_output
    assert record["cost_usd"] > 0


HALF_COUNTED: list[tuple[str, dict[str, Any]]] = [
    ("/lab/v1/chat/completions", {"messages": _SAYS}),
    ("/lab/v1/chat/completions", {"messages": _SAYS, "stream": True}),
    ("/lab/v1/responses", {"input": "How many words?"}),
    ("/lab/v1/messages", {"messages": _SAYS, "max_tokens": 100}),
    ("/ollama/v1/chat/completions", {"messages": _SAYS}),
    ("/ollama/v1/chat/completions", {"messages": _SAYS, "stream": True}),
    ("/api/chat", {"messages": _SAYS, "stream": False}),
    ("/api/chat", {"messages": _SAYS, "stream": True}),
    ("/ant/v1/chat/completions", {"messages": _SAYS}),
    ("/ant/v1/messages", {"messages": _SAYS, "max_tokens": 100}),
]


@pytest.mark.parametrize(("path", "body"), HALF_COUNTED)
def test_a_text_that_an_upstream_does_not_count_is_estimated_beside_what_it_counts(
    live: LiveGateway, replies: Replies, path: str, body: dict[str, Any]
) -> None:
    """Ollama leaves `eval_count` out, and others say 0."""
    reply = replies[_name(path, _halved(path, body))]
    assert reply.status_code == 200, reply.text
    record = _record(live, reply.headers["x-request-id"])
    assert (record["basis"], record["tokens"]["input"]) == ("estimated", 500)
    assert len(TEXT) // 4 <= record["tokens"]["output"] <= len(TEXT) + 50


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["lab", "ollama"])
def test_no_text_is_no_output(live: LiveGateway, replies: Replies, provider: str, *, stream: bool) -> None:
    reply = replies[_name(*_silent(provider, stream=stream))]
    assert reply.status_code == 200, reply.text
    record = _record(live, reply.headers["x-request-id"])
    assert (record["basis"], record["tokens"]["input"], record["tokens"]["output"]) == ("reported", 500, 0)


REFUSED_REPLIES: list[tuple[str, dict[str, Any]]] = [
    ("/lab/v1/chat/completions", {"messages": _SAYS}),
    ("/lab/v1/completions", {"prompt": "How many words?"}),
    ("/lab/v1/embeddings", {"input": "How many words?"}),
    ("/lab/v1/responses", {"input": "How many words?"}),
    ("/lab/v1/messages", {"messages": _SAYS, "max_tokens": 100}),
    ("/api/chat", {"model": "lab/refused", "messages": _SAYS, "stream": False}),
]


@pytest.mark.parametrize(("path", "body"), REFUSED_REPLIES)
def test_a_reply_that_is_refused_costs_what_it_says(
    live: LiveGateway, replies: Replies, path: str, body: dict[str, Any]
) -> None:
    reply = replies[_name(path, {"model": "refused", **body})]
    assert reply.status_code == 502, reply.text
    record = _record(live, reply.headers["x-request-id"])
    assert record["basis"] == "reported"
    assert (record["tokens"]["input"], record["cost_usd"]) == (500, 0.0005)


IN_EVERY_FORM: list[tuple[str, dict[str, Any]]] = [
    ("/lab/v1/chat/completions", {"messages": _SAYS}),
    ("/lab/v1/messages", {"messages": _SAYS, "max_tokens": 100}),
    ("/ant/v1/chat/completions", {"messages": _SAYS}),
    ("/ant/v1/messages", {"messages": _SAYS, "max_tokens": 100}),
    ("/native/v1/responses", {"input": "How many words?"}),
    ("/ollama/v1/chat/completions", {"messages": _SAYS}),
    ("/ollama/v1/embeddings", {"input": "How many words?"}),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("path", "body"), IN_EVERY_FORM)
def test_a_refused_reply_is_read_in_every_form_of_usage(
    live: LiveGateway, replies: Replies, path: str, body: dict[str, Any], form: str
) -> None:
    reply = replies[_name(path, {"model": form, **body})]
    assert reply.status_code == 502, reply.text
    record = _record(live, reply.headers["x-request-id"])
    assert (record["basis"], record["tokens"]["input"], record["cost_usd"]) == ("reported", 500, 0.0005)


# -- what is asked, all at once: a record is in the store most of a second after its call --


def _halved(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"model": "ollama/half" if path == "/api/chat" else "half", **body}


def _silent(provider: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    return f"/{provider}/v1/chat/completions", {"model": "silent", "messages": _SAYS, "stream": stream}


def _name(path: str, body: dict[str, Any]) -> str:
    return f"{path} {json.dumps(body)}"


@pytest.fixture(scope="module")
def replies(live: LiveGateway) -> Replies:
    """What is answered to each request of these tests, by its name."""
    asked = [
        *((path, {"model": "m", **body}) for path, body, _ in UNCOUNTED),
        *((path, _halved(path, body)) for path, body in HALF_COUNTED),
        *(_silent(provider, stream=stream) for provider in ("lab", "ollama") for stream in (False, True)),
        *((path, {"model": "refused", **body}) for path, body in REFUSED_REPLIES),
        *((path, {"model": form, **body}) for path, body in IN_EVERY_FORM for form in FORMS),
    ]
    with ThreadPoolExecutor() as pool:
        answers = pool.map(lambda request: post(live, *request, key=CALLER), asked)
        return dict(zip((_name(*request) for request in asked), answers, strict=True))
