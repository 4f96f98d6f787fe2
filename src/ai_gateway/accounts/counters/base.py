"""What is counted while calls run: how much of each limit is used and held, and whether one more call fits.

A call holds room in all counters of its caller at once or in none, and gives each its true amount when it is over.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ai_gateway.contract.tokens import quickly

UNITS = 60
"""How many units a rolling count lasts."""
SPAN = UNITS + 1
"""How many units are there at once, with the one that has not ended."""


@dataclass(slots=True)  # never changed, but made for every request that limits hold for
class Hold:
    """Room for `amount` in a counter that may not go above `limit`.

    With `unit_s`, what was used leaves the count after 60 units of so many seconds. Without, it stays: money of a
    window, whose start is part of the name, or calls in flight, whose true amount is 0 once they are over. `until` is
    when the window ends, in seconds since the epoch, 0 for never.
    """

    counter: str
    amount: int
    limit: int
    unit_s: int = 0
    money: bool = False
    until: int = 0


class Granted(NamedTuple):
    """The call may go on. `left` is what each limit has left, `resets` the seconds until all of it is there again.

    `at` is when it was counted: to be said again when it is settled.
    """

    at: float
    left: Sequence[int]
    resets: Sequence[float]


class Refused(NamedTuple):
    """One counter has no room, so nothing is held. `fits_in` is None where waiting does not help."""

    hold: Hold
    used: int
    held: int
    fits_in: float | None
    left: Sequence[int]
    resets: Sequence[float]


class Unknown(NamedTuple):
    """Counters of money that were never counted: what the ledger has is their beginning (`Counters.seed`)."""

    counters: Sequence[str]


type Answer = Granted | Refused | Unknown


class Rolling:
    """A count of which each part leaves after 60 units: never more than the limit in any 60 units, wherever they begin.

    What was counted in a unit is there until the whole unit is over 60 units old, so the answer is late by up to one
    unit and never early. `last` is the newest unit; `parts` has the count of each at its number modulo `SPAN`.
    """

    __slots__ = ("last", "parts", "sum")

    def __init__(self) -> None:
        self.last = 0
        self.sum = 0
        self.parts = [0] * SPAN

    def advance(self, unit: int) -> None:
        """Forget what is over by now.

        Of a clock that was set back by less than all units, the counts of its future stay, and `last` with them. If it
        was set back further, all of them are its mistake: they would never be over, and nothing could be counted.
        """
        passed = unit - self.last
        if passed < -UNITS:
            self.parts = [0] * SPAN
            self.sum, self.last = 0, unit
        if passed > 0:
            parts = self.parts
            for step in range(min(passed, SPAN)):
                place = (unit - step) % SPAN
                self.sum -= parts[place]
                parts[place] = 0
            self.last = unit

    def at(self, unit: int) -> int:
        """What was counted in a unit that is still there."""
        return self.parts[unit % SPAN]

    def add(self, unit: int, amount: int) -> None:
        """Count something in a unit, if it is not over yet. A correction that is negative takes no more than all."""
        if 0 <= self.last - unit <= UNITS:
            place = unit % SPAN
            known = self.parts[place]
            self.parts[place] = after = max(0, known + amount)
            self.sum += after - known

    def fits_in(self, room: int, unit: int) -> int:
        """Units until so much has left."""
        for ahead in range(1, UNITS + 2):
            room -= self.parts[(self.last + ahead) % SPAN]
            if room <= 0:
                return self.last - unit + ahead
        return self.last - unit + UNITS + 1

    def empty_in(self, unit: int) -> int:
        """Units until nothing is counted any more."""
        for back in range(SPAN):
            if self.parts[(self.last - back) % SPAN]:
                return self.last - unit + UNITS + 1 - back
        return 0


@dataclass(slots=True)
class State:
    """One counter. `until` is its window's end, or 0.

    `units` is there where what was used leaves the count again: they have the sum of it then, and not `used`.
    """

    used: int = 0
    held: int = 0
    units: Rolling | None = None
    until: int = 0


class CountersError(Exception):
    """Counters cannot be reached now."""


class Counters(Protocol):
    """Counters that all who count together share. Every method raises CountersError."""

    @abstractmethod
    async def reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        """Hold room in all of them for the call with this id, or in none."""

    @abstractmethod
    async def settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> None:
        """Give back what was held at that time, and count what was true."""

    @abstractmethod
    async def seed(self, counter: str, used: int, until: int) -> None:
        """Begin a counter with what was used before. One that has begun has used at least as much from now on."""

    @abstractmethod
    async def read(self, counters: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """What is used and held in those that have begun."""

    @abstractmethod
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        """Give back what processes hold that are gone, once their journals are finished: nothing else will settle it.

        Does nothing where counters end with their process, or do not know whether one of another machine lives.
        """

    @abstractmethod
    async def left_of(self, owner: str) -> Mapping[str, Sequence[Hold]]:
        """What calls of this process hold that are not settled, by their ids, in which `owner` is.

        Their limits are not known, nor how long a unit is. There are none where `forget_dead` finds them.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close what they are in."""


def reserve(  # noqa: C901 - in one go, as each call pays for it
    holds: Sequence[Hold], states: MutableMapping[str, State], now: float
) -> Answer:
    """The one rule: what it answers, and in the states what it has held. Nothing is held unless it is granted.

    Written in one go, since each call of a caller with limits pays for it: as if all fitted, which is undone if not.
    """
    left: list[int] = []
    resets: list[float] = []
    for hold in holds:
        amount = hold.amount
        state = states.get(hold.counter)
        if state is None:
            break
        units = state.units
        if units is None:
            rest = hold.limit - state.used - state.held - amount
            if rest < 0:
                break
            state.held += amount
            resets.append(hold.until - now if hold.until > now else 0.0)
        else:
            unit_s = hold.unit_s
            unit = int(now // unit_s)
            if unit != units.last:
                units.advance(unit)
            rest = hold.limit - units.sum - amount
            if rest < 0:
                break
            if unit == units.last:  # else a clock was set back
                units.parts[unit % SPAN] += amount
                units.sum += amount
            else:
                units.add(unit, amount)
            # With this call counted, all is there again when its own unit has left.
            resets.append((unit + SPAN) * unit_s - now if amount else units.empty_in(unit) * unit_s)
        left.append(rest)
    else:
        return quickly(Granted, (now, left, resets))
    for hold in holds[: len(left)]:
        _change_held(hold, states[hold.counter], -hold.amount, now)
    return _reserve_step_by_step(holds, states, now)


def _change_held(hold: Hold, state: State, amount: int, at: float) -> None:
    if state.units is not None:
        state.units.add(int(at // hold.unit_s), amount)
    else:
        state.held += amount


def _reserve_step_by_step(holds: Sequence[Hold], states: MutableMapping[str, State], now: float) -> Answer:
    """The same where counters begin, or one has no room."""
    found: list[State] = []
    unknown: list[str] = []
    left: list[int] = []
    resets: list[float] = []
    refusal: tuple[Hold, State, int] | None = None
    for hold in holds:
        state = states.get(hold.counter) or new_state(hold)
        if state is None:
            unknown.append(hold.counter)
            continue
        states[hold.counter] = state
        room, reset = _look(hold, state, now)
        if hold.amount > room and refusal is None:
            refusal = hold, state, room
        left.append(room - hold.amount if hold.amount <= room else max(0, room))
        resets.append(reset)
        found.append(state)
    if unknown:
        return Unknown(unknown)
    if refusal is not None:
        hold, state, room = refusal
        used = state.used if state.units is None else state.units.sum
        return Refused(hold, used, state.held, _fits_in(hold, state, now, room), left, resets)
    for hold, state in zip(holds, found, strict=True):
        _change_held(hold, state, hold.amount, now)
    return Granted(now, left, resets)


def _look(hold: Hold, state: State, now: float) -> tuple[int, float]:
    """What the limit has left without the call; seconds until all of it is there."""
    units = state.units
    if units is None:
        return hold.limit - state.used - state.held, hold.until - now if hold.until > now else 0.0
    unit_s, unit = hold.unit_s, int(now // hold.unit_s)
    units.advance(unit)
    reset = (unit + SPAN) * unit_s - now if hold.amount else units.empty_in(unit) * unit_s
    return hold.limit - units.sum, reset


def settle(hold: Hold, state: State, amount: int, at: float) -> None:
    """Replace what was held by what was true."""
    if state.units is not None:
        state.units.add(int(at // hold.unit_s), amount - hold.amount)
    else:
        state.held = max(0, state.held - hold.amount)
        state.used += amount


def new_state(hold: Hold) -> State | None:
    """The state of a counter that was never used; None where that has to be asked of the ledger."""
    if hold.unit_s:
        return State(units=Rolling())
    return None if hold.money else State()


def _fits_in(hold: Hold, state: State, now: float, room: int) -> float | None:
    if hold.amount > hold.limit:
        return None
    if state.units is not None:
        unit = int(now // hold.unit_s)
        return (unit + state.units.fits_in(hold.amount - room, unit)) * hold.unit_s - now
    return hold.until - now if hold.until else None
