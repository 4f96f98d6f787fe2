"""What is measured: one cell of load, one cold start with its memory, one thousand open streams."""

import asyncio
import gc
import http.client
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Literal

import uvloop

from scripts.bench.load import Job, Tally, chat_job, connected
from scripts.bench.processes import (
    HOST,
    KEY,
    BenchFailed,
    Program,
    Running,
    allow_open_files,
    cpu_seconds,
    resident_mb,
    running,
    wait_until_listening,
)
from scripts.bench.upstream import PACE_S

type Kind = Literal["json", "stream"]

STREAM_EVENTS = 50
_WARM_UP_S = 0.3
_STREAMS_PER_S = 700


@dataclass(frozen=True, slots=True)
class Sample:
    """One cell in one round. Times are in the unit their name says; a stream counts as one request."""

    kind: Kind
    concurrency: int
    target: str
    requests: int
    rps: float
    cpu_us_per_request: float
    cpu_us_per_event: float | None
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    errors: dict[str, int] = field(default_factory=dict)


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
class Skipped:
    """A part that this machine does not allow, and why."""

    reason: str


def job_for(program: Program, kind: Kind) -> Job:
    """The request of a kind, as it is sent to this program."""
    return chat_job(program.port, program.path, KEY, events=STREAM_EVENTS if kind == "stream" else None)


def measure_load(target: Running, kind: Kind, concurrency: int, seconds: float) -> Sample:
    """Keep the target busy for so long. Its CPU time is read while no request is under way, so counts are exact."""
    tally, cpu = _in_loop(_busy(target, job_for(target.program, kind), concurrency, seconds))
    requests = len(tally.latencies)
    cpu_us = cpu * 1e6 / max(1, requests)
    return Sample(
        kind=kind,
        concurrency=concurrency,
        target=target.program.name,
        requests=requests,
        rps=requests / tally.seconds,
        cpu_us_per_request=cpu_us,
        cpu_us_per_event=cpu_us / STREAM_EVENTS if kind == "stream" else None,
        p50_ms=_quantile(tally.latencies, 0.5) * 1e3,
        p99_ms=_quantile(tally.latencies, 0.99) * 1e3,
        first_p50_ms=_quantile(tally.first_bytes, 0.5) * 1e3,
        errors=dict(tally.errors),
    )


async def _busy(target: Running, job: Job, concurrency: int, seconds: float) -> tuple[Tally, float]:
    async with connected(job, concurrency) as load:
        warm = await load.run(min(_WARM_UP_S, seconds))
        before = cpu_seconds(target.pid)
        with _without_collector():
            tally = await load.run(seconds)
        cpu = cpu_seconds(target.pid) - before
    tally.errors += warm.errors
    return tally, cpu


def measure_start(program: Program, core: int | None) -> Start:
    """Start the program, ask it once, and end it."""
    with running(program, core) as target:
        wait_until_listening(target)
        started = resident_mb(target.pid)
        ask_once(program)
        cold = perf_counter() - target.began
        return Start(program.name, cold, started, resident_mb(target.pid))


def ask_once(program: Program) -> None:
    """One whole chat reply. Raises BenchFailed if it is refused."""
    connection = http.client.HTTPConnection(HOST, program.port, timeout=10)
    try:
        _, _, body = job_for(program, "json").request.partition(b"\r\n\r\n")
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        connection.request("POST", program.path, body, headers)
        reply = connection.getresponse()
        told = reply.read()
        if reply.status != 200:
            raise BenchFailed(f"{program.name} answered {reply.status}: {told[:300].decode('utf-8', 'replace')}")
    finally:
        connection.close()


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
        return _in_loop(_hold(target, streams, events))


async def _hold(target: Running, streams: int, events: int) -> OpenStreams:
    program = target.program
    job = chat_job(program.port, program.path, KEY, events=events, paced=True)
    tally = Tally()
    # The last stream begins when the ramp ends, the first ends after its own events: all are open in between.
    ramp = streams / _STREAMS_PER_S
    all_open = max(PACE_S, (events - 1) * PACE_S - ramp)
    async with connected(job, streams) as load:
        held = asyncio.create_task(load.start(tally, 0.0, ramp=ramp))
        await asyncio.sleep(ramp + 0.1 * all_open)
        cpu, seen = cpu_seconds(target.pid), tally.events
        await asyncio.sleep(0.7 * all_open)
        cpu, seen = cpu_seconds(target.pid) - cpu, tally.events - seen
        rss = resident_mb(target.pid)
        await held
    return OpenStreams(program.name, streams, rss, cpu * 1e6 / max(1, seen), dict(tally.errors))


def _in_loop[Result](work: Coroutine[None, None, Result]) -> Result:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@contextmanager
def _without_collector() -> Iterator[None]:
    """The load generator's own collections would be taken for latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _quantile(values: list[float], share: float) -> float:
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def merged(samples: list[Sample]) -> Sample:
    """The medians of one cell's rounds, with the errors of all."""
    first = samples[0]
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.errors)
    per_event = [sample.cpu_us_per_event for sample in samples if sample.cpu_us_per_event is not None]
    return Sample(
        kind=first.kind,
        concurrency=first.concurrency,
        target=first.target,
        requests=sum(sample.requests for sample in samples),
        rps=median(sample.rps for sample in samples),
        cpu_us_per_request=median(sample.cpu_us_per_request for sample in samples),
        cpu_us_per_event=median(per_event) if per_event else None,
        p50_ms=median(sample.p50_ms for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
        first_p50_ms=median(sample.first_p50_ms for sample in samples),
        errors=dict(errors),
    )
