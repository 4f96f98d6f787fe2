"""How tests ask for responses, tell an upstream of chat what to answer, and check what comes back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any

import jsonschema_rs

from scripts.fuzz.response_grammar import check
from tests.support.client import eventually, frames_of, get, post
from tests.support.gateway import LiveGateway
from tests.support.upstream import Upstream

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 4,
    "total_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
_labels = count()


@cache
def _contract() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))
    return document


@cache
def valid(name: str) -> jsonschema_rs.Draft202012Validator:
    """What tells whether a value is one of this schema of the contract."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": _contract()["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def called(name: str, arguments: object, call_id: str = "call_1") -> dict[str, Any]:
    """A tool call of a chat reply."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


@dataclass(frozen=True)
class Chatting:
    """An upstream that speaks chat only, behind the gateway as `lab`."""

    live: LiveGateway
    upstream: Upstream

    def ask(self, message: dict[str, Any], *, finish: str = "stop", usage: object = USAGE, **body: Any) -> Any:
        """The response where the upstream answers with this message, and what it was asked."""
        model = self.saying(message, finish, usage)
        answered = post(self.live, "/lab/v1/responses", {"model": model, "input": "hello", **body})
        assert answered.status_code == 200, answered.text
        response = answered.json()
        valid("Response").validate(response)
        return response, self.upstream.last(model).json

    def stream(self, *chunks: dict[str, Any], done: bool = True, **body: Any) -> list[dict[str, Any]]:
        """The events where the upstream streams these deltas, each beside its finish reason if it has one."""
        model = self.streaming(chunks, done=done)
        answered = post(self.live, "/lab/v1/responses", {"model": model, "input": "hello", "stream": True, **body})
        assert answered.status_code == 200, answered.text
        return events_of(answered.text)

    def queue(
        self, message: dict[str, Any], *chunks: dict[str, Any], finish: str = "stop", usage: object = USAGE, **body: Any
    ) -> list[dict[str, Any]]:
        """The response in the background, whole and streamed, where the upstream says the same either way."""
        asked = {"input": "hello", "background": True, **body}
        model = self.saying(message, finish, usage)
        queued = post(self.live, "/lab/v1/responses", {"model": model, **asked})
        assert queued.status_code == 200, queued.text
        path = f"/v1/responses/{queued.json()['id']}"
        eventually(lambda: get(self.live, path).json()["status"] not in {"queued", "in_progress"})
        whole = get(self.live, path).json()
        valid("Response").validate(whole)
        model = self.streaming([*chunks, {"finish": finish}, *([{"usage": usage}] if usage else [])], done=True)
        answered = post(self.live, "/lab/v1/responses", {"model": model, "stream": True, **asked})
        assert answered.status_code == 200, answered.text
        return [whole, check(answered.content)]

    def saying(self, message: dict[str, Any], finish: str, usage: object) -> str:
        """A model that answers with this message."""
        model = f"told#{next(_labels)}"
        said = {"role": "assistant", "content": None, "refusal": None, **message}
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish}
        reply = {"id": "c1", "object": "chat.completion", "created": 1, "model": "told", "choices": [choice]}
        raw = json.dumps({**reply, **({"usage": usage} if usage else {})}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(raw)
        self.upstream.program(model, head + raw)
        return model

    def streaming(self, chunks: Sequence[dict[str, Any]], *, done: bool) -> str:
        """One that streams these deltas."""
        model = f"told#{next(_labels)}"
        raw = b"".join(b"data: %b\n\n" % json.dumps(_chunk(each)).encode() for each in chunks)
        raw += b"data: [DONE]\n\n" if done else b""
        self.upstream.program(model, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + raw)
        return model


def _chunk(said: dict[str, Any]) -> dict[str, Any]:
    delta = {name: value for name, value in said.items() if name not in {"finish", "usage"}}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": said.get("finish")}
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "told"}
    if "usage" in said:
        return {**chunk, "choices": [], "usage": said["usage"]}
    if "choices" in said:
        return {**chunk, **said}
    return {**chunk, "choices": [choice]}


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a legal stream: all of the contract, numbered from 0, each under its name, then [DONE]."""
    frames = frames_of(text)
    assert frames.pop() == ""
    assert frames.pop() == "data: [DONE]"
    events = []
    for number, frame in enumerate(frames):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        valid("ResponseStreamEvent").validate(event)
        events.append(event)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    ends = [event for event in events if event["type"] in {f"response.{end}" for end in _ENDS}]
    assert ends == events[-1:]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]
    return events


_ENDS = ("completed", "incomplete", "failed")
