"""What is measured in a process of its own: a start, memory, many open streams, and what requests leave behind."""

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass, field
from time import perf_counter

from scripts.bench.cells import EVENTS, cell
from scripts.bench.load import Tally, chat_job, connected
from scripts.bench.measure import ask_once, in_loop, job_for
from scripts.bench.processes import (
    BenchFailed,
    Program,
    Running,
    Skipped,
    allow_open_files,
    cpu_seconds,
    garbage_program,
    resident_mb,
    running,
    wait_until_listening,
)
from scripts.bench.upstream import PACE_S

_STREAMS_PER_S = 700
# Long enough for twenty thousand long requests where everything is ten times slower.
_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds from spawn to the first answered request, and resident memory around it."""

    target: str
    cold_s: float
    rss_started_mb: float
    rss_answered_mb: float


@dataclass(frozen=True, slots=True)
class OpenStreams:
    """Many slow streams at once: memory at its highest, CPU per event while all are open."""

    target: str
    streams: int
    rss_mb: float
    cpu_us_per_event: float
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LongBodies:
    """Memory before and after many requests with long bodies."""

    target: str
    requests: int
    rss_before_mb: float
    rss_after_mb: float
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Garbage:
    """What only a collector can free after so many requests, and of which types it is."""

    kind: str
    requests: int
    unreachable: int
    types: dict[str, int]
    errors: dict[str, int] = field(default_factory=dict)


def measure_start(program: Program, core: int | None) -> Start:
    """Start the program, send it one request, and end it."""
    with running(program, core) as target:
        wait_until_listening(target)
        started = resident_mb(target.pid)
        ask_once(program)
        cold = perf_counter() - target.began
        return Start(program.name, cold, started, resident_mb(target.pid))


def measure_long_bodies(program: Program, core: int | None, requests: int) -> LongBodies:
    """Send a fresh process so many requests of 100 KB."""
    with running(program, core) as target:
        wait_until_listening(target)
        ask_once(program)
        before = resident_mb(target.pid)
        tally = in_loop(_send(target, "body-100k", requests))
        return LongBodies(program.name, len(tally.latencies), before, resident_mb(target.pid), dict(tally.errors))


async def _send(target: Running, name: str, requests: int) -> Tally:
    sent = cell(name)
    async with connected(target.program.port, sent.concurrency) as load:
        return await load.count(job_for(target.program, sent), requests, _WITHIN_S)


def measure_streams(program: Program, core: int | None, streams: int, events: int) -> OpenStreams | Skipped:
    """Hold so many slow streams open through a fresh process until each has ended by itself."""
    # The gateway holds two sockets for each stream, and each process a few files of its own.
    needed = 2 * streams + 100
    allowed = allow_open_files(needed)
    if allowed < needed:
        return Skipped(f"{streams} streams need {needed} open files, the limit is {allowed}: raise it with ulimit -n")
    with running(program, core) as target:
        wait_until_listening(target)
        ask_once(program)
        return in_loop(_hold(target, streams, events))


async def _hold(target: Running, streams: int, events: int) -> OpenStreams:
    program = target.program
    job = chat_job(program, events=events, gap_ms=round(PACE_S * 1e3))
    tally = Tally()
    # The last stream begins when the ramp ends, the first ends after its own events: all are open in between.
    ramp = streams / _STREAMS_PER_S
    all_open = max(PACE_S, (events - 1) * PACE_S - ramp)
    async with connected(program.port, streams) as load:
        held = asyncio.create_task(load.run(job, 0.0, ramp=ramp, tally=tally))
        await asyncio.sleep(ramp + 0.1 * all_open)
        cpu, seen = cpu_seconds(target.pid), tally.events
        await asyncio.sleep(0.7 * all_open)
        cpu, seen = cpu_seconds(target.pid) - cpu, tally.events - seen
        rss = resident_mb(target.pid)
        await held
    return OpenStreams(program.name, streams, rss, cpu * 1e6 / max(1, seen), dict(tally.errors))


def measure_garbage(upstream: Program, core: int | None, requests: int) -> list[Garbage]:
    """Send the gateway so many requests of each kind with its collector off, and count what they leave behind."""
    with running(garbage_program(upstream), core) as target:
        wait_until_listening(target)
        return in_loop(_leave(target, requests))


async def _leave(target: Running, requests: int) -> list[Garbage]:
    program = target.program
    found = []
    for kind, events in (("whole replies", None), (f"streams of {EVENTS} events", EVENTS)):
        job = chat_job(program, events=events)
        async with connected(program.port, 4) as load:
            await load.count(job, 40, _WITHIN_S)  # what is made once, at the first request, does not count
            await _collected(target)
            tally = await load.count(job, requests, _WITHIN_S)
            types = await _collected(target)
        found.append(Garbage(kind, len(tally.latencies), sum(types.values()), types, dict(tally.errors)))
    return found


async def _collected(target: Running) -> dict[str, int]:
    """Have the process collect; how many objects of which types it found."""
    file = target.home / "garbage.json"
    file.unlink(missing_ok=True)
    os.kill(target.pid, signal.SIGUSR1)
    until = time.monotonic() + target.program.start_s
    while not file.exists():
        if time.monotonic() > until:
            raise BenchFailed("the gateway did not count its garbage")
        await asyncio.sleep(0.01)
    types: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    return types
