"""What a request on Ollama's wire loses is named in its reply, and counted for whoever reads the metrics."""

from collections import Counter
from typing import Any

import httpx2
import pytest

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.observability.metrics import Event, counted as counts

pytestmark = pytest.mark.anyio

ASK = [{"role": "user", "content": "Hello"}]
CHAT = {"stream": False, "messages": ASK}
TEXT = {"stream": False, "prompt": "Hi"}


async def lost(path: str, body: dict[str, Any]) -> tuple[list[str], dict[str, int]]:
    """The names in the header, and what was counted for the provider meanwhile."""
    app = build(read_configuration(log_level="error")).asgi
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
    ):
        before = counts(Event.DROPPED)
        reply = await http.post(path, json={"model": "custom-chat", **body})
    assert reply.status_code == 200, reply.text
    counted = Counter(counts(Event.DROPPED)) - Counter(before)
    assert {provider for provider, _ in counted} <= {"custom"}
    named = reply.headers.get("x-gateway-dropped-params", "")
    return named.split(",") if named else [], {field: count for (_, field), count in counted.items()}


@pytest.mark.parametrize(
    ("path", "body", "named", "counted"),
    [
        ("/api/chat", CHAT, [], {}),
        (
            "/api/chat",
            {**CHAT, "keep_alive": "5m", "options": {"top_k": 3, "num_ctx": 9, "zz": 1}, "odd": 1, "odder": 2},
            ["keep_alive", "odd", "odder", "options.num_ctx", "options.top_k", "options.zz"],
            {"keep_alive": 1, "options.top_k": 1, "options.num_ctx": 1, "other": 1},
        ),
        (
            "/api/chat",
            {**CHAT, "messages": [*ASK, {"role": "assistant", "thinking": "hm"}, *ASK], "top_logprobs": 3},
            ["messages.thinking", "top_logprobs"],
            {"other": 1, "top_logprobs": 1},
        ),
        # The provider drops the temperature by itself, and has counted it.
        ("/api/generate", {**TEXT, "options": {"temperature": 1}, "shift": True},
         ["options.temperature", "shift"], {"temperature": 1, "shift": 1}),
        ("/api/generate", {**TEXT, "raw": True, "think": True}, ["think"], {"think": 1}),
        ("/api/embed", {"input": "Hi", "truncate": True}, ["truncate"], {"truncate": 1}),
        ("/api/embeddings", {"prompt": "Hi", "stream": None, "keep_alive": 1}, ["keep_alive"], {"keep_alive": 1}),
        ("/api/embed", {"keep_alive": "5m", "odd": 1}, ["keep_alive", "odd"], {}),
        ("/api/chat", {"options": {"top_k": 1}}, ["options.top_k"], {}),
        ("/api/generate", {"keep_alive": 0}, ["keep_alive"], {}),
        ("/api/show", {"verbose": True, "odd": 1}, ["odd", "verbose"], {"verbose": 1, "other": 1}),
        ("/api/show", {"verbose": False, "system": "", "template": "", "options": None}, [], {}),
    ],
)  # fmt: skip
async def test_what_has_no_place_is_named_and_counted(
    path: str, body: dict[str, Any], named: list[str], counted: dict[str, int]
) -> None:
    assert await lost(path, body) == (named, counted)


async def test_a_streamed_answer_is_counted_once_too() -> None:
    named, counted = await lost("/api/chat", {"messages": ASK, "stream": True, "keep_alive": 0, "truncate": False})
    assert named == ["keep_alive", "truncate"]
    assert counted == {"keep_alive": 1, "truncate": 1}
