"""Thousands of random attacks: the gateway stays up, and whatever it answers is an answer on its wire.

`ATTACK_SEED` chooses others than usual; `make soak` makes many more.
"""

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.attacks.harness import (
    Malformed,
    Sent,
    chat,
    connection,
    judged,
    misshapen,
    nth,
    rich_chat,
    rich_completion,
    rich_embeddings,
    rich_generate,
    rich_ollama_chat,
    upstream_reply,
)
from tests.attacks.wires import WIRES, live_in_front_of_all, upstream_that
from tests.support import bare_sockets
from tests.support.client import ask, get
from tests.support.gateway import HOST, TEST_KEY, LiveGateway
from tests.support.upstream import Exchange

SEED = int(os.environ.get("ATTACK_SEED", "20261126"))
SHORT, LONG = 400, 20_000
AT_ONCE = 12
QUIET_S = 0.2
MB = 2**20
# What a gateway may take more after so many attacks than after the first hundred.
ROOM = 40 * MB
REPLIES: dict[str, Sent] = {}
OPENAI, _, ANTHROPIC, OLLAMA = WIRES
JSON = "application/json"


async def behave(exchange: Exchange) -> None:
    sent = REPLIES.get(exchange.seen.model.removesuffix(":latest"))
    if sent is None:
        await answer_well(exchange)
        return
    await exchange.raw(*sent.pieces)
    exchange.writer.close()


async def answer_well(exchange: Exchange) -> None:
    """A good reply of the wire that is asked on, to whatever is asked."""
    path = exchange.seen.path.partition("?")[0]
    wire = {"/api/chat": OLLAMA, "/v1/messages": ANTHROPIC}.get(path, OPENAI if path.endswith("/completions") else None)
    if wire is None:
        await exchange.json({"object": "list", "data": []})
        return
    stream = exchange.seen.json.get("stream") is True
    await exchange.reply(wire.stream("Hi") if stream else wire.whole("Hi"), content_type=wire.media if stream else JSON)


upstream = upstream_that(behave)
live = live_in_front_of_all(BODY_TIMEOUT_S="2", REQUEST_TIMEOUT_S="2", STREAM_IDLE_TIMEOUT_S="2", LOG_LEVEL="error")


async def sent_and_received(port: int, data: bytes, *, whole: bool) -> bytes:
    """Everything that comes back until the end or, where the end of the request is not certain, until it is quiet."""
    received = b""
    async with bare_sockets.connection(port) as (reader, writer):
        try:
            writer.write(data)
            await writer.drain()
            while part := await asyncio.wait_for(reader.read(2**16), 30 if whole else QUIET_S):
                received += part
        except (TimeoutError, ConnectionError):
            if whole:
                raise Malformed("no end", received[-300:]) from None
    return received


async def attack(live: LiveGateway, count: int, one: Callable[[int], Awaitable[bytes]]) -> Counter[str]:
    """So many attacks, some at a time. Raises Malformed with the seed and number of one that was answered badly."""
    seen = Counter[str]()
    numbers = iter(range(count))

    async def attacker() -> None:
        for number in numbers:
            try:
                seen.update(judged(await one(number)) or ["closed"])
            except Malformed as error:
                raise Malformed(f"seed {SEED}, number {number}", *error.args) from error

    async with asyncio.timeout(1_500), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(attacker())
    return seen


async def survives(live: LiveGateway, kind: str, count: int, one: Callable[[int], Awaitable[bytes]]) -> Counter[str]:
    await attack(live, 100, one)
    before = live.rss()
    seen = await attack(live, count, one)
    grown = live.rss() - before
    sys.stdout.write(
        f"\n{kind}: seed {SEED}, {count} attacks, {grown / MB:.1f} MB more, {dict(sorted(seen.items()))}\n"
    )
    assert live.process.poll() is None
    assert get(live, "/healthz").status_code == 200
    assert ask(live, "m", provider="custom").status_code == 200
    assert grown < ROOM
    assert "Traceback" not in live.log()
    return seen


async def raw_connections(live: LiveGateway, count: int) -> None:
    async def one(number: int) -> bytes:
        return await sent_and_received(live.port, connection(nth(SEED, number)), whole=False)

    seen = await survives(live, "raw connections", count, one)
    assert {"200", "400", "401"} <= seen.keys()


