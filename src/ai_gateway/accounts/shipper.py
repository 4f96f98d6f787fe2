"""Ships records from journals to the ledger, every second or sooner. The store may be unavailable for any time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Protocol, override

import structlog

from ai_gateway.accounts.calls import StoredCall, find_call
from ai_gateway.accounts.journal import Batch, Journal, Source
from ai_gateway.accounts.journal_files import has_journals
from ai_gateway.accounts.journal_replay import DeadJournal, claim_dead
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.ledger_rows import DAY
from ai_gateway.accounts.records import Start
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.observability.metrics import Event, Timing, count, timed
from ai_gateway.observability.trace_names import Attributes, Name, Step

_INTERVAL_S = 0.4
# Fewer wait for those of the next interval, since a batch takes as long as some 20 records in it.
_FEW = 100
_BATCH = 500
_LOOK_FOR_DEAD_S = 2.0
_MAINTENANCE_S = 60.0
_LAST_S = 5.0
_log = structlog.get_logger(__name__)

type Traced = Callable[[Step, Attributes], AbstractContextManager[None]]
"""Makes a span for work without a request."""


class Holder(Protocol):
    """The counters' part that releases holds of dead processes."""

    async def release(self, start: Start) -> None:
        """Release the holds of a lost call; may be repeated if this process dies meanwhile."""

    async def settle_rest(self, owner: str, find: Callable[[str], Awaitable[StoredCall | None]]) -> None:
        """Settle the other holds of a dead process after shipping its journals; `find` looks calls up in the ledger."""

    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        """Release the holds of dead processes whose journals are finished, as `is_finished` says."""


class _Nothing(Holder):
    @override
    async def release(self, start: Start) -> None:
        pass

    @override
    async def settle_rest(self, owner: str, find: Callable[[str], Awaitable[StoredCall | None]]) -> None:
        pass

    @override
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        pass


def untraced(_: Step, _attributes: Attributes) -> AbstractContextManager[None]:
    """For deployments without tracing."""
    return nullcontext()


