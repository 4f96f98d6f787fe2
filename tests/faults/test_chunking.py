"""Any division of the same upstream bytes into packets gives the client the same stream, through the whole relay."""

import json
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.support.client import client_of, frames_of
from tests.support.gateway import LiveGateway
from tests.support.upstream import Upstream, head

pytestmark = pytest.mark.live

HEAD = head(200, {"content-type": "text/event-stream", "connection": "close"})


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "c1", "created": 1, "model": "up", "choices": [choice], **more}, ensure_ascii=False)


CALL = {"index": 0, "id": "call_1", "function": {"name": "zebra", "arguments": '{"ä":'}}
# A sloppy stream in every legal spelling: CRLF, CR, comments, data on two lines, no space, text beyond ASCII.
SLOPPY = "".join(
    [
        ": hello\r\n\r\n",
        f"data: {_chunk({'role': 'assistant', 'content': 'Grüße 🙂'})}\r\n\r\n",
        f"event: x\ndata:{_chunk({'content': ' Welt'})}\n\n",
        _chunk({"tool_calls": [CALL]}).join(["data: ", "\r\r"]),
        f"data: {_chunk({'tool_calls': [{'index': 0, 'function': {'arguments': '1}'}}]})}\n\n".replace(
            ', "created"', ',\ndata:  "created"'
        ),
        ": keepalive\n\n",
        f"data: {_chunk({}, 'stop', usage={'prompt_tokens': 1, 'completion_tokens': 2})}\n\n",
        "data: [DONE]\n\n",
    ]
).encode()
BROKEN = SLOPPY[: SLOPPY.index(b": keepalive")]
labels = count()


@pytest.fixture(scope="module")
def client(relay: LiveGateway) -> Iterator[httpx2.Client]:
    with client_of(relay, "/lab/v1/") as http:
        yield http


def relayed(client: httpx2.Client, upstream: Upstream, *pieces: bytes) -> str:
    """What the client gets for an upstream stream in these packets; the id of an error differs in each request."""
    model = f"packets-{next(labels)}"
    upstream.program(model, HEAD, *pieces)
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True}
    return client.post("chat/completions", json=body).text


@pytest.mark.parametrize("stream", [SLOPPY, BROKEN], ids=["whole", "broken off"])
def test_the_stream_says_what_the_upstream_said(client: httpx2.Client, upstream: Upstream, stream: bytes) -> None:
    text = relayed(client, upstream, stream)
    assert "Grüße 🙂" in text
    assert '"tool_calls"' in text
    assert text.endswith("data: [DONE]\n\n") is (stream is SLOPPY)
    assert ("upstream_stream_truncated" in text) is (stream is BROKEN)


@pytest.mark.parametrize("stream", [SLOPPY, BROKEN], ids=["whole", "broken off"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_packets_of_the_same_bytes_give_the_same_stream(
    client: httpx2.Client, upstream: Upstream, stream: bytes, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=8, unique=True))
    pieces = [stream[start:end] for start, end in pairwise([0, *sorted(cuts), len(stream)])]
    assert relayed(client, upstream, *pieces) == relayed(client, upstream, stream)


def _event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """As upstreams send it that have been asked for usage."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
    value = json.dumps({**head, "choices": [choice], "usage": None, **more}, separators=(",", ":"), ensure_ascii=False)
    return b"data: " + value.encode() + b"\n\n"


WORDS = ['a "quoted"', " wörd", "\n", "\\", '","usage":null', "🙂", "", " data: [DONE]"] * 3
PACED = [
    _event({"role": "assistant", "content": ""}),
    *(_event({"content": word}) for word in WORDS),
    _event({"tool_calls": [{**CALL, "type": "function", "function": {"name": "f", "arguments": ""}}]}),
    *(_event({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}) for part in ('{"a', '":', " 1", "}")),
    _event({}, "tool_calls"),
    _event({}, None, choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("paced", [True, False], ids=["one by one", "at once"])
def test_events_that_come_one_by_one_are_those_that_come_at_once(
    client: httpx2.Client, upstream: Upstream, paced: bool
) -> None:
    """One by one, most of them go to the client without waking up what waits for them."""
    text = relayed(client, upstream, *PACED) if paced else relayed(client, upstream, b"".join(PACED))
    events = [line.removeprefix("data: ") for line in frames_of(text) if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert not any("usage" in chunk for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content") or "" for delta in deltas) == "".join(WORDS)
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"a": 1}'
    assert len(chunks) == len(PACED) - 2


def test_a_stream_that_breaks_off_after_events_that_came_one_by_one_says_so(
    client: httpx2.Client, upstream: Upstream
) -> None:
    text = relayed(client, upstream, *PACED[:12])
    assert "upstream_stream_truncated" in text
    assert not text.endswith("data: [DONE]\n\n")
