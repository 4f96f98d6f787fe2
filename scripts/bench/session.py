"""One bench from start to end: who runs when, and on which core."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from statistics import median

from scripts.bench.measure import (
    Kind,
    OpenStreams,
    Sample,
    Skipped,
    Start,
    measure_load,
    measure_start,
    measure_streams,
    merged,
)
from scripts.bench.processes import (
    Program,
    Running,
    allow_open_files,
    cores,
    gateway_program,
    pinned_here,
    relay_program,
    running,
    unchecked_program,
    upstream_program,
    wait_until_listening,
)

KINDS: tuple[Kind, ...] = ("json", "stream")
_OPEN_FILES = 4096

type Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure. `seconds` is for each target in each cell of each round."""

    concurrencies: tuple[int, ...] = (1, 16, 64, 256)
    rounds: int = 3
    seconds: float = 1.7
    starts: int = 3
    streams: int = 1_000
    events: int = 25


QUICK = Plan(rounds=1, seconds=1.0, starts=1, events=15)


@dataclass(slots=True)
class Results:
    """What a session found; the medians of its rounds."""

    cells: list[Sample] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    streams: list[OpenStreams | Skipped] = field(default_factory=list)

    def errors(self) -> dict[str, int]:
        """Every failed request, by what it was a part of and what was wrong."""
        found = {
            f"{cell.target}, {cell.kind}, c={cell.concurrency}: {reason}": count
            for cell in self.cells
            for reason, count in cell.errors.items()
        }
        for held in self.streams:
            if isinstance(held, OpenStreams):
                found |= {f"{held.target}, {held.streams} streams: {reason}": n for reason, n in held.errors.items()}
        return found


def run(plan: Plan, say: Say) -> Results:
    """Measure everything of the plan. Every process it starts has ended when it returns or raises."""
    tested, other = cores()
    allow_open_files(_OPEN_FILES)
    upstream = upstream_program()
    with pinned_here(other), running(upstream, other) as mock:
        wait_until_listening(mock)
        fronts = (relay_program(upstream), gateway_program(upstream))
        return Results(
            cells=_cells(plan, mock, (*fronts, unchecked_program(upstream)), tested, say),
            starts=[_start(plan, program, tested, say) for program in fronts],
            streams=[_streams(plan, program, tested, say) for program in fronts],
        )


def _cells(plan: Plan, mock: Running, fronts: tuple[Program, ...], core: int | None, say: Say) -> list[Sample]:
    found: dict[tuple[Kind, int, str], list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        targets = [mock, *(stack.enter_context(running(program, core)) for program in fronts)]
        for target in targets:
            wait_until_listening(target)
        for step, kind, concurrency in _steps(plan):
            say(f"{step} {kind}, {concurrency} at a time")
            # One after the other, so that what disturbs the machine for a while disturbs all of them.
            for target in targets:
                sample = measure_load(target, kind, concurrency, plan.seconds)
                found[kind, concurrency, target.program.name].append(sample)
    return [merged(samples) for samples in found.values()]


def _steps(plan: Plan) -> Iterator[tuple[str, Kind, int]]:
    for turn, kind, concurrency in product(range(plan.rounds), KINDS, plan.concurrencies):
        yield f"round {turn + 1} of {plan.rounds}:", kind, concurrency


def _start(plan: Plan, program: Program, core: int | None, say: Say) -> Start:
    say(f"start of the {program.name}")
    found = [measure_start(program, core) for _ in range(plan.starts)]
    return Start(
        program.name,
        median(start.cold_s for start in found),
        median(start.rss_started_mb for start in found),
        median(start.rss_answered_mb for start in found),
    )


def _streams(plan: Plan, program: Program, core: int | None, say: Say) -> OpenStreams | Skipped:
    say(f"{plan.streams} open streams through the {program.name}")
    return measure_streams(program, core, plan.streams, plan.events)
