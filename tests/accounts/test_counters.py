"""Counters: each engine answers as the others do, and none lets more through than a limit allows."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.accounts.counters.base import Counters, CountersError, Granted, Hold, Refused, Unknown
from ai_gateway.accounts.counters.file import FileCounters
from ai_gateway.accounts.counters.memory import MemoryCounters

pytestmark = pytest.mark.anyio


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def engines(clock: Callable[[], float]) -> AsyncIterator[list[Counters]]:
    with TemporaryDirectory() as directory:
        made: list[Counters] = [MemoryCounters(clock), FileCounters(Path(directory) / "counters", clock)]
        yield made
        for counters in made:
            await counters.aclose()


@dataclass
class Step:
    """What happens next: time passes, some of the holds are asked for, or an earlier call ends."""

    passes: float
    asks: list[tuple[int, int]] = field(default_factory=list)
    ends: int | None = None
    took: int = 0


UNITS = (1, 0, 0, 24 * 60)
LIMITS = (7, 3, 1_000, 20)


def _hold(which: int, amount: int) -> Hold:
    amount = 1 if which == 1 else amount  # a call in flight is one
    return Hold(f"counter-{which}", amount, LIMITS[which], UNITS[which], money=which == 2, until=0)


_steps = st.lists(
    st.builds(
        Step,
        # Below nothing is a clock that is set back.
        passes=st.one_of(
            st.just(0.0),
            st.floats(0, 5),
            st.floats(0, 200),
            st.floats(0, 100_000),
            st.floats(-80, 0),
            st.floats(-1e5, 0),
        ),
        asks=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=4, unique_by=lambda ask: ask[0]),
        ends=st.one_of(st.none(), st.integers(0, 10)),
        took=st.integers(0, 9),
    ),
    max_size=40,
)


@given(steps=_steps)
@settings(max_examples=60, deadline=None)
async def test_every_engine_answers_the_same(steps: list[Step]) -> None:
    clock = Clock()
    async with engines(clock) as made:
        for counters in made:
            await counters.seed("counter-2", 5, 0)
        calls: list[tuple[str, list[Hold], float]] = []
        for number, step in enumerate(steps):
            clock.now += step.passes
            if step.ends is not None and calls:
                name, holds, at = calls.pop(step.ends % len(calls))
                took = [0 if hold.counter == "counter-1" else step.took for hold in holds]
                for counters in made:
                    await counters.settle(name, holds, took, at)
            holds = [_hold(*ask) for ask in step.asks]
            answers = [await counters.reserve(str(number), holds) for counters in made]
            assert all(answer == answers[0] for answer in answers), answers
            if isinstance(answers[0], Granted):
                calls.append((str(number), holds, answers[0].at))
            names = [f"counter-{which}" for which in range(4)]
            states = [await counters.read(names) for counters in made]
            money = [state["counter-2"] for state in states]
            assert all(each == money[0] for each in money)


@given(gaps=st.lists(st.floats(0, 90), min_size=1, max_size=80), limit=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
async def test_no_minute_has_more_calls_than_the_limit_wherever_it_begins(gaps: list[float], limit: int) -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    passed: list[float] = []
    for number, gap in enumerate(gaps):
        clock.now += gap
        answer = await counters.reserve(str(number), [Hold("rpm", 1, limit, 1)])
        if isinstance(answer, Granted):
            passed.append(clock.now)
            assert sum(1 for at in passed if at > clock.now - 60) <= limit
        else:
            assert isinstance(answer, Refused)
            assert answer.fits_in is not None
            # What is said of the wait is true: it fits then, and not a unit before.
            clock.now += answer.fits_in
            later = await counters.reserve(f"{number} again", [Hold("rpm", 1, limit, 1)])
            assert isinstance(later, Granted)
            passed.append(clock.now)


@pytest.mark.parametrize("unit_s", [1, 24 * 60])
async def test_a_clock_that_was_wrong_for_a_while_neither_opens_a_limit_nor_closes_it_for_long(unit_s: int) -> None:
    hold, step = Hold("rate", 1, 5, unit_s), 10 * 60 * unit_s
    clock = Clock()
    async with engines(clock) as made:
        for counters in made:
            clock.now = Clock().now
            await counters.reserve("first", [hold])
            clock.now += step
            ahead = [await counters.reserve(f"ahead {number}", [hold]) for number in range(9)]
            clock.now -= step
            back = [await counters.reserve(f"back {number}", [hold]) for number in range(99)]
            for answers in (ahead, back):
                assert sum(isinstance(answer, Granted) for answer in answers) == 5
            for number in range(5):  # what was counted ahead takes nothing away
                await counters.settle(f"ahead {number}", [hold], [0], clock.now + step)
            assert isinstance(await counters.reserve("one more", [hold]), Refused)
            clock.now += 61 * unit_s
            assert isinstance(await counters.reserve("later", [hold]), Granted)


async def test_what_is_said_of_a_wait_is_true_after_a_small_step_back() -> None:
    clock, hold = Clock(), Hold("rate", 1, 2, 1)
    async with engines(clock) as made:
        for counters in made:
            clock.now = Clock().now
            for number in range(2):
                await counters.reserve(str(number), [hold])
            clock.now -= 30
            refused = await counters.reserve("refused", [hold])
            assert isinstance(refused, Refused)
            assert refused.fits_in is not None
            assert 90 <= refused.fits_in <= 91
            clock.now += refused.fits_in - 1.1
            assert isinstance(await counters.reserve("early", [hold]), Refused)
            clock.now += 1.1
            assert isinstance(await counters.reserve("in time", [hold]), Granted)


async def test_a_clock_that_was_ahead_of_a_window_forgets_nothing_that_is_held() -> None:
    clock = Clock()
    hold = Hold("spend", 10, 25, money=True, until=int(clock.now) + 100)
    async with engines(clock) as made:
        for counters in made:
            clock.now = Clock().now
            await counters.seed("spend", 0, hold.until)
            assert isinstance(await counters.reserve("a", [hold]), Granted)
            clock.now += 1_000
            await counters.seed("next", 0, 0)
            clock.now -= 1_000
            assert await counters.read(["spend"]) == {"spend": (0, 10)}


async def test_a_refusal_holds_nothing() -> None:
    async with engines(Clock()) as made:
        for counters in made:
            await counters.seed("money", 90, 0)
            requests, money = Hold("rpm", 1, 10, 1), Hold("money", 20, 100, money=True)
            answer = await counters.reserve("a", [requests, money])
            assert isinstance(answer, Refused)
            assert (answer.hold, answer.used, answer.held) == (money, 90, 0)
            granted = await counters.reserve("b", [requests])
            assert isinstance(granted, Granted)
            assert list(granted.left) == [9]


async def test_a_call_that_is_settled_again_counts_once() -> None:
    async with engines(Clock()) as made:
        for counters in made:
            await counters.seed("money", 0, 0)
            hold = Hold("money", 10, 100, money=True)
            for call in ("a", "b"):
                await counters.reserve(call, [hold])
            for call in ("a", "a", "never-held"):
                await counters.settle(call, [hold], [7], 0.0)
            assert await counters.read(["money"]) == {"money": (7, 10)}


async def test_money_that_was_never_counted_is_asked_of_the_ledger_which_never_has_more() -> None:
    async with engines(Clock()) as made:
        for counters in made:
            hold = Hold("spend", 1, 100, money=True)
            assert await counters.reserve("a", [hold]) == Unknown(["spend"])
            await counters.seed("spend", 40, 0)
            await counters.seed("spend", 30, 0)
            assert await counters.read(["spend", "other"]) == {"spend": (40, 0)}
            assert isinstance(await counters.reserve("a", [hold]), Granted)
            await counters.seed("spend", 70, 0)  # what the ledger has learned since: no counter has used less
            assert await counters.read(["spend"]) == {"spend": (70, 1)}


async def test_a_counter_that_others_begin_meanwhile_loses_and_keeps_nothing() -> None:
    """All of it in one turn of the loop: calls that find no beginning ask the ledger, and others run already."""
    async with engines(Clock()) as made:
        for counters in made:
            hold = Hold("spend", 10, 100, money=True)
            await counters.seed("spend", 0, 0)
            granted = await counters.reserve("a", [hold])
            assert isinstance(granted, Granted)
            await asyncio.gather(
                counters.settle("a", [hold], [7], granted.at),
                counters.seed("spend", 0, 0),
                counters.reserve("b", [hold]),
                counters.seed("spend", 0, 0),
                counters.reserve("c", [hold]),
            )
            assert await counters.read(["spend"]) == {"spend": (7, 20)}


async def test_calls_at_once_share_a_limit_over_processes_as_over_tasks(tmp_path: Path) -> None:
    """Each engine of its own, as each worker has one."""
    workers = [FileCounters(tmp_path / "counters") for _ in range(4)]
    hold = Hold("parallel", 1, 25)
    answers = await asyncio.gather(
        *(worker.reserve(f"{which}-{number}", [hold]) for which, worker in enumerate(workers) for number in range(25))
    )
    assert sum(isinstance(answer, Granted) for answer in answers) == 25
    names = [f"{which}-{number}" for which in range(4) for number in range(25)]
    # Whoever settles, and however often: a killed worker's calls are settled by another one.
    await asyncio.gather(*(workers[at % 4].settle(name, [hold], [0], 0.0) for at, name in enumerate([*names, *names])))
    assert await workers[3].read(["parallel"]) == {"parallel": (0, 0)}
    for worker in workers:
        await worker.aclose()


def is_locked_by(file: int) -> bool:
    """Lock it, unless somebody else has it locked."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