class Shipper:
    """Ships the journal of this worker, and those of dead ones.

    `holder` gets each lost call once it is in the ledger. `keep_days` is the retention of records, None for ever;
    `most` is their maximum number.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        holder: Holder | None = None,
        *,
        keep_days: int | None = None,
        most: int | None = None,
    ) -> None:
        self.journal, self.ledger = journal, ledger
        self.keep_days = keep_days
        self.lost = 0
        self.refused = 0
        self.traced: Traced = untraced
        self._holder = holder or _Nothing()
        self._most = most
        self._dead: list[DeadJournal] = []
        self._looked_at = self._kept_at = -float("inf")
        self._away = self._held_up = False
        self._away_since = 0.0
        self._shipping = asyncio.Lock()  # only one task ships at a time
        self._task: asyncio.Task[None] | None = None
        self._passes: set[asyncio.Task[None]] = set()

    @property
    def away_s(self) -> float:
        """Seconds for which pending records could not be stored."""
        return time.monotonic() - self._away_since if self._away else 0.0

    def start(self) -> None:
        """Start to write the journal, and to ship."""
        self.journal.open()
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Ship the rest, for a bounded time: what remains stays in the journal for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    await self.ship()
            if passes := list(self._passes):
                for each in passes:
                    each.cancel()
                await asyncio.wait(passes)
        for dead in self._dead:
            dead.close()
        self._dead.clear()
        self.journal.close()

    async def ship(self) -> None:
        """Ship all pending records, unless the store is unavailable.

        It continues if the caller is cancelled, since other callers wait for the same.
        """
        task = asyncio.ensure_future(self._ship())
        self._passes.add(task)
        task.add_done_callback(self._passes.discard)
        await asyncio.shield(task)

    async def _ship(self) -> None:
        async with self._shipping:
            await self._ship_all()

    async def _ship_all(self) -> None:
        began = time.monotonic()
        try:
            await self._drain(self.journal, self.journal.waiting)
            root = self.journal.root
            looks = root is not None and time.monotonic() - self._looked_at > _LOOK_FOR_DEAD_S
            if root is not None and looks:
                self._dead += claim_dead(root)
                self._looked_at = time.monotonic()
            while self._dead and await self._drain(self._dead[0]) and await self._settle_rest(self._dead[0]):
                self._dead.pop(0).remove()
            if root is not None and looks:
                await self._holder.forget_dead(lambda owner: not has_journals(root, owner))
        except StoreError as error:
            if not self._away:
                self._away_since = began
                _log.error("ledger away: records wait in the journal", store=self.ledger.store.name, error=str(error))
                count(Event.LEDGER_AWAY)
            self._away = True
        else:
            if self._away:
                _log.warning("ledger is back", store=self.ledger.store.name)
            self._away = False

    async def _run(self) -> None:
        waited = False
        while True:
            await asyncio.sleep(_INTERVAL_S)
            waited = not waited and 0 < (self.journal.waiting or 0) < _FEW
            if waited:
                continue
            try:
                self.journal.tend()
                await self.ship()
                await self._maintain()
            except Exception as error:  # a fault here must not end the shipping for good
                _log.error("records not shipped", exc_info=error)

    async def _drain(self, source: Source, most: int | None = None) -> bool:
        """Ship the pending records of the source, or `most`. Returns whether none is left, or those are shipped.

        Those that come meanwhile are for the next pass: else there would be many batches of few.
        """
        shipped = 0
        while most is None or shipped < most:
            if (batch := source.read(_BATCH)) is None:
                break
            shipped += len(batch.records)
            await self._append(batch)
            if batch.lost and not await self._settle_lost(batch):
                return False
            batch.done()
        return True

    async def _settle_lost(self, batch: Batch) -> bool:
        """Release the holds of lost calls, or try again later."""
        try:
            for record in batch.records:
                await self._holder.release(record.start)
        except Exception as error:  # counters that are away must hold up neither records nor calls
            if not self._held_up:
                _log.error("what lost calls held is not given back yet", calls=len(batch.records), exc_info=error)
            self._held_up = True
            return False
        self._held_up = False
        self.lost += len(batch.records)
        count(Event.LOST_CALL, times=len(batch.records))
        _log.warning("calls lost with their process: charged by their bound", calls=len(batch.records))
        return True

    async def _settle_rest(self, dead: DeadJournal) -> bool:
        """Settle the remaining holds of its process, or try again later."""
        owner = dead.last_of
        if owner is None:
            return True
        try:
            await self._holder.settle_rest(owner, partial(find_call, self.ledger.store))
        except StoreError:
            raise
        except Exception as error:  # counters that are away must hold up neither records nor calls
            if not self._held_up:
                _log.error("what a dead process still held is not settled yet", exc_info=error)
            self._held_up = True
            return False
        self._held_up = False
        return True

    async def _append(self, batch: Batch) -> None:
        with self.traced(Step.SHIP, {Name.RECORDS: len(batch.records)}):
            await self._append_all(batch)

    async def _append_all(self, batch: Batch) -> None:
        began = time.perf_counter()
        try:
            await self.ledger.append(batch.records)
            timed(Timing.LEDGER, time.perf_counter() - began)
        except StoreError:
            raise
        except Exception:  # one record may be invalid for the store: the others must not wait for it
            for record in batch.records:
                try:
                    await self.ledger.append([record])
                except StoreError:
                    raise
                except Exception as error:
                    self.refused += 1
                    count(Event.RECORD_DROPPED)
                    _log.error("record that cannot be stored", id=record.start.id, record=str(record), exc_info=error)

    async def _maintain(self) -> None:
        if time.monotonic() - self._kept_at < _MAINTENANCE_S:
            return
        self._kept_at = time.monotonic()
        with suppress(StoreError):  # then next time
            await self.ledger.keep_days()
            if self._most is not None:
                await self.ledger.keep_newest(self._most)
            if self.keep_days is not None:
                await self.ledger.prune(int(time.time()) - self.keep_days * DAY)
