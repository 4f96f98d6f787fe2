"""Background responses made through chat, whole or as events."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, override

from ai_gateway.api.responses.dropped import note_dropped
from ai_gateway.api.responses.making import Maker, Prepared
from ai_gateway.api.responses.queueing import EventSource, Whole, queue_stream, queue_whole
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Framed, Item, Stream
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models


async def queued(
    maker: Maker, call: Call, request: Prepared
) -> Item[models.Response] | Stream[models.ResponseStreamEvent]:
    """The queued response, or its events."""
    note_dropped(call, request.translated.dropped)
    if request.body.stream:
        return await queue_stream(maker, call, request, lambda own: TranslatedEvents(maker, own, request))
    return await queue_whole(maker, call, request, lambda own: TranslatedWhole(maker, own, request))


class TranslatedWhole(Whole):
    """A response without a stream. Results of gateway-run tools are available before its end."""

    def __init__(self, maker: Maker, call: Call, request: Prepared) -> None:
        self._maker, self._call, self._request = maker, call, request
        self._so_far: Callable[[], Item[openai.CreateChatCompletionResponse]] | None = None

    @override
    async def make(self) -> Fields:
        return await self._maker.make(self._call, self._request, self._note)

    def _note(self, so_far: Callable[[], Item[openai.CreateChatCompletionResponse]]) -> None:
        self._so_far = so_far

    @override
    def so_far(self) -> list[Any]:
        return [] if self._so_far is None else self._maker.items(self._so_far().model, self._request)


class TranslatedEvents(EventSource):
    """A streamed response."""

    def __init__(self, maker: Maker, call: Call, request: Prepared) -> None:
        self._stream, bridge = maker.bridged(call, request)
        self._events = bridge.events

    @property
    @override
    def number(self) -> int:
        return self._events.number

    @property
    @override
    def final(self) -> bytes:
        return self._events.final

    @override
    def queued(self) -> bytes:
        return self._events.queued()

    @override
    async def events(self) -> AsyncGenerator[Framed]:
        items: AsyncGenerator[Any] = self._stream.items
        async with aclosing(items) as pieces:
            async for piece in pieces:
                yield piece

    @override
    def failed(self, error: Mapping[str, str]) -> bytes:
        return self._events.failed(error["code"], error["message"])

    @override
    def cancelled(self) -> bytes:
        return self._events.cancelled()
