"""Background responses: queued, and made independently of the client."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

import structlog
from pydantic_core import from_json, to_json

from ai_gateway.api.response_bridge import response_error
from ai_gateway.api.responses.background import FinishedResponse, Work
from ai_gateway.api.responses.dropped import in_terms_of_responses
from ai_gateway.api.responses.events import Events
from ai_gateway.api.responses.following import Follower
from ai_gateway.api.responses.making import Maker, Promised, written
from ai_gateway.api.responses.state import owner_of
from ai_gateway.contract.call import Call
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.stream import Framed, Item, Stream
from ai_gateway.contract.wire import RESPONSES, as_gateway_error
from ai_gateway.errors import GatewayError, Unavailable, UpstreamStreamTruncated
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai_responses import models

_log = structlog.get_logger(__name__)


class Whole(Protocol):
    """Makes a response without a stream."""

    async def make(self) -> Fields:
        """The response, when it is there."""
        ...

    def so_far(self) -> list[Any]:
        """The items of an unfinished response."""
        ...


class EventSource(Protocol):
    """Makes a response event by event. `number` is that of the next event, `final` the finished response."""

    @property
    def number(self) -> int: ...

    @property
    def final(self) -> bytes: ...

    def queued(self) -> bytes:
        """The first events, before a provider is called."""
        ...

    def events(self) -> AsyncGenerator[Framed]:
        """The following events."""
        ...

    def failed(self, error: Mapping[str, str]) -> bytes:
        """The events that end it as failed, with its content so far."""
        ...

    def cancelled(self) -> bytes:
        """The events that end it as cancelled."""
        ...


async def queue_whole(
    maker: Maker, call: Call, request: Promised, how: Callable[[Call], Whole]
) -> Item[models.Response]:
    """The queued response. `how` makes it, with a call of its own."""
    fields = await _kept(maker, call, request)
    own = call.afterwards()
    maker.background.start(_Whole(own, request, how(own)).work)
    return written(models.Response, fields)


async def queue_stream(
    maker: Maker, call: Call, request: Promised, how: Callable[[Call], EventSource]
) -> Stream[models.ResponseStreamEvent]:
    """The same as a stream of events, which other requests can follow as well."""
    await _kept(maker, call, request)
    stored = maker.background.stored
    if stored is None:
        raise Unavailable("Nothing is stored here.")
    events, own = Events(stored, request.id), call.afterwards()
    try:
        work = await _Streamed(own, request, events, how(own)).begun()
    except BaseException:
        own.release()
        raise
    maker.background.start(work)
    follower = Follower(maker.state, call, request.id, events)
    return Stream(follower.events(), broken=follower.broken)


async def _kept(maker: Maker, call: Call, request: Promised) -> Fields:
    """Store the queued response. Raises Overloaded or Unavailable."""
    maker.background.check(owner_of(call.caller))
    if maker.background.stored is None:
        raise Unavailable("Nothing is stored here.")
    fields = request.outline("queued")
    await maker.keep(call, request, fields)
    return fields


class _Whole:
    """The work of a response without a stream."""

    def __init__(self, call: Call, request: Promised, making: Whole) -> None:
        self._call, self._request, self._making = call, request, making

    @property
    def work(self) -> Work:
        return Work(self._request.id, owner_of(self._call.caller), self._call, self._make, self._cut)

    async def _make(self, outcome: Outcome) -> FinishedResponse:
        try:
            with in_terms_of_responses():
                fields = await self._making.make()
            outcome.status = 200
        except Exception as error:  # reported to the client in the response
            known = _known(error, self._request)
            outcome.status, outcome.code = known.status, known.code
            fields = self._ended(response_error(RESPONSES.render(known, self._call.request_id), known.status))
        outcome.first_byte = time.perf_counter()
        return _made(fields)

    def _cut(self, error: Mapping[str, str] | None) -> FinishedResponse:
        return _made(self._ended(error))

    def _ended(self, error: Mapping[str, str] | None) -> Fields:
        """The response as failed or cancelled, with its content so far."""
        fields = self._request.outline("cancelled" if error is None else "failed", error=error)
        return {**fields, "output": self._making.so_far()}


def _made(fields: Fields) -> FinishedResponse:
    return FinishedResponse(str(fields["status"]), to_json(fields, inf_nan_mode="null").decode())


class _Streamed:
    """The work of a streamed response, whose events are stored."""

    def __init__(self, call: Call, request: Promised, events: Events, source: EventSource) -> None:
        self._call, self._request, self._events, self._source = call, request, events, source

    async def begun(self) -> Work:
        """The work, after its first events."""
        await self._events.add(self._source.queued(), self._source.number)
        await self._events.save()
        return Work(self._request.id, owner_of(self._call.caller), self._call, self._make, self._cut, self._events)

    async def _make(self, outcome: Outcome) -> FinishedResponse:
        last: list[bytes] = []
        try:
            await self._add_events(outcome, last)
            outcome.status = 200
        except Exception as error:  # reported to the client in the last event
            known = _known(error, self._request)
            outcome.status, outcome.code = 200 if outcome.first_byte else known.status, known.code
            if not self._source.final:
                failure = response_error(RESPONSES.render(known, self._call.request_id), known.status)
                last.append(self._source.failed(failure))
        outcome.first_byte = outcome.first_byte or time.perf_counter()
        return self._made(b"".join(last))

    async def _add_events(self, outcome: Outcome, last: list[bytes]) -> None:
        """Add all events but the `last` ones, which end the response."""
        source = self._source
        async with aclosing(source.events()) as pieces:
            async for piece in pieces:
                outcome.first_byte = outcome.first_byte or time.perf_counter()
                if source.final:
                    last.append(piece.data)
                else:
                    await self._events.add(piece.data, source.number)
        if not source.final:
            raise UpstreamStreamTruncated.ended()

    def _cut(self, error: Mapping[str, str] | None) -> FinishedResponse:
        return self._made(self._source.cancelled() if error is None else self._source.failed(error))

    def _made(self, events: bytes) -> FinishedResponse:
        source = self._source
        return FinishedResponse(from_json(source.final)["status"], source.final.decode(), events, source.number)


def _known(error: Exception, request: Promised) -> GatewayError:
    known = as_gateway_error(error)
    if known is not error:
        _log.error("response in the background failed", response=request.id, exc_info=error)
    return known
