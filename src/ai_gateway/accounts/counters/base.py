"""Counters of limits: the used and the reserved amount of each, and whether one more call fits.

A call reserves in all counters of its caller at once or in none, and settles each with its true amount at its end.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

UNITS = 60
"""The window of a rolling count, in units."""
MONEY = "spend/"
"""The names of counters of money begin with this."""
SPAN = UNITS + 1
"""The units that are stored at once, including the current one."""
_new = object.__new__


@dataclass(slots=True)  # never changed; not frozen because one is made for every request with limits
class Hold:
    """A reservation of `amount` in a counter whose limit is `limit`.

    With `unit_s`, the counter is a rolling one: a used amount expires after 60 units of so many seconds. Without, it
    never expires: the money of a calendar window, whose start is part of the name, or the calls in flight, whose true
    amount is 0 once they have ended. `until` is the end of the window in seconds since the epoch, 0 for never.
    """

    counter: str
    amount: int
    limit: int
    unit_s: int = 0
    money: bool = False
    until: int = 0


@dataclass(slots=True)  # never changed
class Granted:
    """The call is permitted. `left` is the remaining amount of each limit, `resets` the seconds until it is full again.

    `at` is the time of counting, which `settle` needs.
    """

    at: float
    left: Sequence[int]
    resets: Sequence[float]


class Refused(NamedTuple):
    """One counter is exhausted, so nothing was reserved. `fits_in` is None if waiting does not help."""

    hold: Hold
    used: int
    held: int
    fits_in: float | None
    left: Sequence[int]
    resets: Sequence[float]


class Unknown(NamedTuple):
    """Counters of money that have no value yet: it has to be read from the ledger and seeded (`Counters.seed`)."""

    counters: Sequence[str]


type Answer = Granted | Refused | Unknown


class Rolling:
    """A rolling count of the last 60 units: never more than the limit in any 60 units, wherever they begin.

    An amount stays until its whole unit is more than 60 units old, so capacity is released up to one unit late and
    never early. `last` is the newest unit; `parts` has the count of each unit at its number modulo `SPAN`. After
    `set_bounds`, the newest unit is from `begins` to `ends`, and what is counted in it expires at `expires`: to compute
    that for each call takes many times as long as to compare.
    """

    __slots__ = ("begins", "ends", "expires", "last", "parts", "sum")

    def __init__(self) -> None:
        self.last = 0
        self.sum = 0
        self.parts = [0] * SPAN
        self.begins = self.ends = self.expires = 0.0

    def set_bounds(self, unit_s: int) -> None:
        """Work out when the newest unit begins and ends."""
        self.begins = float(self.last * unit_s)
        self.ends = self.begins + unit_s
        self.expires = self.begins + SPAN * unit_s

    def advance(self, unit: int) -> None:
        """Expire old units.

        If the clock was set back by less than the window, the counts of later units stay, and `last` with them. If it
        was set back further, all counts are dropped: they would never expire, and every call would be refused.
        """
        passed = unit - self.last
        if passed:
            self.begins = self.ends = 0.0
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
        """The count of a unit that has not expired."""
        return self.parts[unit % SPAN]

    def add(self, unit: int, amount: int) -> None:
        """Add to a unit that has not expired. A negative correction removes at most the whole count."""
        if 0 <= self.last - unit <= UNITS:
            place = unit % SPAN
            known = self.parts[place]
            self.parts[place] = after = max(0, known + amount)
            self.sum += after - known

    def fits_in(self, capacity: int, unit: int) -> int:
        """Units until this much capacity is released."""
        for ahead in range(1, UNITS + 2):
            capacity -= self.parts[(self.last + ahead) % SPAN]
            if capacity <= 0:
                return self.last - unit + ahead
        return self.last - unit + UNITS + 1

    def empty_in(self, unit: int) -> int:
        """Units until the count is zero."""
        for back in range(SPAN):
            if self.parts[(self.last - back) % SPAN]:
                return self.last - unit + UNITS + 1 - back
        return 0


@dataclass(slots=True)
class State:
    """One counter. `until` is the end of its window, or 0.

    `units` are set for a rolling counter: they then have the sum of used amounts, instead of `used`.
    """

    used: int = 0
    held: int = 0
    units: Rolling | None = None
    until: int = 0


class CountersError(Exception):
    """The counters are unavailable."""


class Counters(Protocol):
    """Counters, possibly shared by several processes. Every method raises CountersError.

    `waits` says that every step has to wait, so that nothing is possible at once.
    """

    waits: ClassVar[bool] = False

    @abstractmethod
    def reserve_at_once(self, call: str, holds: Sequence[Hold]) -> Answer | None:
        """The same as `reserve`; None if that would have to wait, and then nothing is done."""

    @abstractmethod
    def settle_at_once(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> bool:
        """The same as `settle`; False if that would have to wait, and then nothing is done."""

    @abstractmethod
    async def reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        """Reserve in all counters for the call with this id, or in none."""

    @abstractmethod
    async def settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> None:
        """Release the reservations made at that time, and count the true amounts."""

    @abstractmethod
    async def seed(self, counter: str, used: int, until: int) -> None:
        """Start a counter with the amount used before. A counter that exists is raised to this amount at least."""

    @abstractmethod
    async def read(self, counters: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """The used and the reserved amount of each counter that exists."""

    @abstractmethod
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        """Release the reservations of dead processes whose journals are finished: nothing else would settle them.

        Does nothing if counters end with their process, or cannot know whether a process of another machine is alive.
        """

    @abstractmethod
    async def left_of(self, owner: str) -> Mapping[str, Sequence[Hold]]:
        """The unsettled reservations of this process's calls, by call id; ids contain `owner`.

        They lack limits and lengths of units, and may lack those whose amounts expire. Empty for counters that end with
        their process.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close files and connections."""


def reserve(  # noqa: C901 - in one function, since every call of a caller with limits runs it
    holds: Sequence[Hold], states: MutableMapping[str, State], now: float
) -> Answer:
    """Check all limits, and reserve in `states` if every one permits the call.

    Optimistic: it reserves in one counter after the other, and undoes that if a later one refuses.
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
            held = state.held + amount
            rest = hold.limit - state.used - held
            if rest < 0:
                break
            state.held = held
            resets.append(hold.until - now if hold.until > now else 0.0)
        else:
            if not units.begins <= now < units.ends:
                units.advance(int(now // hold.unit_s))
                units.set_bounds(hold.unit_s)
            rest = hold.limit - units.sum - amount
            if rest < 0:
                break
            if now < units.begins:  # a clock was set back
                unit = int(now // hold.unit_s)
                units.add(unit, amount)
                resets.append((unit + SPAN) * hold.unit_s - now if amount else units.empty_in(unit) * hold.unit_s)
            else:
                units.parts[units.last % SPAN] += amount
                units.sum += amount
                # With this call counted, the limit is full again when this unit has expired.
                resets.append(units.expires - now if amount else units.empty_in(units.last) * hold.unit_s)
        left.append(rest)
    else:
        return granted(now, left, resets)
    for hold in holds[: len(left)]:
        _change_held(hold, states[hold.counter], -hold.amount, now)
    return _reserve_step_by_step(holds, states, now)


def granted(at: float, left: Sequence[int], resets: Sequence[float]) -> Granted:
    """Made by setting one by one, which takes half as long as to call the class."""
    made = _new(Granted)
    made.at, made.left, made.resets = at, left, resets
    return made


def _change_held(hold: Hold, state: State, amount: int, at: float) -> None:
    if state.units is not None:
        state.units.add(int(at // hold.unit_s), amount)
    else:
        state.held += amount


def _reserve_step_by_step(holds: Sequence[Hold], states: MutableMapping[str, State], now: float) -> Answer:
    """The same, slower, if a counter is new or exhausted."""
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
        capacity, reset = _look(hold, state, now)
        if hold.amount > capacity and refusal is None:
            refusal = hold, state, capacity
        left.append(capacity - hold.amount if hold.amount <= capacity else max(0, capacity))
        resets.append(reset)
        found.append(state)
    if unknown:
        return Unknown(unknown)
    if refusal is not None:
        hold, state, capacity = refusal
        used = state.used if state.units is None else state.units.sum
        return Refused(hold, used, state.held, _fits_in(hold, state, now, capacity), left, resets)
    for hold, state in zip(holds, found, strict=True):
        _change_held(hold, state, hold.amount, now)
    return Granted(now, left, resets)


def _look(hold: Hold, state: State, now: float) -> tuple[int, float]:
    """The remaining amount without the call, and the seconds until the limit is full."""
    units = state.units
    if units is None:
        return hold.limit - state.used - state.held, hold.until - now if hold.until > now else 0.0
    unit_s, unit = hold.unit_s, int(now // hold.unit_s)
    units.advance(unit)
    reset = (unit + SPAN) * unit_s - now if hold.amount else units.empty_in(unit) * unit_s
    return hold.limit - units.sum, reset


def new_state(hold: Hold) -> State | None:
    """The initial state of a counter; None if its amount has to be read from the ledger."""
    if hold.unit_s:
        return State(units=Rolling())
    return None if hold.money else State()


def _fits_in(hold: Hold, state: State, now: float, capacity: int) -> float | None:
    if hold.amount > hold.limit:
        return None
    if state.units is not None:
        unit = int(now // hold.unit_s)
        return (unit + state.units.fits_in(hold.amount - capacity, unit)) * hold.unit_s - now
    return hold.until - now if hold.until else None
