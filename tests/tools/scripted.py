"""A model that says and calls what a script says, round after round, whole or streamed."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.upstream import Exchange, Upstream, running_upstream

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@dataclass(frozen=True)
class Call:
    """A call of a function. `arguments` are sent as they are."""

    name: str
    arguments: str = "{}"
    id: str | None = None


@dataclass(frozen=True)
class Says:
    """One round: a text, calls, and what is beside them in the message. `pause_s` is before it, `status` an error.

    With `logprobs`, a whole reply tells those of its text as one token. `deltas` are a stream's, in place of its
    own.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)
    pause_s: float = 0.0
    status: int = 200
    logprobs: bool = False
    deltas: tuple[dict[str, Any], ...] | None = None

    @property
    def finish(self) -> str:
        return "tool_calls" if self.calls or self.deltas else "stop"


SCRIPTS: dict[str, list[Says]] = {}
"""By the name of the model; the last round is said again for as long as it is asked."""


def search(query: str = "a", **more: Any) -> Call:
    return Call("gateway_web_search", json.dumps({"query": query, **more}))


async def behave(exchange: Exchange) -> None:
    if exchange.seen.method == "GET":
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "lab"} for name in SCRIPTS]
        await exchange.json({"object": "list", "data": models})
        return
    body = exchange.seen.json
    script = SCRIPTS[body["model"]]
    said = script[min(_round_of(body["messages"]), len(script) - 1)]
    await asyncio.sleep(said.pause_s)
    if said.status != 200:
        await exchange.json({"error": {"message": "no", "type": "t", "code": None, "param": None}}, status=said.status)
        return
    calls = [
        {
            "id": call.id or f"call_{_round_of(body['messages'])}_{at}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for at, call in enumerate(said.calls)
    ]
    if not body.get("stream"):
        await exchange.json(_whole(said, calls))
        return
    await exchange.open_stream()
    for delta in _deltas(said, calls) if said.deltas is None else said.deltas:
        await exchange.event(_chunk(delta))
    await exchange.event(_chunk({}, said.finish))
    await exchange.event({**_chunk({}), "choices": [], "usage": USAGE})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


def _round_of(messages: list[dict[str, Any]]) -> int:
    """How many rounds of calls the history has since its last user message."""
    last = max(at for at, message in enumerate(messages) if message["role"] == "user")
    return sum(1 for message in messages[last:] if message.get("tool_calls"))


def _whole(said: Says, calls: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None, **said.extras}
    if calls:
        message["tool_calls"] = calls
    token = {"token": said.text, "logprob": -0.5, "bytes": None, "top_logprobs": []}
    logprobs = {"content": [token], "refusal": None} if said.logprobs else None
    choice = {"index": 0, "message": message, "finish_reason": said.finish, "logprobs": logprobs}
    head = {"id": "chatcmpl-s", "object": "chat.completion", "created": 1, "model": "m"}
    return {**head, "choices": [choice], "usage": USAGE}


def _deltas(said: Says, calls: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for name, value in said.extras.items():
        yield {name: value}
    for word in re.findall(r"\S+\s*", said.text):
        yield {"content": word}
    for index, call in enumerate(calls):
        function = call["function"]
        yield {"tool_calls": [{"index": index, **call, "function": {"name": function["name"], "arguments": ""}}]}
        for at in range(0, len(function["arguments"]), 7):
            piece = function["arguments"][at : at + 7]
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-s", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


@contextmanager
def scripted_model() -> Iterator[Upstream]:
    """The upstream; each model's script is in SCRIPTS."""
    with running_upstream(behave) as running:
        yield running
