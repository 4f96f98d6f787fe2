"""Responses that are made while nobody waits for them. Imports no models: it is there before its door is open."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from pydantic_core import from_json, to_json

from ai_gateway.accounts.responses import LEASE_S, StoredResponses
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.errors import Overloaded

_MOST = 256  # at once, per worker
_RENEW_S = 2.0
_LAST_WORDS_S = 5.0
_log = structlog.get_logger(__name__)

type Work = Callable[[], Awaitable[tuple[str, str]]]
"""Makes a response. Returns how it ended and its JSON; raises nothing but CancelledError."""

STOPPED = {"code": "server_error", "message": "The gateway that made this response has stopped: ask again."}


class Background:
    """What one worker makes in the background. `stored` is None where nothing is kept."""

    def __init__(self, stored: StoredResponses | None) -> None:
        self.stored = stored
        self._running: dict[str, asyncio.Task[None]] = {}

    def check(self) -> None:
        """Raise Overloaded where there is no room for one more."""
        if len(self._running) >= _MOST:
            raise Overloaded(
                "Too many responses are being made in the background: send the request again in a while.",
                headers={"retry-after": "5"},
            )

    def start(self, response_id: str, body: str, work: Work) -> None:
        """Begin to make a response that is stored as queued, with this JSON."""
        task = asyncio.create_task(self._run(response_id, body, work))
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

    async def _run(self, response_id: str, body: str, work: Work) -> None:
        stored = self.stored
        if stored is None:
            return
        working = asyncio.ensure_future(work())
        try:
            while True:
                done, _ = await asyncio.wait({working}, timeout=_RENEW_S)
                if done:
                    break
                if not await _still_wanted(stored, response_id):
                    return
            await _ended(stored, response_id, *working.result())
        except asyncio.CancelledError:
            # Whoever cancelled has stored that by now; else the gateway stops.
            await _ended(stored, response_id, "failed", failed(body, STOPPED))
            raise
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working


async def _still_wanted(stored: StoredResponses, response_id: str) -> bool:
    try:
        return await stored.renew(response_id)
    except StoreError as error:
        _log.warning("lease of a response not renewed", lease_s=LEASE_S, error=str(error))
        return True


async def _ended(stored: StoredResponses, response_id: str, status: str, body: str) -> None:
    try:
        await asyncio.shield(stored.end(response_id, status, body))
    except StoreError as error:
        _log.error("response not stored", response=response_id, error=str(error))


def failed(body: str, error: dict[str, str]) -> str:
    """The JSON of a response that has failed instead of ending."""
    return to_json({**from_json(body), "status": "failed", "error": error}).decode()
