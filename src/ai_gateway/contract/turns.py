"""Places for work that callers share: those who wait are served in turn, so that none can starve the others."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager


class NoPlace(Exception):
    """No place became free in time. The work has not begun."""


class Turns:
    """A number of places. A free one goes to the waiting caller who holds the fewest, and among equals in turn.

    No caller holds more than `most_of_one`, so that work that may take forever leaves places for others. Without it,
    one alone may hold all of them: then others wait for the end of one run.
    """

    def __init__(self, places: int, most_of_one: int | None = None) -> None:
        self._free = places
        self._most_of_one = places if most_of_one is None else most_of_one
        self._held: Counter[Hashable] = Counter()
        # Whoever is served goes to the end.
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def place(self, caller: Hashable, seconds: float) -> AsyncGenerator[None]:
        """A place for the duration of the block. Raises NoPlace if none is free within so many seconds."""
        await self.take(caller, seconds)
        try:
            yield
        finally:
            self.release(caller)

    async def take(self, caller: Hashable, seconds: float) -> None:
        """Take a place, to be given back once. Raises NoPlace if none is free within so many seconds."""
        if self._free and self._may_have_more(caller):  # then no caller waits that could have it
            self._grant(caller)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await asyncio.wait((turn,), timeout=seconds)
        except asyncio.CancelledError:
            if turn.done():
                self.release(caller)
            else:
                self._stop_waiting(caller, turn)
            raise
        if not turn.done():
            self._stop_waiting(caller, turn)
            raise NoPlace

    def release(self, caller: Hashable) -> None:
        """Release a place to the next caller."""
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        waiting = [each for each in self._waiting if self._may_have_more(each)]
        if not waiting:
            return
        following = min(waiting, key=self._held.__getitem__)
        turns = self._waiting.pop(following)
        turn = turns.popleft()
        if turns:
            self._waiting[following] = turns
        self._grant(following)
        turn.set_result(None)

    def _may_have_more(self, caller: Hashable) -> bool:
        return self._held[caller] < self._most_of_one

    def _grant(self, caller: Hashable) -> None:
        self._free -= 1
        self._held[caller] += 1

    def _stop_waiting(self, caller: Hashable, turn: asyncio.Future[None]) -> None:
        turns = self._waiting[caller]
        turns.remove(turn)
        if not turns:
            del self._waiting[caller]
