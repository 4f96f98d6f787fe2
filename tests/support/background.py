"""Responses in the background as tests see them: an upstream that says as much as it may, and readers of the events."""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2

from tests.support.behaviours import piece
from tests.support.client import client_of, eventually, get
from tests.support.gateway import LiveGateway
from tests.support.responses import valid
from tests.support.upstream import Exchange

WORDS = 40
LONG = "0123456789" * 10_000


class Tap:
    """What an upstream may say of each model's answer by now. `words` that are more than all end it."""

    def __init__(self) -> None:
        self.words: dict[str, int] = {}

    async def behave(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        model = exchange.seen.model
        said = 0
        much = LONG if model.startswith("long") else ""
        while said <= WORDS:
            if said < self.words.get(model, 0):
                finish = "stop" if said == WORDS else None
                await exchange.event(
                    piece(exchange, None if finish else f"word{said} {much}", finish=finish, first=said == 0)
                )
                said += 1
            else:
                await asyncio.sleep(0.005)
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end_stream()


class Reading:
    """A client that reads events in a thread of its own, up to a number if it is to leave then, or to the end."""

    def __init__(self, stream: Callable[[httpx2.Client], Any], live: LiveGateway, until: int | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.done = False
        self._stream, self._live, self._until = stream, live, until
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(httpx2.TransportError), client_of(self._live) as client, self._stream(client) as reply:
            assert reply.status_code == 200, reply.read()
            for line in reply.iter_lines():
                if line == "data: [DONE]":
                    self.done = True
                elif line.startswith("data: "):
                    self.events.append(json.loads(line.removeprefix("data: ")))
                    if self._until is not None and self.events[-1]["sequence_number"] >= self._until:
                        return

    def has(self, number: int) -> None:
        eventually(lambda: bool(self.events) and self.events[-1]["sequence_number"] >= number)

    def end(self) -> list[dict[str, Any]]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.events


def begin(live: LiveGateway, model: str, until: int | None = None) -> Reading:
    body = {"model": f"lab/{model}", "input": "hello", "background": True, "stream": True}
    return Reading(lambda client: client.stream("POST", "/v1/responses", json=body), live, until)


def follow(live: LiveGateway, response_id: str, after: int | None = None, until: int | None = None) -> Reading:
    query = {"stream": "true", **({} if after is None else {"starting_after": str(after)})}
    path = f"/v1/responses/{response_id}"
    return Reading(lambda client: client.stream("GET", path, params=query), live, until)


def ended(live: LiveGateway, response_id: str) -> dict[str, Any]:
    """The response once nobody makes it any more."""
    seen: list[dict[str, Any]] = []

    def is_over() -> bool:
        seen.append(get(live, f"/v1/responses/{response_id}").json())
        return seen[-1]["status"] not in {"queued", "in_progress"}

    eventually(is_over, within=45)
    return seen[-1]


def id_of(reading: Reading) -> str:
    reading.has(0)
    identifier: str = reading.events[0]["response"]["id"]
    return identifier


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["sequence_number"] for event in events]


def is_whole(events: list[dict[str, Any]]) -> bool:
    """From the first to the last without a gap or a double, of the contract, with the answer in the end."""
    for event in events:
        valid("ResponseStreamEvent").validate(event)
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert numbers(events) == list(range(len(events)))
    assert kinds(events)[:3] == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]
    assert kinds(events)[-1] == "completed"
    final = events[-1]["response"]
    assert [final["status"], final["background"], final["store"]] == ["completed", True, True]
    assert final["output"][0]["content"][0]["text"] == text
    return text == "".join(f"word{number} " for number in range(WORDS))
