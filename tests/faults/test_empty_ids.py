"""Ids that are empty texts, whole and streamed: clients match results and events by them, so each is filled in."""

import json
from typing import Any

import pytest

from tests.attacks.wires import live_in_front_of_all, upstream_that
from tests.support.client import post
from tests.support.gateway import LiveGateway
from tests.support.upstream import Exchange

pytestmark = pytest.mark.live

type Json = dict[str, Any]

FUNCTION = {"id": "", "type": "function", "function": {"name": "w", "arguments": "{}"}}
CUSTOM = {"id": "", "type": "custom", "custom": {"name": "w", "input": "x"}}
SAID: dict[str, Json] = {
    "text": {"content": "Hi"},
    "calls": {"content": None, "tool_calls": [FUNCTION, FUNCTION, CUSTOM]},
    "nameless": {"content": None, "function_call": {"name": "", "arguments": '{"a":1}'}},
    "blank": {"content": "Hi", "function_call": {"name": "", "arguments": ""}},
    "named": {"content": None, "function_call": {"name": "w", "arguments": "{}"}},
}


async def behave(exchange: Exchange) -> None:
    kind, stream = exchange.seen.model, exchange.seen.json.get("stream", False)
    said: Json = {"role": "assistant", "refusal": None, **SAID[kind]}
    choice: Json = {"index": 0, "logprobs": None, "finish_reason": "function_call" if kind == "named" else "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    reply: Json = {"id": "", "created": 1, "model": "m", "usage": usage}
    if not stream:
        await exchange.json({**reply, "object": "chat.completion", "choices": [{**choice, "message": said}]})
        return
    if kind == "calls":
        said["tool_calls"] = [{"index": at, **each} for at, each in enumerate(said["tool_calls"][:2])]
    chunk = {"id": "", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    await exchange.open_stream()
    await exchange.event({**chunk, "choices": [{**choice, "delta": said, "finish_reason": None}]})
    await exchange.event({**chunk, "choices": [{**choice, "delta": {"content": "."}, "finish_reason": None}]})
    await exchange.event({**chunk, "choices": [{**choice, "delta": {}}]})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


upstream, live = upstream_that(behave), live_in_front_of_all()


def asked(live: LiveGateway, kind: str, *, stream: bool) -> tuple[int, list[Json], set[str]]:
    """The status, the reply or its chunks, and the rules that its head names."""
    body = {"model": f"lab/{kind}", "stream": stream, "messages": [{"role": "user", "content": "a"}]}
    response = post(live, "/v1/chat/completions", body)
    rules = set(response.headers.get("x-gateway-repaired", "").split(","))
    if not stream:
        return response.status_code, [response.json()], rules
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    return response.status_code, [json.loads(each) for each in data], rules


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ["text", "calls"])
def test_each_id_has_something_in_it_and_is_one_of_its_own(live: LiveGateway, kind: str, *, stream: bool) -> None:
    for _ in range(3):  # replies of a known form are recognised from the second one on
        status, replies, rules = asked(live, kind, stream=stream)
        assert status == 200
        assert len({reply["id"] for reply in replies}) == 1
        assert replies[0]["id"].startswith("chatcmpl-")
        assert "fill-id" in rules
        if kind == "calls":
            (choice,) = replies[0]["choices"]
            ids = [call["id"] for call in choice["delta" if stream else "message"]["tool_calls"]]
            assert len(set(ids)) == len(ids) == (2 if stream else 3)
            assert all(ident.startswith("call_") for ident in ids)
            assert "fill-tool-call-id" in rules


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_deprecated_call_has_a_name_too(live: LiveGateway, *, stream: bool) -> None:
    status, replies, _ = asked(live, "nameless", stream=stream)
    assert stream or status == 502
    assert "without naming it" in replies[-1]["error"]["message"]
    status, replies, _ = asked(live, "named", stream=stream)
    assert status == 200
    called = replies[0]["choices"][0]["delta" if stream else "message"]["function_call"]
    assert called == {"name": "w", "arguments": "{}"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_deprecated_call_that_says_nothing_is_none(live: LiveGateway, *, stream: bool) -> None:
    status, replies, rules = asked(live, "blank", stream=stream)
    assert status == 200
    assert "function_call" not in json.dumps(replies)
    assert "drop-null" in rules