def posted(path: str, value: object) -> bytes:
    body = json.dumps(value).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TEST_KEY}\r\nConnection: close\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def upstream_replies(live: LiveGateway, count: int) -> None:
    async def one(number: int) -> bytes:
        dice = nth(SEED, number)
        sent = upstream_reply(dice)
        model = f"attack-{number}"
        REPLIES[model] = sent
        messages = [{"role": "user", "content": "Hello"}]
        if dice.random() < 0.5:
            path, asked = f"/{sent.wire.provider}/v1/chat/completions", {"model": model}
        else:
            path, asked = "/api/chat", {"model": f"{sent.wire.provider}/{model}"}
        try:
            request = posted(path, {**asked, "messages": messages, "stream": sent.stream})
            return await sent_and_received(live.port, request, whole=True)
        finally:
            del REPLIES[model]

    seen = await survives(live, "upstream replies", count, one)
    assert {"200", "502"} <= seen.keys()
    assert not {"closed", "cut"} & seen.keys(), "a caller got no answer, or half of one"


type MakeBody = Callable[[random.Random], dict[str, Any]]


def at_model(name: str, make: MakeBody) -> MakeBody:
    return lambda dice: {**make(dice), "model": name}


BODIES: dict[str, MakeBody] = {
    "/custom/v1/chat/completions": chat,
    "/custom/v1/completions": lambda _: {"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "echo": True},
    "/custom/v1/embeddings": lambda _: {"model": "m", "input": ["a", "b"], "dimensions": 8},
    "/api/chat": lambda _: {
        "model": "custom/m",
        "messages": [{"role": "user", "content": "Hi"}],
        "options": {"num_predict": 5},
    },
    "/api/generate": lambda _: {"model": "custom/m", "prompt": "Hi", "options": {"num_predict": 5}, "format": {}},
    "/api/embed": lambda _: {"model": "custom/m", "input": ["a"]},
    "/api/show": lambda _: {"model": "custom/m"},
    "/api/embeddings": lambda _: {"model": "custom/m", "prompt": "a"},
}
# Bodies of many fields, through every transport and translation: few of their parts are misshapen, so that some pass.
PROVIDERS = ("custom", *(wire.provider for wire in WIRES))
RICH: list[tuple[str, MakeBody]] = [
    *((f"/{provider}/v1/chat/completions", rich_chat) for provider in PROVIDERS),
    *((f"/{provider}/v1/completions", rich_completion) for provider in PROVIDERS),
    *((f"/{provider}/v1/embeddings", rich_embeddings) for provider in PROVIDERS),
    *(("/v1/chat/completions", at_model(f"{provider}/m", rich_chat)) for provider in PROVIDERS),
    *(("/api/chat", at_model(f"{provider}/m", rich_ollama_chat)) for provider in PROVIDERS),
    *(("/api/generate", at_model(f"{provider}/m", rich_generate)) for provider in PROVIDERS),
]


async def shapes_of_bodies(live: LiveGateway, count: int) -> None:
    async def one(number: int) -> bytes:
        dice = nth(SEED, number)
        if dice.random() < 0.4:
            path, make = dice.choice(list(BODIES.items()))
            chance = 0.08
        else:
            path, make = dice.choice(RICH)
            chance = 0.015
        return await sent_and_received(live.port, posted(path, misshapen(dice, make(dice), chance)), whole=True)

    seen = await survives(live, "shapes of bodies", count, one)
    assert {"200", "400"} <= seen.keys()
    assert not {"closed", "cut"} & seen.keys()


KINDS = [raw_connections, upstream_replies, shapes_of_bodies]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_few_hundred_attacks_of_each_kind(live: LiveGateway, kind: Callable[..., Awaitable[None]]) -> None:
    await kind(live, SHORT)


@pytest.mark.anyio
@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_thousands_of_attacks_of_each_kind(live: LiveGateway, kind: Callable[..., Awaitable[None]]) -> None:
    await kind(live, LONG)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: b\x01\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n{}\n",
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nmore\r\n\r\n",
    ],
)
def test_the_judge_sees_what_is_no_reply(raw: bytes) -> None:
    with pytest.raises(Malformed):
        judged(raw)
