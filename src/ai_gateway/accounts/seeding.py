"""Counters of money begin with what the ledger has."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ai_gateway.accounts.counters.base import Answer, Counters, CountersError, Granted, Refused, Unknown
from ai_gateway.accounts.holds import Held
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.accounts.windows import Window

type Spent = Callable[[Scope, Window], Awaitable[int]]
"""What the ledger has of an entity's costs in a window, in 1e-12 USD."""

LONGEST_SUM_S = 2.0
# When a counter of money begins, other workers may still be about to learn of the limit, and to ship what has ended. By
# the last of these looks the ledger has all of it.
_LOOKS_S = (1.0, 2.0, 4.0)


class Seeding:
    """Begins counters by `spent`, and looks at it again for a while."""

    def __init__(self, spent: Spent) -> None:
        self._spent = spent
        self._following: set[asyncio.Task[None]] = set()

    async def reserve(self, counters: Counters, identifier: str, held: Held, answer: Answer) -> Granted | Refused:
        """Begin the counters that this answer says are unknown, and hold. Raises CountersError."""
        while isinstance(answer, Unknown):
            for counter in answer.counters:
                scope, window = held.windows[counter]
                try:
                    async with asyncio.timeout(LONGEST_SUM_S):
                        spent = await self._spent(scope, window)
                except (StoreError, TimeoutError) as error:
                    raise CountersError(f"what was spent before is not known: {error}") from error
                await counters.seed(counter, spent, window.end or 0)
                task = asyncio.ensure_future(self._follow(counters, counter, scope, window))
                self._following.add(task)
                task.add_done_callback(self._following.discard)
            answer = await counters.reserve(identifier, held.holds)
        return answer

    async def _follow(self, counters: Counters, counter: str, scope: Scope, window: Window) -> None:
        """Have a counter that was just begun know what has come to the ledger since: it never has used less."""
        for pause_s in _LOOKS_S:
            await asyncio.sleep(pause_s)
            with suppress(StoreError, CountersError):  # then it is as it was when it began
                await counters.seed(counter, await self._spent(scope, window), window.end or 0)

    def close(self) -> None:
        """Look no more."""
        for task in self._following:
            task.cancel()
