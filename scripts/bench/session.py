"""One bench from start to end: who runs when, and on which core."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import psutil

from scripts.bench.cells import ACCOUNTS_VALKEY, CELLS, GATEWAY, Cell
from scripts.bench.fresh import (
    OpenStreams,
    Start,
    measure_garbage,
    measure_long_bodies,
    measure_start,
    measure_streams,
)
from scripts.bench.instructions import COUNTED, COUNTED_HERE, count_instructions
from scripts.bench.measure import Sample, ask_once, measure_load, merged
from scripts.bench.peers import peer_programs
from scripts.bench.processes import (
    BenchFailed,
    Program,
    Running,
    Skipped,
    accounts_program,
    accounts_valkey_program,
    allow_open_files,
    cores,
    gateway_program,
    pinned_here,
    relay_program,
    running,
    unchecked_program,
    uncounted_program,
    upstream_program,
    valkey_program,
    wait_until_listening,
)
from scripts.bench.results import Results

_OPEN_FILES = 4096

type Say = Callable[[str], None]
type Recheck = Callable[[Results], set[str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure. `seconds` is for each target in each cell of each round; a number that is 0 leaves it out.

    `peers` run beside the gateway where they are installed; those of `install` are installed if they are not.
    """

    cells: tuple[Cell, ...] = CELLS
    rounds: int = 5
    seconds: float = 0.6
    starts: int = 3
    long_bodies: int = 20_000
    streams: int = 1_000
    events: int = 25
    garbage: int = 200
    counted: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    install: tuple[str, ...] = ()


QUICK = Plan(rounds=3, seconds=0.25, starts=1, long_bodies=2_000, events=15)
ALL_COUNTED = (*COUNTED, *COUNTED_HERE)


def run(plan: Plan, say: Say, recheck: Recheck | None = None) -> Results:
    """Measure everything of the plan. Every process it starts has ended when it returns or raises.

    The cells that `recheck` returns are measured once more, and what was measured first is dropped.
    """
    tested, other = cores()
    allow_open_files(_OPEN_FILES)
    results = Results()
    with pinned_here(other), running(upstream_program(), other) as mock:
        wait_until_listening(mock)
        session = _Session(plan, mock, tested, say, results)
        if plan.cells:
            session.measure_cells(recheck)
        session.measure_fresh()
        if plan.counted:
            session.count()
    return results


@dataclass(frozen=True, slots=True)
class _Session:
    plan: Plan
    mock: Running
    core: int | None
    say: Say
    results: Results

    @property
    def upstream(self) -> Program:
        return self.mock.program

    def measure_cells(self, recheck: Recheck | None) -> None:
        plan = self.plan
        ours = [relay_program(self.upstream), gateway_program(self.upstream)]
        extra = [unchecked_program(self.upstream), accounts_program(self.upstream), uncounted_program(self.upstream)]
        extra = [program for program in extra if self._is_needed(program.name)]
        peers, missing = peer_programs(plan.peers, self.upstream, plan.install)
        self.results.skipped += missing
        with ExitStack() as stack:
            targets = [self.mock, *(self._start(stack, program) for program in (*ours, *extra))]
            targets += self._start_with_valkey(stack)
            targets += self._start_peers(stack, peers)
            self.results.cells = self._rounds(plan.cells, targets)
            again = recheck(self.results) if recheck is not None else set()
            if again:
                kept = [sample for sample in self.results.cells if sample.cell not in again]
                self.results.cells = kept + self._rounds([each for each in plan.cells if each.name in again], targets)

    def _is_needed(self, name: str) -> bool:
        return any(name in each.extra for each in self.plan.cells)

    def _start(self, stack: ExitStack, program: Program) -> Running:
        target = stack.enter_context(running(program, self.core))
        wait_until_listening(target)
        return target

    def _start_with_valkey(self, stack: ExitStack) -> list[Running]:
        if not self._is_needed(ACCOUNTS_VALKEY):
            return []
        valkey = valkey_program()
        if isinstance(valkey, Skipped):
            self.results.skipped.append(valkey)
            return []
        wait_until_listening(stack.enter_context(running(valkey)))  # on the core of load and upstream, as this process
        return [self._start(stack, accounts_valkey_program(self.upstream, valkey))]

    def _start_peers(self, stack: ExitStack, peers: Iterable[Program]) -> list[Running]:
        """Those that start and answer: a peer that does not is no failure of the bench."""
        started: list[Running] = []
        for program in peers:
            self.say(f"start of {program.name}")
            try:
                with ExitStack() as own:
                    target = self._start(own, program)
                    ask_once(program)
                    stack.enter_context(own.pop_all())
            except (BenchFailed, OSError, psutil.Error) as error:
                self.results.skipped.append(Skipped(f"{program.name} does not run: {error}"))
            else:
                started.append(target)
        return started

    def _rounds(self, cells: Sequence[Cell], targets: Sequence[Running]) -> list[Sample]:
        found: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        names = {name for each in CELLS for name in each.extra}
        for turn in range(self.plan.rounds):
            # One after the other, so that what disturbs the machine for a while disturbs all of them; and in turns
            # from either end, so that none is always the first after a pause.
            for cell in cells:
                self.say(f"round {turn + 1} of {self.plan.rounds}: {cell.title}")
                left_out = names - set(cell.extra)
                chosen = [each for each in targets if each.program.name not in left_out]
                if cell.only:
                    chosen = [each for each in chosen if each.program.name in cell.only]
                for target in chosen if turn % 2 == 0 else reversed(chosen):
                    sample = measure_load(target, cell, self.plan.seconds)
                    found[cell.name, target.program.name].append(sample)
        return [merged(samples) for samples in found.values()]

    def measure_fresh(self) -> None:
        plan, upstream, results = self.plan, self.upstream, self.results
        for program in (relay_program(upstream), gateway_program(upstream)):
            if plan.starts:
                self.say(f"start of the {program.name}")
                results.starts.append(_middle([measure_start(program, self.core) for _ in range(plan.starts)]))
            if plan.long_bodies:
                self.say(f"{plan.long_bodies} requests of 100 KB to the {program.name}")
                results.long_bodies.append(measure_long_bodies(program, self.core, plan.long_bodies))
            if plan.streams:
                self.say(f"{plan.streams} open streams through the {program.name}")
                self._keep(measure_streams(program, self.core, plan.streams, plan.events))
        if plan.garbage:
            self.say(f"what {plan.garbage} requests leave to the collector")
            results.garbage = measure_garbage(upstream, self.core, plan.garbage)

    def _keep(self, found: OpenStreams | Skipped) -> None:
        if isinstance(found, Skipped):
            if found not in self.results.skipped:
                self.results.skipped.append(found)
        else:
            self.results.streams.append(found)

    def count(self) -> None:
        for program in (relay_program(self.upstream), gateway_program(self.upstream)):
            self.say(f"instructions of the {program.name}, under callgrind")
            names = tuple(name for name in self.plan.counted if name in COUNTED or program.name == GATEWAY)
            found = count_instructions(program, self.core, names)
            if isinstance(found, Skipped):
                self.results.skipped.append(found)
                return
            self.results.instructions += found


def _middle(starts: list[Start]) -> Start:
    return Start(
        starts[0].target,
        median(start.cold_s for start in starts),
        median(start.rss_started_mb for start in starts),
        median(start.rss_answered_mb for start in starts),
    )
