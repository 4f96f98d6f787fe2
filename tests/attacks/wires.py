"""One upstream behind every transport of the gateway, each with a good reply of its own wire."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.gateway import HOST, ONE_ATTEMPT, LiveGateway, SharedGateways
from tests.support.upstream import Behaviour, Upstream, running_upstream


@dataclass(frozen=True)
class Wire:
    """A provider, and the bodies that its upstream answers well with."""

    provider: str
    media: str

    def whole(self, text: str) -> bytes:
        return json.dumps(_WHOLE[self._kind](text)).encode()

    def stream(self, text: str) -> bytes:
        return _STREAMS[self._kind](text)

    def reply(self, text: str, *headers: str, stream: bool = False, status: str = "200 OK") -> bytes:
        """A whole HTTP reply with a length."""
        body = self.stream(text) if stream else self.whole(text)
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {self.media if stream else 'application/json'}", *headers]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body

    @property
    def _kind(self) -> str:
        return self.provider if self.provider in _WHOLE else "openai"


def _openai(text: str) -> dict[str, object]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def _openai_stream(text: str) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": text}}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()


def _ollama(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": True, "done_reason": "stop"}


def _anthropic(text: str) -> dict[str, object]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    content = [{"type": "text", "text": text}]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    return {**head, "content": content, "stop_reason": "end_turn", "usage": usage}


def _anthropic_stream(text: str) -> bytes:
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": {**_anthropic(""), "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), json.dumps(e).encode()) for e in events)


_WHOLE = {"openai": _openai, "ollama": _ollama, "anthropic": _anthropic}
_STREAMS = {
    "openai": _openai_stream,
    "ollama": lambda text: json.dumps(_ollama(text)).encode() + b"\n",
    "anthropic": _anthropic_stream,
}
WIRES = [
    Wire("lab", "text/event-stream"),
    Wire("cerebras", "text/event-stream"),
    Wire("anthropic", "text/event-stream"),
    Wire("ollama", "application/x-ndjson"),
]


def in_front_of_all(gateway_for: SharedGateways, upstream: Upstream, **env: str) -> LiveGateway:
    """A gateway whose every transport leads to this upstream: ours, two SDKs', and the one of another wire."""
    address = f"http://{HOST}:{upstream.port}"
    return gateway_for(
        PROVIDER_LAB_BASE_URL=upstream.url,
        CEREBRAS_BASE_URL=address,
        CEREBRAS_API_KEY="sk-cerebras-0123456789",
        ANTHROPIC_BASE_URL=address,
        ANTHROPIC_API_KEY="sk-anthropic-0123456789",
        OLLAMA_HOST=address,
        **ONE_ATTEMPT,
        **env,
    )


def upstream_that(behave: Behaviour) -> Callable[[], Iterator[Upstream]]:
    """A fixture of a module: an upstream that behaves so. To be kept under the name `upstream`."""

    @pytest.fixture(scope="module")
    def upstream() -> Iterator[Upstream]:
        with running_upstream(behave) as running:
            yield running

    return upstream


def live_in_front_of_all(**env: str) -> Callable[[SharedGateways, Upstream], LiveGateway]:
    """A fixture: the gateway in front of the module's `upstream`, with this environment."""

    @pytest.fixture
    def live(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
        return in_front_of_all(gateway_for, upstream, **env)

    return live
