"""A stream whose first chunk is late: the head and comments go out, and what comes later is told inside of it."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.attacks.wires import WIRES, Wire, in_front_of_all, upstream_that
from tests.support.client import CHAT, ask, body_of, client_of
from tests.support.gateway import LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Hangup, Upstream, head

pytestmark = pytest.mark.live

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


slow = upstream_that(late)


@pytest.fixture(scope="module")
def hasty(gateway_for: SharedGateways, slow: Upstream) -> LiveGateway:
    return gateway_for(**in_front_of(slow), FIRST_BYTE_S="0.2")


@pytest.fixture(scope="module")
def patient(gateway_for: SharedGateways, slow: Upstream) -> LiveGateway:
    """On a busy machine, what is early may take longer than a hasty gateway waits."""
    return gateway_for(**in_front_of(slow), FIRST_BYTE_S="60")


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


def test_an_early_failure_keeps_its_status(patient: LiveGateway) -> None:
    response = ask(patient, "early-refused", provider="lab", stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "nope")


def test_a_stream_that_begins_in_time_has_no_comments(patient: LiveGateway) -> None:
    response = ask(patient, "early-good", provider="lab", stream=True)
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


# -- whatever wire the upstream has, and whatever door the client came through --

WORDS = "no such thing"
PARTS: dict[str, list[bytes]] = {}
AWAITED: set[str] = set()
"""The models whose head has arrived."""
MAX_LOOKS = 1500


async def late_on_any_wire(exchange: Exchange) -> None:
    """The bytes that are planned for the model; the second of them come when the head has arrived, or far too late."""
    model = exchange.seen.model
    for number, part in enumerate(PARTS[model]):
        for _ in range(MAX_LOOKS if number == 1 else 0):
            if model in AWAITED:
                break
            await asyncio.sleep(0.02)
        await exchange.raw(part)
    raise Hangup


any_wire = upstream_that(late_on_any_wire)


def opened(wire: Wire) -> bytes:
    return head(200, {"content-type": wire.media, "connection": "close"})


def refused(wire: Wire) -> bytes:
    """A refusal in the words of the wire's own upstreams."""
    said: object = {"error": WORDS}
    if wire.provider != "ollama":
        said = {"type": "error", "error": {"type": "invalid_request_error", "message": WORDS}}
    body = json.dumps(said).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    return head(400, fields) + body


def failed(wire: Wire) -> bytes:
    """A failure inside of a stream."""
    if wire.provider == "ollama":
        return json.dumps({"error": WORDS}).encode() + b"\n"
    said = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": WORDS}}).encode()
    return b"event: error\ndata: %b\n\n" % said if wire.provider == "anthropic" else b"data: %b\n\n" % said


DOORS = ["/v1/chat/completions", "/api/chat", "/api/generate"]
GIVEN = [(wire, door) for wire in WIRES for door in DOORS if (wire.provider, door) != ("ollama", "/api/generate")]
PLANS: dict[str, Callable[[Wire], list[bytes]]] = {
    "head late": lambda wire: [b"", opened(wire) + wire.stream("Hi")],
    "piece late": lambda wire: [opened(wire), wire.stream("Hi")],
    "refused late": lambda wire: [b"", refused(wire)],
    "failed late": lambda wire: [opened(wire), failed(wire)],
    "broken late": lambda wire: [opened(wire), b""],
    "refused": lambda wire: [refused(wire)],
    "failed": lambda wire: [opened(wire) + failed(wire)],
}


LATE = " late"


@dataclass
class Reply:
    """`early` says whether the head was there while the upstream had not ended."""

    status: int
    provider: str | None
    early: bool
    text: str

    @property
    def said(self) -> list[object]:
        """The objects of the stream, without its signs of life and its terminator."""
        lines = [line.removeprefix("data: ") for line in self.text.split("\n")]
        return [json.loads(line) for line in lines if line and not line.startswith(":") and line != "[DONE]"]


@pytest.fixture(scope="module")
def replies(gateway_for: SharedGateways, any_wire: Upstream) -> dict[str, Reply]:
    """All of them at once."""
    hasty = in_front_of_all(gateway_for, any_wire, FIRST_BYTE_S="0.2")
    patient = in_front_of_all(gateway_for, any_wire, FIRST_BYTE_S="60")

    def reply(wire: Wire, door: str, kind: str) -> tuple[str, Reply]:
        model = f"{kind}/{wire.provider}{door}"
        PARTS[model] = PLANS[kind](wire)
        body: dict[str, object] = {"model": f"{wire.provider}/{model}", "stream": True}
        body |= {"prompt": "a"} if door == "/api/generate" else {"messages": [{"role": "user", "content": "a"}]}
        live = hasty if kind.endswith(LATE) else patient
        with client_of(live) as client, client.stream("POST", door, json=body) as response:
            early = not any_wire.last(model).gone.is_set()
            AWAITED.add(model)
            provider = response.headers.get("x-gateway-provider")
            return model, Reply(response.status_code, provider, early, response.read().decode())

    with ThreadPoolExecutor(len(GIVEN) * len(PLANS)) as threads:
        asked = [threads.submit(reply, *given, kind) for given in GIVEN for kind in PLANS]
        return dict(each.result() for each in asked)


EACH = pytest.mark.parametrize(("wire", "door"), GIVEN, ids=[f"{wire.provider} {door}" for wire, door in GIVEN])


@EACH
@pytest.mark.parametrize("kind", ["head late", "piece late"])
def test_the_head_of_any_stream_goes_out_although_its_first_piece_is_late(
    replies: dict[str, Reply], wire: Wire, door: str, kind: str
) -> None:
    reply = replies[f"{kind}/{wire.provider}{door}"]
    assert (reply.status, reply.provider, reply.early) == (200, wire.provider, True)
    assert reply.text.startswith(": keep-alive\n\n") is (door == DOORS[0])
    assert "Hi" in reply.text
    if door == DOORS[0]:
        assert reply.text.endswith("data: [DONE]\n\n")
    else:
        assert [line["done"] for line in reply.said if isinstance(line, dict)] == [False, True]


@EACH
@pytest.mark.parametrize("kind", ["refused late", "failed late", "broken late"])
def test_a_late_failure_of_any_stream_is_told_inside_of_it(
    replies: dict[str, Reply], wire: Wire, door: str, kind: str
) -> None:
    reply = replies[f"{kind}/{wire.provider}{door}"]
    assert reply.status == 200
    (error,) = reply.said
    assert isinstance(error, dict)
    assert list(error) == ["error"]
    assert (WORDS in json.dumps(error)) is (kind != "broken late")
    assert "[DONE]" not in reply.text


@EACH
@pytest.mark.parametrize("kind", ["refused", "failed"])
def test_an_early_failure_of_any_stream_keeps_its_status(
    replies: dict[str, Reply], wire: Wire, door: str, kind: str
) -> None:
    reply = replies[f"{kind}/{wire.provider}{door}"]
    assert reply.status == 400 if kind == "refused" else reply.status >= 400
    assert WORDS in reply.text
