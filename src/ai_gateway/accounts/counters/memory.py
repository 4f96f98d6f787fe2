"""Counters in the memory of one process: exact within it, and lost when it ends."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import override

from ai_gateway.accounts.counters.base import Answer, Counters, Granted, Hold, State, reserve

type Holder = tuple[str, Sequence[tuple[str, int]]]
"""The process of a call with reservations, and name and amount for each counter whose amounts do not expire."""


class MemoryCounters(Counters):
    """`owner` is the id of the process."""

    def __init__(self, clock: Callable[[], float] = time.time, *, owner: str = "") -> None:
        self._clock = clock
        self._owner = owner
        self._states: dict[str, State] = {}
        self._holders: dict[str, Holder] = {}

    @override
    def reserve_at_once(self, call: str, holds: Sequence[Hold]) -> Answer | None:
        return self._reserve(call, holds)

    @override
    def settle_at_once(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> bool:
        self._settle(call, holds, amounts, at)
        return True

    @override
    async def reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        return self._reserve(call, holds)

    @override
    async def settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> None:
        self._settle(call, holds, amounts, at)

    @override
    async def seed(self, counter: str, used: int, until: int) -> None:
        self._seed(counter, used, until)

    @override
    async def read(self, counters: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        found = {name: self._states.get(name) for name in counters}
        return {
            name: (state.used if state.units is None else state.units.sum, state.held)
            for name, state in found.items()
            if state is not None
        }

    @override
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        pass

    @override
    async def left_of(self, owner: str) -> Mapping[str, Sequence[Hold]]:
        return {}

    @override
    async def aclose(self) -> None:
        self._clear()

    def _reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        answer = reserve(holds, self._states, self._clock())
        if isinstance(answer, Granted):
            self._holders[call] = self._owner, [(hold.counter, hold.amount) for hold in holds if not hold.unit_s]
        return answer

    def _settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> Sequence[Hold] | None:
        """Returns the holds whose counters have changed; None if the call has no reservation."""
        if self._holders.pop(call, None) is None:
            return None
        states = self._states
        changed: list[Hold] = []
        for hold, amount in zip(holds, amounts, strict=True):
            state = states.get(hold.counter)
            # No state: the window has ended, and the counter was removed.
            if state is None or (amount == hold.amount and hold.unit_s):  # a request's amount is already the true one
                continue
            units = state.units
            if units is None:
                rest = state.held - hold.amount
                state.held = rest if rest > 0 else 0
                state.used += amount
            else:
                units.add(int(at // hold.unit_s), amount - hold.amount)
            changed.append(hold)
        return changed

    def _seed(self, counter: str, used: int, until: int) -> None:
        self._remove_expired()  # a new window has just begun
        state = self._states.setdefault(counter, State(used, until=until))
        state.used = max(state.used, used)

    def _remove_expired(self) -> None:
        """Remove counters whose window has ended and that have no reservations: a clock may have been wrong."""
        now = self._clock()
        for name in [name for name, state in self._states.items() if 0 < state.until < now and not state.held]:
            del self._states[name]

    def _clear(self) -> None:
        self._states.clear()
        self._holders.clear()
