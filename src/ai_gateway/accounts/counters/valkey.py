"""Counters of any number of replicas in one Valkey or Redis server (7 or newer): exact over all of them.

A call takes two steps, each one round trip of one script (`valkey.lua`) under the server's clock. The holds of a call
are stored by its id, so that settling is idempotent. A replica renews the holds of its open calls; those of a dead one
count as spent after a minute, until another process has replayed its journal.

No data there has to survive. Counters of money start from the ledger; after a restart or loss of the server's data,
every replica sends the holds of its open calls again before counters of money start. Until then, for 2 s, money cannot
be counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple, cast, override

import structlog

from ai_gateway.accounts.counters.base import Answer, Counters, CountersError, Granted, Hold, Refused, Unknown, granted
from ai_gateway.accounts.counters.valkey_connection import Address, Connection, sent

_PULSE_S = 0.5
_RETRY_S = 0.5
_LAST_WORDS_S = 0.3
_UNITS = 60
_MAX_KNOWN = 4_096
_ROLLING, _MONEY, _PLAIN = map(sent, ("rolling", "money", "plain"))
_OWN_CLOCK = sent("")
_log = structlog.get_logger(__name__)


class ValkeyCounters(Counters):
    """`space` names the keys. They share a hash tag, so that a cluster has them all on one node.

    Holds that are not renewed count as spent after `lease_s`. `clock` replaces the server's.
    """

    waits = True

    def __init__(
        self,
        address: Address,
        *,
        space: str = "ai-gateway",
        lease_s: float = 60.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        script = files("ai_gateway.accounts.counters").joinpath("valkey.lua").read_text("utf-8")
        self.name = f"Valkey ({address})"
        self._space = f"{{{space}}}:"
        self._connection = Connection(address, script, self._space)
        self._lease_s = lease_s
        self._lease = sent(lease_s)
        self._sent = _Sent()
        self._clock = clock
        self._born: tuple[str, object] | None = None
        self._open: dict[str, Sequence[Hold]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulse: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Wait until money can be counted, if the server has just started. Raises CountersError."""
        _, wait_ms = await self._run("hello", "")
        if isinstance(wait_ms, int) and wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)

    @override
    def reserve_at_once(self, call: str, holds: Sequence[Hold]) -> Answer | None:
        return None

    @override
    def settle_at_once(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> bool:
        return False

    @override
    async def reserve(self, call: str, holds: Sequence[Hold]) -> Answer:
        known, arguments, count = self._sent, self._lease, 1
        for hold in holds:
            amount = str(hold.amount)
            unit_s = hold.unit_s
            arguments = (
                f"{arguments}{known[hold.counter]}{_ROLLING if unit_s else _MONEY if hold.money else _PLAIN}"
                f"${len(amount)}\r\n{amount}\r\n{known[hold.limit]}{known[unit_s]}"
            )
            count += 5
        try:
            answer = await self._run("reserve", call, arguments, count)
        except (CountersError, asyncio.CancelledError):
            # The server may have received it, or may yet: cancel it, or it would occupy the limit.
            self._in_background(self._cancel(call, holds))
            raise
        status = answer[1]
        if status == b"granted":
            if self._pulse is None:
                self._pulse = asyncio.create_task(self._keep_alive())
            self._open[call] = holds
            return _granted(holds, answer)
        if status == b"refused":
            return _refused(holds, answer[2:])
        if status == b"unknown":
            return Unknown([holds[cast("int", at)].counter for at in answer[2:]])
        raise CountersError(f"{self.name}: {_why(status)}")

    @override
    async def settle(self, call: str, holds: Sequence[Hold], amounts: Sequence[int], at: float) -> None:
        known, arguments = self._sent, ""
        for hold, used in zip(holds, amounts, strict=True):
            amount = str(used)
            arguments = (
                f"{arguments}{known[hold.counter]}{_ROLLING if hold.unit_s else _MONEY if hold.money else _PLAIN}"
                f"${len(amount)}\r\n{amount}\r\n"
            )
        await self._run("settle", call, arguments, 3 * len(holds))
        self._open.pop(call, None)

    @override
    async def seed(self, counter: str, used: int, until: int) -> None:
        _, status = await self._run("seed", "", sent(counter, used), 2)
        if status != b"begun":
            raise CountersError(f"{self.name}: {_why(status)}")

    @override
    async def read(self, counters: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        _, *found = await self._run("read", "", sent(*counters), len(counters))
        pairs = cast("Sequence[bytes | None]", found)
        return {
            counter: (int(used), int(held or 0))
            for counter, used, held in zip(counters, pairs[::2], pairs[1::2], strict=True)
            if used is not None
        }

    @override
    async def forget_dead(self, is_finished: Callable[[str], bool]) -> None:
        pass

    @override
    async def left_of(self, owner: str) -> Mapping[str, Sequence[Hold]]:
        _, *found = await self._run("left", "", sent(owner), 1)
        return {call.decode(): _held(rest) for call, *rest in cast("Sequence[Sequence[bytes]]", found)}

    @override
    async def aclose(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_WORDS_S)
        left = [*self._tasks, *([self._pulse] if self._pulse is not None else [])]
        self._pulse = None
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._connection.aclose()

    async def _run(self, operation: str, call: str, arguments: str = "", count: int = 0) -> list[object]:
        """The answer to an operation with so many arguments, as they are sent."""
        connection = self._connection
        if connection.line is None:
            await connection.connect()
        born, life = self._born, connection.life
        now = _OWN_CLOCK if self._clock is None else sent(repr(self._clock()))
        arguments = f"{self._sent[operation]}${len(call)}\r\n{call}\r\n{now}{arguments}"  # ids are ASCII
        answer = await connection.send(arguments, count + 3)
        if not isinstance(answer, list):
            answer = await connection.checked(answer, arguments, count + 3)
        if (life, answer[0]) != born and self._born == born:
            self._born = (life, answer[0])
            if born is not None:
                _log.warning("counters were lost", server=self.name, open_calls=len(self._open))
                self._in_background(self._restore())
        return answer

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancel(self, call: str, holds: Sequence[Hold]) -> None:
        """Undo a reserve without an answer, even if the server receives it after this."""
        while True:
            try:
                await self.settle(call, holds, [0] * len(holds), 0)
            except CountersError:
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _restore(self) -> None:
        """Send the holds of all open calls again. What fails is sent with the next renewal."""
        try:
            for call, holds in list(self._open.items()):
                if call in self._open:
                    arguments = [each for hold in holds for each in (hold.counter, _kind(hold), hold.amount)]
                    await self._run("restore", call, sent(self._lease_s, *arguments), 1 + len(arguments))
        except CountersError:
            self._born = ("", None)

    async def _keep_alive(self) -> None:
        """While calls are open, detect lost counters, and renew their holds."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(_PULSE_S)
            if not self._open:
                renewed = loop.time()
                continue
            try:
                await self._run("hello", "")
                if loop.time() - renewed > self._lease_s / 4:
                    await self._renew()
                    renewed = loop.time()
            except CountersError:
                continue

    async def _renew(self) -> None:
        """Renew leases; a call that began within this time still has most of its own."""
        await self._run("renew", "", sent(self._lease_s, *self._open), 1 + len(self._open))


class _Sent(dict[str | int, str]):
    """Values as they are sent, of those that are sent again and again. No other numbers: 60.0 would be found as 60."""

    def __missing__(self, value: str | int) -> str:
        if len(self) >= _MAX_KNOWN:
            self.clear()
        self[value] = text = sent(value)
        return text


def _kind(hold: Hold) -> str:
    return "rolling" if hold.unit_s else "money" if hold.money else "plain"


def _held(values: Sequence[bytes]) -> Sequence[Hold]:
    """Holds from counter, kind and amount of each."""
    return [
        Hold(counter.decode(), int(amount), 0, unit_s=kind == b"rolling", money=kind == b"money")
        for counter, kind, amount in zip(values[::3], values[1::3], values[2::3], strict=True)
    ]


def _why(status: object) -> str:
    if status == b"rebuilding":
        return "counters were lost, and what was spent is being collected"
    return "the call was given up"


class _Count(NamedTuple):
    """The server's state of one hold, with units only where they are needed."""

    used: int
    held: int
    fits_in: int
    empty_in: int


def _read(holds: Sequence[Hold], rest: Sequence[object]) -> tuple[float, Sequence[_Count]]:
    """When it was counted, and the counts before."""
    numbers = iter(cast("Sequence[bytes | int]", rest[1:]))
    counts = [
        _Count(int(first), 0, int(second), int(third)) if hold.unit_s else _Count(int(first), int(second), 0, 0)
        for hold, first, second, third in zip(holds, numbers, numbers, numbers, strict=True)
    ]
    return _time(rest[0]), counts


def _time(counted: object) -> float:
    """When it was counted: by the server, in microseconds, or by a clock that it was given."""
    return counted / 1e6 if isinstance(counted, int) else float(cast("bytes", counted))


def _granted(holds: Sequence[Hold], answer: Sequence[object]) -> Granted:
    """In one loop, since it runs for each call."""
    numbers = cast("Sequence[int]", answer)
    now = _time(numbers[2])
    second = int(now)
    left: list[int] = []
    resets: list[float] = []
    at = 3
    for hold in holds:
        amount, unit_s = hold.amount, hold.unit_s
        if unit_s:
            left.append(hold.limit - amount - numbers[at])
            resets.append((second // unit_s + _UNITS + 1) * unit_s - now if amount else numbers[at + 2] * unit_s)
        else:
            used, held = numbers[at], numbers[at + 1]
            if type(used) is not int or type(held) is not int:  # text, as they have more digits than a double
                used, held = int(used), int(held)
            left.append(hold.limit - amount - used - held)
            resets.append(hold.until - now if hold.until > now else 0.0)
        at += 3
    return granted(now, left, resets)


def _refused(holds: Sequence[Hold], rest: Sequence[object]) -> Refused:
    now, counts = _read(holds, rest)
    capacities = [hold.limit - count.used - count.held for hold, count in zip(holds, counts, strict=True)]
    left = [
        max(0, capacity - hold.amount if hold.amount <= capacity else capacity)
        for hold, capacity in zip(holds, capacities, strict=True)
    ]
    resets = [_resets(hold, count, now) for hold, count in zip(holds, counts, strict=True)]
    first = next(at for at, hold in enumerate(holds) if hold.amount > capacities[at])
    hold, count = holds[first], counts[first]
    return Refused(hold, count.used, count.held, _fits_in(hold, count, now), left, resets)


def _resets(hold: Hold, count: _Count, now: float) -> float:
    if not hold.unit_s:
        return max(0.0, hold.until - now) if hold.until else 0.0
    unit = int(now // hold.unit_s)
    return (unit + _UNITS + 1) * hold.unit_s - now if hold.amount else count.empty_in * hold.unit_s


def _fits_in(hold: Hold, count: _Count, now: float) -> float | None:
    if hold.amount > hold.limit:
        return None
    if hold.unit_s:
        return (int(now // hold.unit_s) + count.fits_in) * hold.unit_s - now
    return hold.until - now if hold.until else None
