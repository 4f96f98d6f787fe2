"""Holds of dead processes: released, or counted as spent, as far as their calls are known."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import override

import structlog

from ai_gateway.accounts.calls import StoredCall
from ai_gateway.accounts.counters.base import Counters, CountersError, Hold
from ai_gateway.accounts.records import Start
from ai_gateway.accounts.shipper import Holder

_log = structlog.get_logger(__name__)


class Recovery(Holder):
    """Settles the holds of dead processes in these counters."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    @override
    async def release(self, start: Start) -> None:
        """Settle a call of a dead process at its maximum cost. Raises CountersError."""
        for identifier, at, *holds in [*([(start.id, *start.holds)] if start.holds else []), *start.later_holds]:
            read = [Hold(*each) for each in holds]
            amounts = [0 if not hold.money and not hold.unit_s else hold.amount for hold in read]
            await self._counters.settle(identifier, read, amounts, at)

    @override
    async def settle_rest(self, owner: str, find: Callable[[str], Awaitable[StoredCall | None]]) -> None:
        """Settle holds of calls that are not in the journal, and called no upstream, or whose end was not settled.

        Raises CountersError, and what `find` does.
        """
        unsettled = await self._counters.left_of(owner)
        for identifier, holds in unsettled.items():
            call = await find(identifier.partition(".")[0])
            cost = call.columns["cost"] if call is not None else 0
            amounts = [
                hold.amount if hold.unit_s else int(cost if cost is not None else hold.amount) if hold.money else 0
                for hold in holds
            ]
            await self._counters.settle(identifier, holds, amounts, 0)
        if unsettled:
            _log.warning("what a dead process still held is settled", calls=len(unsettled))

    @override
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        """Release holds of dead processes; failures are retried later."""
        with suppress(CountersError):
            await self._counters.forget_dead(is_finished)
