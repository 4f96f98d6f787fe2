"""Responses that are made while nobody waits for them. Imports no models: it is there before its door is open."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress

import structlog
from pydantic_core import from_json, to_json

from ai_gateway.accounts.responses import LEASE_S, StoredResponses
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.contract.call import Call
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.trace_context import read_trace_id
from ai_gateway.errors import Overloaded
from ai_gateway.observability.trace_names import Step

_OPERATION = "makeBackgroundResponse"  # no request has this one
_MOST = 256  # at once, per worker
_RENEW_S = 2.0
_LAST_WORDS_S = 5.0
_log = structlog.get_logger(__name__)

type Work = Callable[[Outcome], Coroutine[None, None, tuple[str, str]]]
"""Makes a response. Returns its status and its JSON, and notes how it went; raises nothing but CancelledError."""

STOPPED = {"code": "server_error", "message": "The gateway that made this response has stopped: ask again."}


class Background:
    """What one worker makes in the background, and who learns how it ended. `stored` is None where nothing is kept."""

    def __init__(self, stored: StoredResponses | None, observers: Sequence[Observer] = ()) -> None:
        self.stored = stored
        self._observers = observers
        self._running: dict[str, asyncio.Task[None]] = {}

    def check(self) -> None:
        """Raise Overloaded where there is no room for one more."""
        if len(self._running) >= _MOST:
            raise Overloaded(
                "Too many responses are being made in the background: send the request again in a while.",
                headers={"retry-after": "5"},
            )

    def start(self, response_id: str, body: str, call: Call, work: Work) -> None:
        """Begin to make a response that is stored as queued, with this JSON. The call is for that alone."""
        task = asyncio.create_task(self._run(response_id, body, call, work))
        self._running[response_id] = task
        task.add_done_callback(lambda _: self._running.pop(response_id, None))

    def cancel(self, response_id: str) -> None:
        """Stop to make it, if it is made here."""
        if (task := self._running.get(response_id)) is not None:
            task.cancel()

    async def aclose(self) -> None:
        """Stop all of them: those that are cut off have failed."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_LAST_WORDS_S)

    async def _run(self, response_id: str, body: str, call: Call, work: Work) -> None:
        outcome = _begun(call)
        try:
            await self._made(response_id, body, call, work(outcome))
        finally:
            await call.settle()
            call.leave()
            outcome.ended = time.perf_counter()
            for observer in self._observers:
                observer.ended(outcome)

    async def _made(
        self, response_id: str, body: str, call: Call, work: Coroutine[None, None, tuple[str, str]]
    ) -> None:
        stored = self.stored
        working = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({working}, timeout=_RENEW_S)
                if done:
                    break
                if stored is None or not await _still_wanted(stored, response_id):
                    return
            await call.settle()  # before anybody can have the response, and ask for the next one
            await _ended(stored, call, response_id, *working.result())
        except asyncio.CancelledError:
            # Whoever cancelled has stored that by now; else the gateway stops.
            await _ended(stored, call, response_id, "failed", failed(body, STOPPED))
            raise
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working


def _begun(call: Call) -> Outcome:
    """What will become of a call that no request waits for."""
    trace_id = call.trace.trace_id if call.trace is not None else read_trace_id(call.headers.get("traceparent", ""))
    return Outcome(
        call.request_id,
        "",
        "",
        time.perf_counter(),
        call,
        operation=_OPERATION,
        wire=call.wire.name,
        streamed=False,
        trace_id=trace_id,
        trace=call.trace,
    )


async def _still_wanted(stored: StoredResponses, response_id: str) -> bool:
    try:
        return await stored.renew(response_id)
    except StoreError as error:
        _log.warning("lease of a response not renewed", lease_s=LEASE_S, error=str(error))
        return True


async def _ended(stored: StoredResponses | None, call: Call, response_id: str, status: str, body: str) -> None:
    if stored is None:
        return
    try:
        with call.step(Step.STORE, {}):
            await asyncio.shield(stored.end(response_id, status, body))
    except StoreError as error:
        _log.error("response not stored", response=response_id, error=str(error))


def failed(body: str, error: dict[str, str]) -> str:
    """The JSON of a response that has failed instead of ending."""
    return to_json({**from_json(body), "status": "failed", "error": error}).decode()
