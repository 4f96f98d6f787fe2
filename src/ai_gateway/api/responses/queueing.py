"""How a response is made in the background: it is queued, and goes on without its client."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import structlog
from pydantic_core import from_json, to_json

from ai_gateway.api.response_bridge import told_error
from ai_gateway.api.responses.background import STOPPED, Made, Work, failed
from ai_gateway.api.responses.dropped import in_terms_of_responses, note_dropped
from ai_gateway.api.responses.events import Events
from ai_gateway.api.responses.following import Follower
from ai_gateway.api.responses.making import Maker, Prepared, written
from ai_gateway.api.responses.state import owner_of
from ai_gateway.contract.call import Call
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.stream import Item, Stream
from ai_gateway.contract.wire import RESPONSES, as_gateway_error
from ai_gateway.errors import GatewayError, Unavailable, UpstreamStreamTruncated
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai_responses import models

_log = structlog.get_logger(__name__)


async def queued(
    maker: Maker, call: Call, request: Prepared
) -> Item[models.Response] | Stream[models.ResponseStreamEvent]:
    """The response before anything of it is made; or its events, which others can read as well."""
    maker.background.check(owner_of(call.caller))
    stored = maker.background.stored
    if stored is None:
        raise Unavailable("Nothing is stored here.")
    fields = _outline(request, "queued")
    await maker.keep(call, request, fields)
    note_dropped(call, request.asked.dropped)
    if not request.body.stream:
        maker.background.start(_Whole(maker, call.afterwards(), request, fields).work)
        return written(models.Response, fields)
    events, own = Events(stored, request.id), call.afterwards()
    try:
        work = await _Streamed(maker, own, request, events).begun()
    except BaseException:
        own.leave()
        raise
    maker.background.start(work)
    follower = Follower(maker.state, call, request.id, events)
    return Stream(follower.told(), broken=follower.broken)


class _Whole:
    """A response that is there when it is whole."""

    def __init__(self, maker: Maker, call: Call, request: Prepared, fields: Fields) -> None:
        self._maker, self._call, self._request = maker, call, request
        self._queued = to_json(fields).decode()

    @property
    def work(self) -> Work:
        return Work(self._request.id, owner_of(self._call.caller), self._call, self._make, self._cut)

    async def _make(self, outcome: Outcome) -> Made:
        try:
            with in_terms_of_responses():
                fields = await self._maker.made(self._call, self._request)
            outcome.status = 200
        except Exception as error:  # whatever it is, the client learns it from the response
            known = _known(error, self._request)
            outcome.status, outcome.code = known.status, known.code
            told = told_error(RESPONSES.render(known, self._call.request_id), known.status)
            fields = _outline(self._request, "failed", error=told)
        outcome.first_byte = time.perf_counter()
        return Made(str(fields["status"]), to_json(fields).decode())

    def _cut(self) -> Made:
        return Made("failed", failed(self._queued, STOPPED))


class _Streamed:
    """One whose events are kept as they are told."""

    def __init__(self, maker: Maker, call: Call, request: Prepared, events: Events) -> None:
        self._call, self._request, self._events = call, request, events
        self._stream, self._bridge = maker.bridged(call, request)

    async def begun(self) -> Work:
        """The work, whose first events are told."""
        automaton = self._bridge.events
        await self._events.add(automaton.queued(), automaton.number)
        await self._events.save()
        return Work(self._request.id, owner_of(self._call.caller), self._call, self._make, self._cut, self._events)

    async def _make(self, outcome: Outcome) -> Made:
        try:
            last = await self._tell(outcome)
            outcome.status = 200
        except Exception as error:  # whatever it is, the client learns it from the last event
            known = _known(error, self._request)
            outcome.status, outcome.code = 200 if outcome.first_byte else known.status, known.code
            last = self._bridge.failed(RESPONSES.render(known, self._call.request_id), known.status)
        outcome.first_byte = outcome.first_byte or time.perf_counter()
        return self._made(last)

    async def _tell(self, outcome: Outcome) -> bytes:
        """Tell all but the last events, which are those that end the response."""
        automaton = self._bridge.events
        items: AsyncGenerator[Any] = self._stream.items
        async with aclosing(items) as pieces:
            async for piece in pieces:
                outcome.first_byte = outcome.first_byte or time.perf_counter()
                if automaton.final:
                    last: bytes = piece.data
                    return last
                await self._events.add(piece.data, automaton.number)
        raise UpstreamStreamTruncated.ended()

    def _cut(self) -> Made:
        return self._made(self._bridge.events.failed(**STOPPED))

    def _made(self, events: bytes) -> Made:
        automaton = self._bridge.events
        return Made(from_json(automaton.final)["status"], automaton.final.decode(), events, automaton.number)


def _known(error: Exception, request: Prepared) -> GatewayError:
    known = as_gateway_error(error)
    if known is not error:
        _log.error("response in the background failed", response=request.id, exc_info=error)
    return known


def _outline(request: Prepared, status: str, *, error: Mapping[str, str] | None = None) -> Fields:
    """A response without an output."""
    return {
        "id": request.id,
        "object": "response",
        "created_at": request.created_at,
        "completed_at": None,
        "status": status,
        "error": dict(error) if error is not None else None,
        "incomplete_details": None,
        "model": request.body.model,
        "usage": None,
        **request.echo,
        "output": [],
    }
