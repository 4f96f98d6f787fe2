"""Streams of responses and messages over HTTP: legal whatever the upstream does, ended, and left with their client."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from scripts.fuzz import message_grammar, response_grammar
from tests.support.behaviours import TABLE
from tests.support.client import client_of, post
from tests.support.gateway import LiveGateway, SharedGateways, in_front_of
from tests.support.responses import valid
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

DOORS = ("responses", "messages")
GONE_S = 15.0
LATE_S = 1.0
# What takes a second or more by its nature, and ends as others do.
SLOW = {"drip", "endless-body", "flood", "gzip-bomb", "hang-after-headers", "hang-before-headers", "huge-body", "paced"}
SLOW |= {"loris-body", "loris-headers", "stalled-stream", "stream-giant-line"}


def body_for(door: str, model: str, **fields: Any) -> dict[str, Any]:
    if door == "responses":
        return {"model": model, "input": "hello", "stream": True, "store": False, **fields}
    message = {"role": "user", "content": "hello"}
    return {"model": model, "max_tokens": 100, "messages": [message], "stream": True, **fields}


def checked(door: str, response: httpx2.Response) -> dict[str, Any]:
    """The end of a stream that keeps to the grammar and the contract: the response, or the message or its error."""
    assert response.headers["content-type"].startswith("text/event-stream")
    if door == "responses":
        for event in response_grammar.events_of(response.content):
            valid("ResponseStreamEvent").validate(event)
        return response_grammar.check(response.content)
    for event in message_grammar.events_of(response.content):
        schema = {"error": "AnthropicErrorResponse"}.get(event["type"], "AnthropicMessageStreamEvent")
        if event["type"] != "ping":
            valid(schema).validate(event)
    checker = message_grammar.check(response.content)
    return {"error": checker.error} if checker.error else (checker.message or {})


@pytest.fixture(scope="module")
def ends(relay: LiveGateway, upstream: Upstream) -> dict[tuple[str, str], httpx2.Response]:
    """What each door answers to each behaviour, all asked at once."""
    names = sorted(TABLE.keys() - SLOW)

    def asked(door: str, name: str) -> httpx2.Response:
        return post(relay, f"/lab/v1/{door}", body_for(door, f"{name}#{door}"))

    with ThreadPoolExecutor(8) as threads:
        futures = {(door, name): threads.submit(asked, door, name) for door in DOORS for name in names}
        return {key: future.result() for key, future in futures.items()}


@pytest.mark.parametrize("door", DOORS)
def test_whatever_an_upstream_does_the_stream_is_legal_or_refused(
    ends: dict[tuple[str, str], httpx2.Response], door: str
) -> None:
    refused = 0
    for (each, name), response in ends.items():
        if each != door:
            continue
        if response.status_code != 200:
            assert response.json()["error"]["message"], name
            refused += 1
            continue
        checked(door, response)
    assert 0 < refused < len(ends) / len(DOORS) - 5


@pytest.mark.parametrize("name", ["stream-cut", "stream-error", "stream-reset", "stream-unfinished"])
def test_what_breaks_after_the_head_is_told_in_the_wires_own_words(
    ends: dict[tuple[str, str], httpx2.Response], name: str
) -> None:
    response = checked("responses", ends["responses", name])
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert checked("messages", ends["messages", name])["error"]["type"] in {"api_error", "overloaded_error"}


FAULTS = {
    "fault-truncate": ("failed", "server_error", "api_error"),
    "fault-midstream-error": ("failed", "server_error", "api_error"),
    "fault-midstream-429": ("failed", "rate_limit_exceeded", "rate_limit_error"),
    "fault-midstream-context": ("failed", "context_length_exceeded", "invalid_request_error"),
    "fault-midstream-overloaded": ("failed", "server_error", "overloaded_error"),
    "fault-length": ("incomplete", "max_output_tokens", "max_tokens"),
    "fault-content-filter": ("incomplete", "content_filter", "refusal"),
    "fault-refusal": ("completed", None, "refusal"),
    "fault-empty": ("completed", None, "end_turn"),
    "fault-pause-turn": ("incomplete", "max_output_tokens", "pause_turn"),
    "fault-context-window": ("incomplete", "max_output_tokens", "model_context_window_exceeded"),
}


@pytest.mark.parametrize("model", FAULTS)
def test_the_built_in_provider_has_a_model_for_every_end(gateway: LiveGateway, model: str) -> None:
    status, reason, stopped = FAULTS[model]
    response = checked("responses", post(gateway, "/custom/v1/responses", body_for("responses", model)))
    reported = (response["error"] or {}).get("code") or (response["incomplete_details"] or {}).get("reason")
    assert (response["status"], reported) == (status, reason)
    message = checked("messages", post(gateway, "/custom/v1/messages", body_for("messages", model)))
    assert (message["error"]["type"] if status == "failed" else message["stop_reason"]) == stopped


def test_an_overloaded_upstream_has_the_status_that_clients_of_messages_know(gateway: LiveGateway) -> None:
    refused = post(gateway, "/custom/v1/messages", body_for("messages", "fault-overloaded"))
    assert (refused.status_code, refused.json()["error"]["type"]) == (529, "overloaded_error")


def test_a_thought_goes_with_its_signature_through_both_doors(gateway: LiveGateway) -> None:
    response = checked(
        "responses", post(gateway, "/custom/v1/responses", body_for("responses", "m", reasoning={"effort": "low"}))
    )
    reasoning, message = response["output"]
    assert reasoning["summary"][0]["text"].startswith("Let me think")
    assert reasoning["encrypted_content"].startswith("gw1.")
    assert message["content"][0]["text"]
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    thinking = {"type": "enabled", "budget_tokens": 1024}
    reported = checked(
        "messages",
        post(gateway, "/custom/v1/messages", body_for("messages", "m", thinking=thinking, max_tokens=4000)),
    )
    assert reported["content"][0]["thinking"].startswith("Let me think")
    assert reported["content"][0]["signature"]


def test_counts_of_a_cache_are_told_apart(gateway: LiveGateway) -> None:
    text = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}
    first = {"role": "user", "content": [text]}
    asked = body_for("messages", "m", messages=[first])
    usage = checked("messages", post(gateway, "/custom/v1/messages", asked))["usage"]
    assert usage["cache_creation_input_tokens"] > 0 == usage["cache_read_input_tokens"]
    asked = body_for("messages", "m", messages=[first, {"role": "assistant", "content": "Hi."}, first])
    again = checked("messages", post(gateway, "/custom/v1/messages", asked))["usage"]
    assert again["cache_read_input_tokens"] == usage["cache_creation_input_tokens"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("point", ["drip", "stalled-stream", "hang-after-headers"])
def test_a_client_that_leaves_takes_its_upstream_with_it(
    relay: LiveGateway, upstream: Upstream, door: str, point: str
) -> None:
    model = f"{point}#left-{door}"
    with client_of(relay, "/lab/v1/") as client:
        client.timeout = httpx2.Timeout(1.0 if point == "hang-after-headers" else 30.0)
        try:
            with client.stream("POST", door, json=body_for(door, model)) as response:
                next(response.iter_raw())
        except httpx2.TimeoutException:
            assert point == "hang-after-headers"
    assert upstream.last(model).gone.wait(GONE_S), "the upstream was never told"


# -- a first chunk that is late --


async def late(exchange: Exchange) -> None:
    await asyncio.sleep(LATE_S)
    if exchange.seen.model.startswith("refused"):
        await exchange.json({"error": {"message": "no such thing", "code": "nope"}}, status=400)
        return
    await exchange.open_stream()
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"role": "assistant", "content": "Hi"}
    await exchange.event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@pytest.fixture(scope="module")
def hasty(gateway_for: SharedGateways) -> Iterator[LiveGateway]:
    with running_upstream(late) as slow:
        yield gateway_for(**in_front_of(slow), FIRST_BYTE_S="0.1")


def test_a_response_is_kept_alive_by_comments_until_it_begins(hasty: LiveGateway) -> None:
    response = post(hasty, "/lab/v1/responses", body_for("responses", "good"))
    assert response.text.startswith(": keep-alive\n\n")
    assert checked("responses", response)["status"] == "completed"


def test_a_message_is_kept_alive_by_pings_until_it_begins(hasty: LiveGateway) -> None:
    response = post(hasty, "/lab/v1/messages", body_for("messages", "good"))
    assert response.text.startswith('event: ping\ndata: {"type":"ping"}\n\n')
    assert checked("messages", response)["stop_reason"] == "end_turn"


ENDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "responses": lambda end: (end["status"], end["error"]["message"]),
    "messages": lambda end: ("failed", end["error"]["message"]),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_refusal_after_the_head_ends_a_stream_that_never_began(hasty: LiveGateway, door: str) -> None:
    response = post(hasty, f"/lab/v1/{door}", body_for(door, "refused"))
    assert response.status_code == 200
    assert ENDS[door](checked(door, response)) == ("failed", "no such thing")
