"""A pooled connection that has said something while nobody had asked: nobody gets what it said."""

import asyncio

import pytest

from tests.attacks.wires import WIRES, Wire, in_front_of_all, live_in_front_of_all, upstream_that
from tests.support.client import ask, events_of, eventually
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

ASKED = 3
SOON = {"later", "interim"}
said_all: set[str] = set()
"""What comes when the connection is idle. (Behind the next request it could not be told from that one's reply.)"""


async def behave(exchange: Exchange) -> None:
    """Answer what was asked, and something else behind it. The model says which wire, and how."""
    _, number, stream, how = exchange.seen.model.split("/")
    wire = WIRES[int(number)]
    good = wire.reply(f"for {exchange.seen.model}", stream=stream == "stream")
    poison = wire.reply("poison", stream=stream == "stream")
    if how == "joined":
        await exchange.raw(good + poison)
    elif how == "joined in part":
        await exchange.raw(good + poison[: len(poison) // 2])
        await asyncio.sleep(0.03)
        await exchange.raw(poison[len(poison) // 2 :])
    elif how == "interim":
        await exchange.raw(good)
        await asyncio.sleep(0.03)
        await exchange.raw(b"HTTP/1.1 102 Processing\r\n\r\n")
    else:
        await exchange.raw(good)
        await asyncio.sleep(0.03)
        await exchange.raw(poison)
    said_all.add(exchange.seen.model)


upstream, live = upstream_that(behave), live_in_front_of_all()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", ["joined", "joined in part", "later", "interim"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_what_nobody_asked_for_is_nobodys_answer(
    live: LiveGateway, upstream: Upstream, wire: Wire, how: str, *, stream: bool
) -> None:
    name = f"{WIRES.index(wire)}/{'stream' if stream else 'whole'}/{how}"
    for number in range(ASKED):
        model = f"{number}/{name}"
        reply = ask(live, model, provider=wire.provider, stream=stream)
        assert reply.status_code == 200
        assert "poison" not in reply.text
        said = events_of(reply).text if stream else reply.json()["choices"][0]["message"]["content"]
        assert said == f"for {model}"
        if how in SOON:
            eventually(lambda model=model: model in said_all)  # type: ignore[misc]
            live.settle()
    peers = [seen.peer for number in range(ASKED) for seen in upstream.seen(f"{number}/{name}")]
    assert len(peers) == ASKED
    if how.startswith("joined"):
        assert len(set(peers)) == ASKED, "a connection was used again that had said more than its reply"


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_a_connection_that_said_nothing_more_is_used_again(gateway_for: SharedGateways, wire: Wire) -> None:
    async def good(exchange: Exchange) -> None:
        await exchange.raw(wire.reply("good"))

    with running_upstream(good) as upstream:
        live = in_front_of_all(gateway_for, upstream)
        for _ in range(ASKED + 1):
            assert ask(live, "m", provider=wire.provider).status_code == 200
        # The first request for a model that nobody knows has the list of models fetched beside it.
        asked = [seen.peer for seen in upstream.requests if seen.method == "POST"]
        assert len(set(asked[1:])) == 1
