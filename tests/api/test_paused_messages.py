"""Ends that chat has no word for: a paused turn, and a full context, whichever doors and upstreams are on both sides.

Each door tells what it can: Anthropic's has the very word, and the others have it beside the nearest word of theirs.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.fuzz import message_grammar, response_grammar
from tests.support import fake_anthropic
from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.responses import valid
from tests.support.upstream import Exchange, running_upstream

pytestmark = pytest.mark.live

type Json = dict[str, Any]
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
NATIVE = "native_finish_reason"
ENDS = {"pause": "pause_turn", "context": "model_context_window_exceeded"}
EITHER = pytest.mark.parametrize("name", ENDS)
ROUTES = """
[routes.mixed-pause]
targets = ["anthropic/pause", "lab/good"]
[routes.mixed-context]
targets = ["anthropic/context", "lab/good"]
"""


async def behave(exchange: Exchange) -> None:
    """A chat that ends for the reason that its model is called by, as `finish_reason` or beside `length`."""
    said, _, how = exchange.seen.model.partition("#")
    finish = "length" if how == "beside" else said
    end = {"index": 0, "finish_reason": finish} | ({NATIVE: said} if how == "beside" else {})
    head = {"id": "c", "created": 1, "model": "m"}
    if not exchange.seen.json.get("stream"):
        choice = {**end, "message": {"role": "assistant", "content": "Hi"}}
        return await exchange.json({**head, "object": "chat.completion", "choices": [choice]})
    await exchange.open_stream()
    chunk = {**head, "object": "chat.completion.chunk"}
    first = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    await exchange.event({**chunk, "choices": [first]})
    await exchange.event({**chunk, "choices": [{**end, "delta": {}}]})
    await exchange.chunk(b"data: [DONE]\n\n")
    return await exchange.end_stream()


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    path: Path = tmp_path_factory.mktemp("routes") / "gateway.toml"
    path.write_text(ROUTES)
    with running_upstream(fake_anthropic.behave) as anthropic, running_upstream(behave) as chats:
        yield gateway_for(
            GATEWAY_CONFIG=str(path),
            ANTHROPIC_API_KEY="sk-ant-test",
            ANTHROPIC_BASE_URL=anthropic.url,
            PROVIDER_LAB_BASE_URL=chats.url,
            MAX_RETRIES="0",
        )


def message(live: LiveGateway, model: str, *, stream: bool, **fields: Any) -> tuple[Json, str]:
    """The message, and what was dropped on the way there."""
    turn = {"role": "user", "content": "Hi"}
    body = {"model": model, "max_tokens": 64, "messages": [turn], "stream": stream, **fields}
    reply = post(live, "/v1/messages", body)
    assert reply.status_code == 200, reply.text
    made: Any = message_grammar.check(reply.content).message if stream else reply.json()
    return made, reply.headers.get("x-gateway-dropped-params", "")


@STREAM
@EITHER
def test_a_client_of_messages_sees_the_word_itself_where_they_are_translated(
    live: LiveGateway, name: str, stream: bool
) -> None:
    reported, dropped = message(live, f"mixed-{name}", stream=stream, metadata={"user_id": "u"})
    assert dropped == "metadata", "or else it was relayed"
    assert (reported["stop_reason"], reported["stop_sequence"]) == (ENDS[name], None)
    assert NATIVE not in json.dumps(reported), "said once"
    assert reported["content"][-1]["text"]


@STREAM
@EITHER
def test_a_client_of_messages_sees_it_where_they_are_relayed(live: LiveGateway, name: str, stream: bool) -> None:
    reported, dropped = message(live, f"anthropic/{name}", stream=stream, metadata={"user_id": "u"})
    assert (reported["stop_reason"], dropped) == (ENDS[name], "")


@STREAM
@pytest.mark.parametrize("how", ["", "#beside"], ids=["as the reason", "beside it"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("pause_turn", "pause_turn"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("context_length_exceeded", "model_context_window_exceeded"),
        ("model_length", "model_context_window_exceeded"),
        ("MAX_TOKENS", "max_tokens"),
        ("max_output_tokens", "max_tokens"),
    ],
)
def test_words_of_upstreams_that_speak_chat_are_read(
    live: LiveGateway, said: str, reason: str, how: str, stream: bool
) -> None:
    reported, _ = message(live, f"lab/{said}{how}", stream=stream)
    assert reported["stop_reason"] == reason
    assert (NATIVE in json.dumps(reported)) is (reason == "max_tokens"), "what the reason does not say stays beside it"


@STREAM
@EITHER
def test_a_chat_is_cut_by_length_with_the_word_beside_it(live: LiveGateway, name: str, stream: bool) -> None:
    body = {"model": f"anthropic/{name}", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    reply = post(live, "/v1/chat/completions", body)
    assert "x-gateway-repaired" not in reply.headers
    if stream:
        data = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
        choices = [choice for chunk in map(json.loads, data) for choice in chunk["choices"]]
        (choice,) = (each for each in choices if each["finish_reason"])
    else:
        (choice,) = reply.json()["choices"]
    assert (choice["finish_reason"], choice[NATIVE]) == ("length", ENDS[name])


@STREAM
@EITHER
def test_a_response_is_incomplete_with_the_word_beside_it(live: LiveGateway, name: str, stream: bool) -> None:
    body = {"model": f"anthropic/{name}", "input": "Hi", "stream": stream, "store": False}
    reply = post(live, "/v1/responses", body)
    response = response_grammar.check(reply.content) if stream else reply.json()
    valid("Response").validate(response)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response[NATIVE] == ENDS[name]


@STREAM
@EITHER
def test_a_chat_of_ollamas_ends_by_length_with_the_word_beside_it(live: LiveGateway, name: str, stream: bool) -> None:
    body = {"model": f"anthropic/{name}", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    lines = post(live, "/api/chat", body).text.splitlines()
    last = json.loads(lines[-1])
    assert (last["done"], last["done_reason"], last[NATIVE]) == (True, "length", ENDS[name])
