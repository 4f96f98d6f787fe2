"""Counters in a file: whatever becomes of it or of those who write it, they say the same to all of them."""

import asyncio
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ai_gateway.accounts.calls import StoredCall
from ai_gateway.accounts.counters.base import Counters, CountersError, Granted, Hold, Unknown
from ai_gateway.accounts.counters.file import FileCounters
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.recovery import Recovery

pytestmark = pytest.mark.anyio

RATE, SLOTS, MONEY = Hold("rpm", 1, 10, 1), Hold("parallel", 1, 4), Hold("spend", 10, 200, money=True, until=2**31)
HOLDS = [RATE, SLOTS, MONEY]
START = 1_800_000_000.0


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2),  # which worker
            st.sampled_from(["reserve", "reserve", "settle", "seed", "start anew"]),
            st.integers(0, 30),
            st.floats(0, 20),
        ),
        max_size=80,
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_workers_that_share_a_file_answer_as_one_that_has_it_all(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, int, float]]
) -> None:
    """The file is replaced by a new one all the time."""
    path, now = tmp_path_factory.mktemp("counters") / "counters", START

    def clock() -> float:
        return now

    workers, alone = [FileCounters(path, clock, max_size=200) for _ in range(3)], MemoryCounters(clock)
    granted: dict[str, tuple[list[Hold], float]] = {}
    for number, (which, what, amount, passes) in enumerate(steps):
        now += passes
        take = partial(_take, call=str(number), what=what, amount=amount, granted=granted)
        answer = await take(workers[which])
        assert answer == await take(alone)
        if isinstance(answer, Granted):
            granted[str(number)] = _holds(amount), answer.at
        for name in (SLOTS.counter, MONEY.counter):
            found = [(await each.read([name])).get(name, (0, 0)) for each in (workers[number % 3], alone)]
            assert found[0] == found[1]
    for each in workers:
        await each.aclose()


def _holds(amount: int) -> list[Hold]:
    return [RATE, SLOTS, replace(MONEY, amount=amount)]


async def _take(
    counters: Counters, call: str, what: str, amount: int, granted: dict[str, tuple[list[Hold], float]]
) -> object:
    """One step; an earlier call may be settled again."""
    if what == "reserve":
        return await counters.reserve(call, _holds(amount))
    if what == "seed":
        await counters.seed(MONEY.counter, amount, MONEY.until)
    elif what == "settle" and granted:
        ended = sorted(granted)[amount % len(granted)]
        holds, at = granted[ended]
        await counters.settle(ended, holds, [amount % 3, 0, amount], at)
    elif what == "start anew" and isinstance(counters, FileCounters):
        await counters.aclose()
    return None


async def test_calls_at_once_share_a_limit_while_the_file_is_replaced(tmp_path: Path) -> None:
    workers = [FileCounters(tmp_path / "counters", max_size=2_000) for _ in range(4)]
    await workers[0].seed("spend", 0, 0)
    hold = Hold("spend", 7, 60 * 7 + 6, money=True)

    async def call(worker: FileCounters, name: str) -> bool:
        return isinstance(await worker.reserve(name, [hold]), Granted)

    asked = [call(worker, f"{at}-{number}") for number in range(100) for at, worker in enumerate(workers)]
    assert sum(await asyncio.gather(*asked)) == 60
    assert [await worker.read(["spend"]) for worker in workers] == [{"spend": (0, 420)}] * 4
    for worker in workers:
        await worker.aclose()


async def three_workers(path: Path) -> list[FileCounters]:
    """Two of them have counted something; one has held nothing yet."""
    workers = [FileCounters(path, check_s=0.0) for _ in range(3)]
    await workers[0].seed("spend", 100, MONEY.until)
    for worker, call in zip(workers, "ab", strict=False):
        assert isinstance(await worker.reserve(call, HOLDS), Granted)
    return workers


async def assert_all_know(workers: list[FileCounters], expected: dict[str, tuple[int, int]]) -> None:
    for worker in workers:
        assert {
            name: each for name, each in (await worker.read(["spend", "parallel"])).items() if any(each)
        } == expected
        await worker.aclose()


