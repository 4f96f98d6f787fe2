"""Background responses: the tasks of one worker. Imports no models, because it is created before its API is loaded."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from ai_gateway.accounts.responses import LEASE_S, EventPiece, StoredResponses
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.api.responses.events import Events
from ai_gateway.contract.call import Call
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.trace_context import read_trace_id
from ai_gateway.errors import Overloaded
from ai_gateway.observability.trace_names import Step

_OPERATION = "makeBackgroundResponse"  # not an HTTP request
_MAX_JOBS = 256  # at once, per worker
_MAX_JOBS_OF_ONE = 192  # so that one caller leaves places for others
_TICK_S = 0.1
_RENEW_S = 2.0
_SAVE_S = 0.5  # the interval of storing events, and so the delay for other workers
_LAST_WORDS_S = 5.0
_KEEP_S = 600.0  # the longest outage of the store after which a result is still stored
_AGAIN_S = 0.5
_log = structlog.get_logger(__name__)


class FinishedResponse(NamedTuple):
    """The result of a response: its status, its JSON, and its last events if it is streamed.

    `number` is the next sequence number after these.
    """

    status: str
    body: str
    events: bytes = b""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """The work of making a response for its owner, with a call of its own.

    `make` records its outcome, and raises only CancelledError; after that, `cut` gives the result so far: failed for
    this reason, or cancelled without one.
    """

    response_id: str
    owner: str
    call: Call
    make: Callable[[Outcome], Coroutine[None, None, FinishedResponse]]
    cut: Callable[[Mapping[str, str] | None], FinishedResponse]
    events: Events | None = None


STOPPED = {"code": "server_error", "message": "The gateway that made this response has stopped: try again."}


@dataclass(frozen=True, slots=True)
class _Running:
    work: Work
    task: asyncio.Task[None]
    unwanted: asyncio.Event


class Background:
    """The background responses of one worker. `stored` is None without a store.

    `show` gets a finished response as JSON, before the observers get its outcome.
    """

    def __init__(
        self,
        stored: StoredResponses | None,
        observers: Sequence[Observer] = (),
        show: Callable[[Outcome, bytes], None] = lambda _outcome, _reply: None,
    ) -> None:
        self.stored = stored
        self._observers = observers
        self._show = show
        self._running: dict[str, _Running] = {}
        self._is_closing = False
        self.stops_at = 0.0
        """The time (`time.monotonic`) until which running ones may continue after the gateway is closed."""

    def check(self, owner: str) -> None:
        """Raise Overloaded if the owner has too many already."""
        own = sum(each.work.owner == owner for each in self._running.values())
        if len(self._running) >= _MAX_JOBS or own >= _MAX_JOBS_OF_ONE:
            raise Overloaded(
                "Too many responses are being made in the background: send the request again in a while.",
                headers={"retry-after": "5"},
            )

    def start(self, work: Work) -> None:
        """Start to make a response that is stored as queued."""
        response_id, unwanted = work.response_id, asyncio.Event()
        task = asyncio.create_task(self._run(work, unwanted))
        self._running[response_id] = _Running(work, task, unwanted)
        task.add_done_callback(lambda _: self._running.pop(response_id, None))

    def makes(self, response_id: str) -> bool:
        """Whether this worker makes the response."""
        return response_id in self._running

    def events(self, response_id: str) -> Events | None:
        """The events of a response, if it is streamed and made by this worker."""
        return self._running[response_id].work.events if response_id in self._running else None

    def cancel(self, response_id: str) -> None:
        """Stop a cancelled or deleted response at once if this worker makes it; others notice within seconds."""
        if response_id in self._running:
            self._running[response_id].unwanted.set()

    async def aclose(self) -> None:
        """Wait for running ones until their time limit, and end the others as failed."""
        while (tasks := self._tasks()) and time.monotonic() < self.stops_at:
            await asyncio.wait(tasks, timeout=_TICK_S)
        self._is_closing = True
        for task in self._tasks():
            task.cancel()
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=_LAST_WORDS_S)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [each.task for each in self._running.values()]

    async def _run(self, work: Work, unwanted: asyncio.Event) -> None:
        call, outcome = work.call, _begun(work.call, streamed=work.events is not None)
        try:
            await self._made(work, outcome, unwanted)
        finally:
            await call.settle()
            call.release()
            outcome.ended = time.perf_counter()
            for observer in self._observers:
                observer.ended(outcome)

    async def _made(self, work: Work, outcome: Outcome, unwanted: asyncio.Event) -> None:
        working = asyncio.ensure_future(work.make(outcome))
        finished: FinishedResponse | None = None
        try:
            if await self._waited_for(work, working, unwanted):
                finished = working.result()
            else:
                await _stopped(working)
                finished = work.cut(None)
            await work.call.settle()  # before a client has the response and can send the next request
            await self._end(work, finished, outcome)
        except asyncio.CancelledError:  # the gateway stops
            await _stopped(working)
            await self._end(work, finished or work.cut(STOPPED), outcome)
            raise
        finally:
            await _stopped(working)
            if work.events is not None:
                work.events.close()

    async def _waited_for(self, work: Work, working: asyncio.Future[Any], unwanted: asyncio.Event) -> bool:
        """Whether the work is done; else it was cancelled or deleted."""
        events = work.events
        renewed = time.monotonic()
        ending: asyncio.Future[Any] = asyncio.ensure_future(unwanted.wait())
        try:
            while True:
                timeout = _RENEW_S if events is None else _SAVE_S
                await asyncio.wait((working, ending), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    return True
                if ending.done() or (events is not None and not await events.save()):
                    return False
                if time.monotonic() - renewed >= _RENEW_S:
                    renewed = time.monotonic()
                    if not await self._renewed(work.response_id):
                        return False
        finally:
            ending.cancel()

    async def _renewed(self, response_id: str) -> bool:
        try:
            return self.stored is not None and await self.stored.renew(response_id)
        except StoreError as error:
            _log.warning("lease of a response not renewed", lease_s=LEASE_S, error=str(error))
            return True

    async def _end(self, work: Work, finished: FinishedResponse, outcome: Outcome) -> None:
        """Store the result, unless it has ended already, and notify the observers."""
        self._show(outcome, finished.body.encode())
        if self.stored is None:
            return
        events = work.events
        last = await events.last(finished.events, finished.number) if events is not None else None
        with work.call.step(Step.STORE, {}):
            ended = await asyncio.shield(self._stored_end(self.stored, work.response_id, finished, last))
        if ended and events is not None:
            events.close(finished.events, finished.number)

    async def _stored_end(
        self, stored: StoredResponses, response_id: str, finished: FinishedResponse, last: EventPiece | None
    ) -> bool:
        """Store the result, also after a while in which the store was away. Returns whether it had not ended before."""
        until = time.monotonic() + _KEEP_S
        while True:
            try:
                return await stored.end(response_id, finished.status, finished.body, last)
            except StoreError as error:
                if self._is_closing or time.monotonic() > until:
                    _log.error("response not stored", response=response_id, error=str(error))
                    return True
                _log.warning("response not stored yet", response=response_id, error=str(error), again_in_s=_AGAIN_S)
            await asyncio.sleep(_AGAIN_S)


async def _stopped(working: asyncio.Future[FinishedResponse]) -> None:
    working.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await working


def _begun(call: Call, *, streamed: bool) -> Outcome:
    """The outcome of a call without an HTTP request."""
    trace_id = call.trace.trace_id if call.trace is not None else read_trace_id(call.headers.get("traceparent", ""))
    return Outcome(
        call.request_id,
        "",
        "",
        time.perf_counter(),
        call,
        operation=_OPERATION,
        wire=call.wire.name,
        streamed=streamed,
        trace_id=trace_id,
        trace=call.trace,
    )
