"""Following a background response: its events so far, and then the next ones."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from pydantic_core import from_json, to_json

from ai_gateway.accounts.responses import EventPiece, RunState
from ai_gateway.api.responses.events import Events, since
from ai_gateway.api.responses.state import State
from ai_gateway.contract.budget import UNCHARGED
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.stream import Framed
from ai_gateway.errors import InvalidRequest

_LOOK_S: Final = 0.5  # polling interval for responses of other workers
_COPIES: Final = 2  # of a piece: as it is stored, and as it goes out
_SLOWEST_S: Final = 60.0  # for one piece; slower clients can reconnect for the next one


class Follower:
    """A reader of the events of the caller's response, from a number on.

    `events` are given if this worker makes the response. Errors only concern the reading: the response goes on, and the
    client can resume from its last number.
    """

    def __init__(self, state: State, call: Call, response_id: str, events: Events | None, number: int = 0) -> None:
        self._state = state
        self._call = call
        self._id = response_id
        self._events = events
        self._number = number  # of the next event to read
        self._charged = UNCHARGED

    async def events(self) -> AsyncGenerator[Framed]:
        """The events, up to the one that ends the response."""
        loop = asyncio.get_running_loop()
        # A client that does not read is disconnected; there is no upstream deadline here.
        async with asyncio.timeout(None) as reading:
            while (piece := await self._next()) is not None:
                self._charge(len(piece.data))
                self._number = piece.next
                self._call.notes.chunks += 1
                reading.reschedule(loop.time() + _SLOWEST_S)
                yield Framed(piece.data)
                reading.reschedule(None)
                if piece.final:
                    return

    def _charge(self, size: int) -> None:
        """Charge memory for a piece that is larger than all before. Raises Overloaded."""
        if size > self._charged:
            self._call.allocation.charge_at_most(_COPIES * (size - self._charged), "replies")
            self._charged = size

    def broken(self, error: bytes) -> bytes:
        """What ends a stream that fails, given the JSON of the wire's error.

        It has the number of the last event, and is not one of the response's: a client that resumes after it misses
        nothing.
        """
        known = from_json(error)["error"]
        error_fields = {name: known.get(name) for name in ("code", "message", "param")}
        event = {"type": "error", **error_fields, "sequence_number": max(0, self._number - 1)}
        return EVENTS.framed(to_json(event), "error")

    async def _next(self) -> EventPiece | None:
        """The next events; None after the last."""
        events = self._events
        while events is not None:
            if (piece := events.read(self._number)) is not None:
                return piece
            if events.is_over or self._number < events.oldest:
                break
            await events.change()
        return await self._stored()

    async def _stored(self) -> EventPiece | None:
        """The same from the store."""
        state, response_id = self._state, self._id
        while True:
            known = await state.run_state(self._call.caller, response_id)  # first: no event follows the end
            piece = await state.events(response_id, self._number)
            if piece is not None:
                if piece.next <= self._number:
                    return None
                if piece.first > self._number:
                    raise _events_dropped()
                return since(piece, self._number)
            if not known.runs:
                return await self._end(known)
            if self._events is not None and not self._events.is_over and self._number < self._events.oldest:
                raise _events_dropped()
            await asyncio.sleep(_LOOK_S)

    async def _end(self, known: RunState) -> EventPiece:
        """The last events of a response without them: it was cancelled, or its process is gone."""
        if known.status not in {"failed", "cancelled"}:
            raise _events_dropped()
        found = await self._state.get(self._call.caller, self._id)
        event = {"type": "response.failed", "response": from_json(found.body), "sequence_number": self._number}
        data = EVENTS.framed(to_json(event), "response.failed")
        return EventPiece(self._number, self._number + 1, data, final=True)


def _events_dropped() -> InvalidRequest:
    return InvalidRequest(
        "The events that come next are not kept any more: ask for the response without `stream`.",
        param="starting_after",
        code="invalid_value",
    )