async def test_half_a_line_of_a_killed_worker_counts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    workers = await three_workers(path)
    for torn in (b'[[["spe', b"[", b'[[["spend",999,0,0]],[],[],[]]'):
        with path.open("ab") as file:
            file.write(torn)
        assert isinstance(await workers[2].reserve(repr(torn), HOLDS[:1]), Granted)
    await assert_all_know([*workers, FileCounters(path)], {"spend": (100, 20), "parallel": (0, 2)})


async def test_a_file_that_is_removed_keeps_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    workers = await three_workers(path)
    path.unlink()
    assert isinstance(await workers[1].reserve("c", HOLDS), Granted)
    await assert_all_know([*workers, FileCounters(path)], {"spend": (100, 30), "parallel": (0, 3)})


async def test_a_directory_that_is_removed_leaves_counters_to_those_who_have_them(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    workers = await three_workers(directory / "counters")
    shutil.rmtree(directory)
    for worker in workers[:2]:
        answer = await worker.reserve("c", HOLDS)
        assert isinstance(answer, Granted)
        await worker.settle("c", HOLDS, [1, 0, 5], answer.at)
    with pytest.raises(CountersError, match="No such file"):
        await FileCounters(directory / "counters").reserve("d", HOLDS)
    directory.mkdir()
    await assert_all_know(
        [*workers[:2], FileCounters(directory / "counters")], {"spend": (110, 20), "parallel": (0, 2)}
    )


async def test_a_worker_that_was_killed_while_it_replaced_the_file_leaves_one_for_all(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    workers = await three_workers(path)
    before = path.stat().st_ino
    with path.open("ab") as file:
        file.write(b"null\n")
    for worker, call in zip(workers, "cd", strict=False):
        assert isinstance(await worker.reserve(call, HOLDS), Granted)
    assert path.stat().st_ino != before
    await assert_all_know([*workers, FileCounters(path)], {"spend": (100, 40), "parallel": (0, 4)})


@pytest.mark.parametrize("damage", [b"\0" * 40 + b"\n", b"[1,2]\n", b"{}\n", b'[[["spend"]],[],[],[]]\n'])
async def test_where_a_power_cut_has_left_holes_money_is_asked_of_the_ledger(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "counters"
    for worker in await three_workers(path):
        await worker.aclose()
    with path.open("ab") as file:
        file.write(damage)
    for counters in (FileCounters(path), FileCounters(path)):
        assert await counters.reserve("c", HOLDS) == Unknown(["spend"])
        granted = await counters.reserve("c", [replace(RATE, amount=0)])
        assert isinstance(granted, Granted)
        assert list(granted.left) == [8]
        await counters.aclose()


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0\n...", b'"ai-gateway counters 0"\n[1]\n', b"\n\n"])
async def test_a_file_of_another_version_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "counters"
    workers = await three_workers(path)
    path.write_bytes(content)
    for worker in workers:
        assert await worker.reserve("c", HOLDS) == Unknown(["spend"])
    await workers[0].seed("spend", 1, 0)
    await assert_all_know([*workers, FileCounters(path)], {"spend": (1, 0)})


async def test_without_room_nothing_is_counted_and_all_goes_on_when_there_is(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    workers = await three_workers(path)
    # What the kernel does at the bound of a file's size is what it does on a full disk: a part, then an error.
    former, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for room in (0, 20):
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, former[1]))
            for worker in workers:
                with pytest.raises(CountersError, match=r"space|large"):
                    await worker.reserve("c", HOLDS)
                with pytest.raises(CountersError, match=r"space|large"):
                    await worker.settle("a", HOLDS, [1, 0, 5], START)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, ignored)
    await workers[2].settle("a", HOLDS, [1, 0, 5], START)
    await assert_all_know([*workers, FileCounters(path)], {"spend": (105, 10), "parallel": (0, 1)})


@pytest.mark.slow
def test_whoever_is_killed_has_counted_all_of_a_call_or_nothing(tmp_path: Path) -> None:
    rounds = 20
    subprocess.run(
        [sys.executable, "-m", "tests.accounts.counters_program", str(tmp_path), str(rounds)], check=True, timeout=120
    )
    said = {path.stem: path.read_text().split() for path in tmp_path.glob("*.said")}
    assert len(said) == 2 * rounds
    granted, settled = (
        {line[1:] for lines in said.values() for line in lines if line.startswith(what)} for what in "GS"
    )

    async def found() -> tuple[int, int, int]:
        counters = FileCounters(tmp_path / "counters")
        # What was settled in its last moment by one that was alone is settled by what its journal says.
        for owner in said:
            for call, holds in (await counters.left_of(owner)).items():
                if call in settled:
                    await counters.settle(call, holds, [4], START)
        (used, held) = (await counters.read(["spend"]))["spend"]
        answer = await counters.reserve("last", [Hold("rpd", 0, 10**9, 24 * 60)])
        assert isinstance(answer, Granted)
        await counters.aclose()
        return used, held, 10**9 - answer.left[0]

    used, held, requests = asyncio.run(found())
    # A worker may be killed between a step and saying so: once in each round.
    assert 0 <= used // 4 + held // 10 - len(granted) <= 2 * rounds
    assert 0 <= used // 4 - len(settled) <= 2 * rounds
    assert requests == used // 4 + held // 10
    assert os.listdir(tmp_path).count("counters") == 1


DEAD = """
import asyncio, os, signal, sys
from pathlib import Path
from ai_gateway.accounts.counters.base import Hold
from ai_gateway.accounts.counters.file import FileCounters

async def main():
    counters = FileCounters(Path(sys.argv[1]), owner="dead", max_size=int(sys.argv[2]))
    await counters.seed("spend", 100, 2**31)
    holds = [Hold("rpm", 1, 10, 1), Hold("parallel", 1, 4), Hold("spend", 10, 200, money=True, until=2**31)]
    for number in range(3):
        await counters.reserve(f"dead-{number}", holds)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("longest", [2**20, 100], ids=["as it was written", "in a file that was replaced"])
async def test_what_a_dead_process_holds_is_given_back_once_its_journal_is_finished(
    tmp_path: Path, longest: int
) -> None:
    """And only that: what others hold stays, and what is settled for it before has used what it has."""
    path = tmp_path / "counters"
    workers = [FileCounters(path, max_size=longest) for _ in range(2)]
    await workers[0].seed("spend", 100, MONEY.until)
    assert isinstance(await workers[0].reserve("alive", HOLDS), Granted)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DEAD, str(path), str(longest)], timeout=60)
    assert await workers[1].read(["spend", "parallel"]) == {"spend": (100, 40), "parallel": (0, 4)}
    asked: list[str] = []

    def is_finished(owner: str) -> bool:
        asked.append(owner)
        return False

    await workers[1].forget_dead(is_finished)
    assert asked == ["dead"], "only of the dead it matters whether their journals are finished"
    await workers[1].settle("dead-1", HOLDS, [1, 0, 10], START)
    assert await workers[0].read(["spend", "parallel"]) == {"spend": (110, 30), "parallel": (0, 3)}
    for worker in workers:
        await worker.forget_dead(lambda _: True)
        assert await workers[0].read(["spend", "parallel"]) == {"spend": (110, 10), "parallel": (0, 1)}
    await workers[1].settle("dead-2", HOLDS, [1, 0, 10], START)  # too late: it is not counted twice
    await workers[1].settle("alive", HOLDS, [1, 0, 5], START)
    await assert_all_know([*workers, FileCounters(path)], {"spend": (115, 0)})


async def test_a_process_whose_lock_was_removed_is_alive_with_its_next_call(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    workers = await three_workers(path)
    shutil.rmtree(tmp_path / "counters-owners")
    for number, worker in enumerate(workers):
        assert isinstance(await worker.reserve(f"next-{number}", HOLDS[:1]), Granted)
    await workers[2].forget_dead(lambda _: True)
    await assert_all_know(workers, {"spend": (100, 20), "parallel": (0, 2)})


def is_free(path: Path) -> bool:
    """Whether nobody has the file locked now."""
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


async def test_a_worker_keeps_the_lock_for_a_moment_while_it_is_alone(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    first, second = FileCounters(path, check_s=0.0), FileCounters(path, check_s=0.0)
    for number in range(3):
        assert isinstance(await first.reserve(f"a{number}", HOLDS[:2]), Granted)
        assert not is_free(path)
        await first.settle(f"a{number}", HOLDS[:2], [1, 0], START)
    async with asyncio.timeout(10):
        while not is_free(path):  # noqa: ASYNC110 - a lock does not say when it is free
            await asyncio.sleep(0.001)
    assert isinstance(await first.reserve("b", HOLDS[:2]), Granted)
    granted = await second.reserve("c", HOLDS[:2])  # it comes while the first one has the lock
    assert isinstance(granted, Granted)
    assert list(granted.left) == [5, 2]
    for worker in (first, second):
        assert isinstance(await worker.reserve(repr(worker), HOLDS[:2]), Granted)
        assert is_free(path), "neither is alone"
    await second.aclose()
    assert isinstance(await first.reserve("d", HOLDS[:1]), Granted)
    assert not is_free(path)
    await first.aclose()
    assert is_free(path)


ENDED_ALONE = """
import asyncio, os, signal, sys
from pathlib import Path
from ai_gateway.accounts.counters.base import Hold
from ai_gateway.accounts.counters.file import FileCounters

async def main():
    counters = FileCounters(Path(sys.argv[1]), owner="dead")
    await counters.seed("spend/a", 100, 2**31)
    holds = [Hold("rpm", 1, 10, 1), Hold("parallel", 1, 9), Hold("spend/a", 10, 200, money=True, until=2**31)]
    for number in range(5):
        granted = await counters.reserve(f"{number}.dead", holds)
        if number in {1, 3, 4}:
            await counters.settle(f"{number}.dead", holds, [1, 0, 7], granted.at)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_ended_in_the_last_moment_of_a_worker_that_was_alone_costs_what_the_ledger_says(
    tmp_path: Path,
) -> None:
    """Its line may not be in the file yet, which then has the call as one that is held."""
    path = tmp_path / "counters"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", ENDED_ALONE, str(path)], timeout=60)
    counters = FileCounters(path)
    used, held = (await counters.read(["spend/a"]))["spend/a"]
    assert 100 + 3 * 7 + 2 * 10 <= used + held <= 100 + 5 * 10, "never less than it takes"
    left = await counters.left_of("dead")
    assert {"0.dead", "2.dead"} <= set(left) <= {f"{number}.dead" for number in range(5)}
    assert all({hold.counter for hold in holds if hold.money} == {"spend/a"} for holds in left.values())
    ended = {call: StoredCall({"cost": 7 if call[0] in "134" else None}) for call in map("{}.dead".format, range(5))}

    async def find(call: str) -> StoredCall | None:
        return ended.get(f"{call}.dead")

    await Recovery(counters).settle_rest("dead", find)
    assert await counters.read(["spend/a", "parallel"]) == {"spend/a": (100 + 3 * 7 + 2 * 10, 0), "parallel": (0, 0)}
    assert not await counters.left_of("dead")
    await counters.aclose()


async def test_what_could_not_be_written_when_the_lock_was_given_back_is_written_with_the_next_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "counters"
    alone, other = FileCounters(path), FileCounters(path)
    await alone.seed("spend", 100, MONEY.until)
    answer = await alone.reserve("a", HOLDS)
    assert isinstance(answer, Granted)
    former, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, former[1]))
        assert alone.settle_at_once("a", HOLDS, [1, 0, 5], answer.at)
        async with asyncio.timeout(10):
            while not is_free(path):  # noqa: ASYNC110 - a lock does not say when it is free
                await asyncio.sleep(0.001)
        assert await other.read(["spend", "parallel"]) == {"spend": (100, 10), "parallel": (0, 1)}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, ignored)
    await alone.forget_dead(lambda _: True)
    assert await other.read(["spend", "parallel"]) == {"spend": (105, 0), "parallel": (0, 0)}
    await assert_all_know([alone, other, FileCounters(path)], {"spend": (105, 0)})


async def test_what_a_dead_process_has_left_is_no_company(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DEAD, str(path), str(2**20)], timeout=60)
    assert os.listdir(tmp_path / "counters-owners") == ["dead"]
    alone = FileCounters(path)
    assert isinstance(await alone.reserve("a", HOLDS[:1]), Granted)
    assert not is_free(path)
    assert await alone.read(["parallel"]) == {"parallel": (0, 3)}, "what it holds is its journal's to give back"
    await alone.forget_dead(lambda _: True)
    assert await alone.read(["parallel"]) == {"parallel": (0, 0)}
    await alone.aclose()
