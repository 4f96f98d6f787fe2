"""Events that arrive in pieces, each most probably one: whatever they are, they go out as if they had been parsed."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from starlette.types import Message

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations
from ai_gateway.conform.stream import conform_stream
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.framing import SSE
from ai_gateway.contract.stream import Arrived, LastPacket, Packet, Stream
from ai_gateway.contract.write_stream import send_stream
from ai_gateway.errors import GatewayError
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.sse import EventParser
from ai_gateway.providers.openai.policies import SAME_WIRE
from tests.support.chat_streams import USAGE, Chunk, chunk, said


def data(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def event(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % data(value)


FIRST = event(said(role="assistant", content=""))
TEXTS = [event(said(content=text)) for text in (" one", " two", ' "3"', " \u2028", "\n", "")]
LAST = event(said("stop"))


async def written(pieces: Sequence[bytes], *, in_pieces: bool, known: bool, mode: str, usage: bool) -> list[Message]:
    """The messages that a client gets for these pieces, or those of a stream that fails."""
    parser = EventParser(1_000_000)
    provider = Provider("lab", SAME_WIRE, conformance=mode)  # type: ignore[arg-type] # one of its modes
    attempt = Attempt(Call("createChatCompletion", "req_1"))
    conformer = Conformer(provider, attempt, "m")
    state = StreamState[Chunk](1, include_usage=usage, report=conformer.report, content_fields=conformer.content_fields)
    found = parser.pieces(list(pieces)) if in_pieces else None
    events: Sequence[bytes] = found if found is not None else list(parser.feed(b"".join(pieces)))

    async def arrived() -> AsyncGenerator[Arrived[Chunk]]:
        yield LastPacket(events) if known else Packet(events)

    items = conform_stream(
        arrived(), Chunk, state, conformer, Continuations(conformer.content_fields, attempt.notes, ("lab", usage, mode))
    )
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    def rendered(error: Exception) -> bytes:
        assert isinstance(error, GatewayError)
        return data({"error": {"message": error.message}})

    try:
        await send_stream(send, Stream(items), attempt.call, SSE, rendered)
    except GatewayError as error:
        messages.append({"type": "failed", "message": error.message})
    return messages


def body_of(messages: list[Message]) -> tuple[bytes, list[object]]:
    failed = [message["message"] for message in messages if message["type"] == "failed"]
    return b"".join(message.get("body", b"") for message in messages), failed


ODD: dict[str, bytes] = {
    "none": b"",
    "two in one piece": TEXTS[0] + TEXTS[1],
    "half": TEXTS[0][:40],
    "a comment": b": ping\n\n",
    "no blank": b"data:%b\n\n" % data(said(content="x")),
    "carriage returns": b"data: %b\r\n\r\n" % data(said(content="x")),
    "a carriage return inside": b'data: {"id":1,\r"a":2}\n\n',
    "one line end": b"data: %b\n" % data(said(content="x")),
    "over two lines": b'data: {"id":"a",\ndata: "choices":[]}\n\n',
    "another line": b"id: 7\ndata: %b\n\n" % data(said(content="x")),
    "an error": b'event: error\ndata: {"message":"no more"}\n\n',
    "no JSON": b"data: {nothing\n\n",
    "empty": b"data: \n\n",
    "three line ends": event(said(content="x")) + b"\n",
    "a control character": b"data: %b\n\n" % data(said(content="x")).replace(b'"x"', b'"\x01"'),
    "other fields": event({**said(content="x"), "more": 1}),
    "null usage": event({**said(content="x"), "usage": None}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["repair", "enforce", "observe"])
@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("odd", ODD)
async def test_pieces_go_out_as_the_events_that_they_are(odd: str, mode: str, usage: bool) -> None:
    end = [event(chunk(usage=USAGE))] if usage else []
    for at in (1, 3, 7):
        pieces = [FIRST, *TEXTS, LAST, *end]
        pieces[at:at] = [ODD[odd]] if ODD[odd] else []
        for known in (False, True):
            parsed = await written(pieces, in_pieces=False, known=known, mode=mode, usage=usage)
            apart = await written(pieces, in_pieces=True, known=known, mode=mode, usage=usage)
            assert body_of(apart) == body_of(parsed)
            assert (b" one" in body_of(apart)[0]) or at == 1


@pytest.mark.anyio
async def test_a_stream_that_arrived_whole_leaves_in_one_message() -> None:
    messages = await written([FIRST, *TEXTS, LAST], in_pieces=True, known=True, mode="repair", usage=False)
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    assert messages[1]["body"] == b"".join([FIRST, *TEXTS, LAST, SSE.end])
    assert "more_body" not in messages[1]


@pytest.mark.anyio
async def test_what_arrived_before_an_end_that_is_not_there_yet_leaves_before_it() -> None:
    messages = await written([FIRST, *TEXTS, LAST], in_pieces=True, known=False, mode="repair", usage=False)
    assert messages[1]["body"] == b"".join([FIRST, *TEXTS])
    assert messages[1]["more_body"]


def test_pieces_that_begin_in_the_middle_of_an_event_are_fed() -> None:
    parser = EventParser(1_000)
    assert parser.pieces([b": comment\n\n", FIRST]) is None
    assert parser.pieces([FIRST, LAST]) == [FIRST, LAST]
    assert parser.is_between_events
    assert list(parser.feed(FIRST[:9])) == []
    assert parser.pieces([FIRST, LAST]) is None
    assert EventParser(len(FIRST)).pieces([FIRST, LAST]) is None
