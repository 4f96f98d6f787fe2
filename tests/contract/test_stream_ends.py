"""The end of a stream: its last item and what ends it leave in one piece."""

from collections.abc import AsyncGenerator
from typing import Any

from ai_gateway.contract.call import Call, Notes
from ai_gateway.contract.framing import SSE
from ai_gateway.contract.stream import Framed, Item, Last, LastFramed, Stream
from ai_gateway.contract.write_stream import send_stream
from ai_gateway.errors import UpstreamStreamTruncated
from gateway_contract.openai import models

CHUNK = models.CreateChatCompletionStreamResponse(
    id="c", object="chat.completion.chunk", created=1, model="m", choices=[]
)


async def bodies(items: AsyncGenerator[Any]) -> list[bytes]:
    """The pieces that are sent of a stream of these items."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    call = Call("any", "r", attempts=[Notes("lab")])
    await send_stream(send, Stream(items), call, SSE, lambda _: b"failed")
    return sent


async def test_the_last_item_leaves_with_the_terminator() -> None:
    async def items() -> AsyncGenerator[Any]:
        yield Item(CHUNK, b"1")
        yield Item(CHUNK, b"2")
        yield Last(CHUNK, b"3")

    assert await bodies(items()) == [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\ndata: [DONE]\n\n"]


async def test_the_last_events_of_another_wire_leave_with_its_end() -> None:
    async def items() -> AsyncGenerator[Any]:
        yield Framed(b"1")
        yield LastFramed(b"2")

    assert await bodies(items()) == [b"1", b"2data: [DONE]\n\n"]


async def test_a_last_item_that_is_the_first_one_begins_the_stream() -> None:
    async def items() -> AsyncGenerator[Any]:
        yield Last(CHUNK, b"1")

    assert await bodies(items()) == [b"data: 1\n\n", b"data: [DONE]\n\n"]


async def test_events_that_are_all_of_a_stream_leave_with_its_end() -> None:
    async def items() -> AsyncGenerator[Any]:
        yield LastFramed(b"1")

    assert await bodies(items()) == [b"1data: [DONE]\n\n"]


async def test_a_failure_after_the_last_item_follows_it() -> None:
    async def items() -> AsyncGenerator[Any]:
        yield Item(CHUNK, b"1")
        yield Last(CHUNK, b"2")
        raise UpstreamStreamTruncated.ended()

    assert await bodies(items()) == [b"data: 1\n\n", b"data: 2\n\ndata: failed\n\n"]
