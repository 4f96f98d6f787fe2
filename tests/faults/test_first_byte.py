"""A stream whose first chunk is late: the head and comments go out, and what comes later is told inside of it."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.support.client import CHAT, ask, body_of, client_of
from tests.support.gateway import LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Upstream, running_upstream

PIECE = {
    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
}  # fmt: skip
LATE_S = 1.5


async def late(exchange: Exchange) -> None:
    """`late-...` waits before it says anything, and a comment says nothing; `never` waits until the client leaves."""
    kind = exchange.seen.model.partition("#")[0]
    if kind == "late-comments":
        await exchange.open_stream()
        for _ in range(4):
            await exchange.chunk(b": processing\n\n")
            await asyncio.sleep(LATE_S / 4)
        await exchange.event(PIECE)
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end_stream()
        return
    if kind == "never":
        await exchange.hang()
    await asyncio.sleep(LATE_S if kind.startswith("late") else 0)
    if kind.endswith("refused"):
        await exchange.json({"error": {"message": "no such thing", "code": "nope"}}, status=400)
        return
    await exchange.open_stream()
    await exchange.event(PIECE)
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@pytest.fixture(scope="module")
def slow() -> Iterator[Upstream]:
    with running_upstream(late) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(gateway_for: SharedGateways, slow: Upstream) -> LiveGateway:
    return gateway_for(**in_front_of(slow), FIRST_BYTE_S="0.2")


@pytest.mark.parametrize("kind", ["late-good", "late-comments"])
def test_the_head_and_a_comment_go_out_although_the_first_chunk_is_late(hasty: LiveGateway, kind: str) -> None:
    response = ask(hasty, kind, provider="lab", stream=True)
    assert response.status_code == 200
    assert response.headers["x-gateway-provider"] == "lab"
    comment, rest = response.text.split("\n\n", 1)
    assert comment == ": keep-alive"
    assert json.loads(rest.split("\n\n")[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == "Hi"
    assert rest.endswith("data: [DONE]\n\n")


def test_the_head_is_there_before_the_upstream_has_answered(hasty: LiveGateway, slow: Upstream) -> None:
    with (
        client_of(hasty, "/lab/v1/") as client,
        client.stream("POST", CHAT, json=body_of(CHAT, "late-good#head", stream=True)) as response,
    ):
        assert response.status_code == 200
        assert not slow.last("late-good#head").gone.is_set()
        assert len(list(response.iter_raw())) > 1


def test_a_failure_after_the_head_is_an_error_event(hasty: LiveGateway) -> None:
    response = ask(hasty, "late-refused", provider="lab", stream=True)
    assert response.status_code == 200
    events = [event for event in response.text.split("\n\n") if event and not event.startswith(":")]
    (error,) = [json.loads(event.removeprefix("data: "))["error"] for event in events]
    assert (error["code"], error["message"]) == ("nope", "no such thing")


def test_an_early_failure_keeps_its_status(hasty: LiveGateway) -> None:
    response = ask(hasty, "early-refused", provider="lab", stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "nope")


def test_a_stream_that_begins_in_time_has_no_comments(hasty: LiveGateway) -> None:
    response = ask(hasty, "early-good", provider="lab", stream=True)
    assert response.text.startswith("data: ")


def test_lines_have_no_comments_but_their_head_goes_out(hasty: LiveGateway, slow: Upstream) -> None:
    body = {"model": "lab/late-good#lines", "messages": [{"role": "user", "content": "a"}], "custom_option": 1}
    with client_of(hasty) as client, client.stream("POST", "/api/chat", json=body) as response:
        assert response.status_code == 200
        assert not slow.last("late-good#lines").gone.is_set()
        lines = [json.loads(line) for line in response.iter_lines()]
    assert [line["message"]["content"] for line in lines] == ["Hi", ""]
    assert lines[-1]["done"] is True


def test_a_client_that_leaves_while_the_first_chunk_is_late_is_missed(hasty: LiveGateway, slow: Upstream) -> None:
    with (
        client_of(hasty, "/lab/v1/") as client,
        client.stream("POST", CHAT, json=body_of(CHAT, "never#left", stream=True)) as response,
    ):
        assert response.status_code == 200
    assert slow.last("never#left").gone.wait(15), "its request to the upstream ends with it"
