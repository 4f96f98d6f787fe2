"""What an upstream may send before its answer, and in its head: bounded, and never the end of a caller's connection."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.attacks.wires import WIRES, Wire, in_front_of_all
from tests.support.client import ask, get
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.raw_http import BODY, head, talk
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

MB = 2**20
KEPT = ["x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens", "retry-after", "retry-after-ms", "x-should-retry"]
OTHERS = ["content-type", "x-request-id", "anthropic-ratelimit-requests-remaining", "server", "x-new"]
FRAMING = ["content-length", "transfer-encoding", "content-encoding"]
BYTES = [bytes([byte]) for byte in (0x00, 0x01, 0x07, 0x08, 0x0B, 0x0C, 0x0D, 0x1B, 0x1F, 0x7F, 0x80, 0x85, 0x9B, 0xFF)]
STATUSES = ["200 OK", "400 Bad Request", "429 Too Many Requests", "500 Oops", "503 Busy"]
INTERIM = {
    "empty": b"HTTP/1.1 100 Continue\r\n\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n",
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n",
    "unknown": b"HTTP/1.1 199 What\r\n\r\n",
    "with a length": b"HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n",
}


async def behave(exchange: Exchange) -> None:
    kind, _, rest = exchange.seen.model.partition("/")
    if kind == "interim":
        await exchange.raw(*[INTERIM[rest] * 2_000] * 1_000_000)
    elif kind == "slow interim":
        await exchange.raw(*[INTERIM["empty"]] * 1_000_000)
    wire, stream, status, name, byte = PLANS[exchange.seen.model]
    line = f"{name}: 1{byte.decode('latin-1')}2"
    if name == "content-length":
        line = f"content-length: 1{byte.decode('latin-1')}"
    good = wire.reply("Hello", line, stream=stream, status=status)
    await exchange.raw(good)


PLANS: dict[str, tuple[Wire, bool, str, str, bytes]] = {}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture
def live(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return in_front_of_all(gateway_for, upstream, REQUEST_TIMEOUT_S="2")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_interim_replies_without_end_are_no_answer_and_hold_nobody_up(
    live: LiveGateway, wire: Wire, *, stream: bool
) -> None:
    before = live.rss()
    statuses: list[int] = []

    def flooded() -> None:
        replies = (ask(live, f"interim/{kind}", provider=wire.provider, stream=stream) for kind in INTERIM)
        statuses.extend(reply.status_code for reply in replies)

    asking = threading.Thread(target=flooded)
    asking.start()
    waits = []
    while asking.is_alive():
        began = time.monotonic()
        assert get(live, "/healthz").status_code == 200
        waits.append(time.monotonic() - began)
    asking.join()
    assert statuses == [502] * len(INTERIM)
    assert max(waits) < 10
    assert live.rss() - before < 20 * MB


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_interim_replies_now_and_then_get_no_more_time_than_silence(live: LiveGateway, wire: Wire) -> None:
    assert ask(live, f"slow interim/{wire.provider}", provider=wire.provider).status_code in {502, 504}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.provider)
def test_no_byte_in_a_header_leaves_a_caller_without_an_answer(live: LiveGateway, wire: Wire, *, stream: bool) -> None:
    """An answer, or a 502; clean in any case, and the connection of the caller goes on."""
    number = 0
    for status in STATUSES[:: 1 if stream else 2]:
        for name in [*KEPT, *OTHERS, *FRAMING]:
            byte = BYTES[number % len(BYTES)]
            number += 5
            model = f"{wire.provider}/{stream}/{status}/{name}/{byte!r}"
            PLANS[model] = (wire, stream, status, name, byte)
            reply = ask(live, model, provider=wire.provider, stream=stream)
            assert reply.status_code in {200, 400, 429, 502, 503}, (model, reply.status_code, reply.text)
            assert reply.status_code != 500
            for field, value in reply.headers.multi_items():
                assert value.isprintable(), (model, field, value)
            if reply.status_code == 200:
                assert "Hello" in reply.text
            else:
                assert reply.json()["error"]["message"]


@pytest.mark.parametrize("byte", BYTES)
def test_each_byte_in_each_header_that_is_kept(live: LiveGateway, byte: bytes) -> None:
    for status in ("200 OK", "429 Too Many Requests"):
        for name in KEPT:
            model = f"each/{status}/{name}/{byte!r}"
            PLANS[model] = (WIRES[0], False, status, name, byte)
            body = BODY.replace(b'"m"', b'"' + model.replace("\\", "\\\\").encode() + b'"')
            answer = talk(live, head(body, "Connection: close", provider="lab") + body)
            assert answer is not None, model
            assert answer.status in {int(status[:3]), 502}
            lines = answer.raw.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"")
            assert not [one for one in lines if one < 0x20 or 0x7F <= one < 0xA0]