async def test_a_file_that_others_lock_is_said_to_be_away_and_the_loop_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    counters = FileCounters(path)
    await counters.reserve("a", [Hold("parallel", 1, 2)])
    other = os.open(path, os.O_RDWR)
    async with asyncio.timeout(10):
        while not is_locked_by(other):  # noqa: ASYNC110 - a lock does not say when it is free
            await asyncio.sleep(0)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(count_turns())
    with pytest.raises(CountersError, match="locked"):
        await counters.reserve("b", [Hold("parallel", 1, 2)])
    task.cancel()
    os.close(other)
    assert turns > 10, "the event loop stood still"
    assert isinstance(await counters.reserve("c", [Hold("parallel", 1, 2)]), Granted)
    await counters.aclose()


async def test_a_hold_whose_caller_has_just_left_is_given_back(tmp_path: Path) -> None:
    """The client may leave in the very turn of the loop in which its call is let on."""
    counters = FileCounters(tmp_path / "counters")
    for turns in range(6):
        task = asyncio.create_task(counters.reserve(str(turns), [Hold("parallel", 1, 100)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        granted = not isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)
        assert await counters.read(["parallel"]) in ({}, {"parallel": (0, int(granted))}), turns
        if granted:
            await counters.settle(str(turns), [Hold("parallel", 1, 100)], [0], 0.0)
    await counters.aclose()
